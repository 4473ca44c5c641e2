"""Events as lines of JSON that the store can read.

In: an event, its writer and its number. Out: one line, newline included, with the columns that are not NULL. Nearly
every event fits its columns' types and is encoded at once. Any other is written column by column; a value that its type
cannot hold is left out, with a warning that names the column and never the value. Nothing here raises.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from operator import attrgetter
from sys import float_info
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from msgspec import Meta, convert, defstruct
from msgspec.json import Decoder, Encoder

from metrion.model import COLUMN_TYPES, EVENT_COLUMNS, MONEY, Event

logger = logging.getLogger(__name__)

TEXT_CHARACTERS = 16 * 1024
"""A longer text is cut."""
LINE_BYTES = 1024 * 1024
"""A longer line is written without its maps and raw usage."""
_MOST_NESTED = 1000
"""Objects and arrays in a JSON text that every reader takes, one within another or not."""


def encode(event: Event, writer: str, seq: int) -> bytes:
    """Return the event as one line of JSON that the store can read, newline included. Never raises."""
    try:
        line = _at_once(event, writer, seq)
    except Exception:  # noqa: BLE001 -- the way by columns finds it again, and names the column
        line = b""
    # A long line may have to be cut. An escaped NUL, or a text that only looks like one, is sorted out there too.
    if not line or len(line) > TEXT_CHARACTERS or b"\\u0000" in line:
        return _column_by_column(event, writer, seq)
    return line


def _at_once(event: Event, writer: str, seq: int) -> bytes:
    """Encode an event in which every column has its type.

    :raises Exception: a column has another type.
    """
    row = convert(event, _Row, from_attributes=True)
    row.writer, row.seq = writer, seq
    for name in _JSON_TEXTS:
        if (text := getattr(row, name)) is not None:
            _check_json(text)
    for name in _AMOUNTS:
        if (amount := getattr(row, name)) is not None:
            setattr(row, name, _money(amount))
    for name in _AMOUNTS_BY_NAME:
        if (amounts := getattr(row, name)) is not None:
            setattr(row, name, {part: _money(amount) for part, amount in amounts.items()})
    return _encoded(row) + b"\n"


def _check_json(text: str) -> None:
    """Check that every strict reader takes a JSON text.

    :raises Exception: it may not; the way by columns looks closer.
    """
    _JSON.decode(text)
    if "\\u" in text or text.count("[") + text.count("{") > _MOST_NESTED:
        raise _UnfitError("not sure")


def _column_by_column(event: Event, writer: str, seq: int) -> bytes:
    columns: dict[str, Any] = {}
    for name, value in zip(EVENT_COLUMNS, _values(event), strict=True):
        if value is not None:
            converted = _CONVERTERS[name]
            if converted is None:
                columns[name] = value
            else:
                try:
                    columns[name] = converted(value)
                except Exception as error:  # noqa: BLE001 -- whatever a column holds, the event is written without it
                    _warn(name, error)
    columns["writer"] = writer
    columns["seq"] = seq
    try:
        text = _to_json(columns)
        line = text.encode() + b"\n"
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return _repaired(columns)
    return line if len(line) <= TEXT_CHARACTERS and "\\u0000" not in text else _repaired(columns)


_values = attrgetter(*EVENT_COLUMNS)
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder(parse_constant=lambda name: _refuse(f"{name} is no JSON")).decode
_UNWANTED = re.compile("[\x00\ud800-\udfff]")
_LONE_SURROGATE = re.compile(
    r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _refuse(reason: str) -> Any:
    raise ValueError(reason)


def _warn(column: str, error: Exception | str) -> None:
    # The reason of a foreign exception may quote the value, which no log may hold.
    reason = error if isinstance(error, str | _UnfitError) else type(error).__name__
    logger.warning("journal: column %s is stored as NULL: %s", column, reason)


class _UnfitError(ValueError):
    """A value that its column's type cannot hold; the message does not quote it."""


def _repaired(columns: dict[str, Any]) -> bytes:
    """Encode the slow way, for text that JSON, UTF-8 or the store's reader would stumble over."""
    for name, value in columns.items():
        if isinstance(value, str):
            limit = LINE_BYTES if COLUMN_TYPES.get(name) == "JSON" else TEXT_CHARACTERS
            columns[name] = _clean(value[:limit])
        elif isinstance(value, dict):
            columns[name] = {_clean(key): _clean(item) for key, item in value.items()}
        elif COLUMN_TYPES.get(name) == "VARCHAR":
            columns[name] = _clean(str(value))
    line = _to_json(columns).encode() + b"\n"
    if len(line) > LINE_BYTES:
        for name in [name for name, kind in COLUMN_TYPES.items() if kind == "JSON" or kind.startswith("MAP")]:
            if columns.pop(name, None) is not None:
                _warn(name, "the event is too long")
        line = _to_json(columns).encode() + b"\n"
    return line


def _clean(value: Any) -> Any:
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def convert(value: Any) -> int:
        if not isinstance(value, int) or not -limit <= value < limit:
            raise _UnfitError(f"not an integer of {bits} bits")
        return int(value)

    return convert


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise _UnfitError("not a finite number")
    return float(value)


_PLACES = Decimal("1E-12")
_DIGITS = Context(prec=18, rounding=ROUND_HALF_EVEN)
"""What has more of them does not fit into MONEY."""


def _money(value: Decimal) -> str:
    try:
        rounded = _DIGITS.quantize(value, _PLACES)
    except InvalidOperation:
        raise _UnfitError(f"not an amount that {MONEY} holds") from None
    if rounded.is_nan():
        raise _UnfitError(f"not an amount that {MONEY} holds")
    return format(rounded, "f")


def _timestamp(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat()


def _json_text(value: str) -> str:
    """Return the text as it is, if it is JSON; only lone surrogates, which no strict reader takes, are replaced."""
    if len(value) > LINE_BYTES // 2:
        raise _UnfitError("too long")
    _from_json(value)
    if "\\u" in value:
        return _LONE_SURROGATE.sub(lambda found: found[1] or r"\ufffd", value)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _map[V, J](convert: Callable[[V], J]) -> Callable[[Mapping[str, V]], dict[str, J]]:
    return lambda value: {_text(key): convert(item) for key, item in value.items()}


def _columns_of(sql_type: str) -> tuple[str, ...]:
    return tuple(name for name, kind in COLUMN_TYPES.items() if kind == sql_type)


class _Kind(NamedTuple):
    """How the columns of one SQL type are written."""

    fitting: Any
    """The Python type of what is written as it is."""
    convert: Callable[[Any], Any] | None
    """Makes something fitting of any other value, or raises; ``None``: it is repaired with the whole line."""


_BIGINT = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_KINDS = {
    "VARCHAR": _Kind(str, None),
    "UUID": _Kind(UUID, str),
    "TIMESTAMP": _Kind(Annotated[datetime, Meta(tz=False)], _timestamp),
    "BOOLEAN": _Kind(bool, bool),
    "SMALLINT": _Kind(Annotated[int, Meta(ge=-(1 << 15), le=(1 << 15) - 1)], _integer(16)),
    "BIGINT": _Kind(_BIGINT, _integer(64)),
    "DOUBLE": _Kind(Annotated[float, Meta(ge=-float_info.max, le=float_info.max)], _number),
    "JSON": _Kind(str, _json_text),
    MONEY: _Kind(Any, _money),  # `convert` would make a Decimal of any number
    "MAP(VARCHAR, VARCHAR)": _Kind(dict[str, str], _map(_text)),
    "MAP(VARCHAR, BIGINT)": _Kind(dict[str, _BIGINT], _map(_integer(64))),
    f"MAP(VARCHAR, {MONEY})": _Kind(dict[str, Any], _map(_money)),
}
"""By SQL type. A column of another type needs a row here."""
_CONVERTERS = {name: _KINDS[kind].convert for name, kind in COLUMN_TYPES.items()}
_COLUMNS = [(name, _KINDS[kind].fitting | None, None) for name, kind in COLUMN_TYPES.items()]
_Row: Any = defstruct("_Row", [*_COLUMNS, ("writer", str, ""), ("seq", int, 0)], omit_defaults=True)
_JSON_TEXTS = _columns_of("JSON")
_AMOUNTS = _columns_of(MONEY)
_AMOUNTS_BY_NAME = _columns_of(f"MAP(VARCHAR, {MONEY})")
_JSON = Decoder()
_encoded = Encoder().encode
