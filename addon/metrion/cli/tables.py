"""How an answer of the store is printed: ``table``, ``csv``, ``json``, ``markdown``.

In: a :class:`~metrion.store.query.Table`. Out: text, its last line ended. Money keeps all its digits everywhere. Text
that a caller chose (a path, a label) reaches a terminal without its control characters.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from metrion.store.query import Json, Table

_NUMBER = re.compile(r"\w*INT\b|DOUBLE|FLOAT|DECIMAL|BIGNUM")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def as_json(table: Table) -> str:
    """One array of objects, one row a line.

    Integers and floats are numbers (NaN and infinities null), decimals strings, timestamps ISO 8601 with ``Z``, JSON
    its value. A column's name that occurs again gets a number.
    """
    return "[" + ",\n ".join(_objects(table)) + "]\n"


def as_json_lines(table: Table) -> str:
    """Return one object a line, each as in :func:`as_json`."""
    return "".join(f"{row}\n" for row in _objects(table))


def as_csv(table: Table) -> str:
    """RFC 4180, with a header line. NULL is empty; maps, lists and JSON are JSON."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.columns)
    writer.writerows([_text(value, "") for value in row] for row in table.rows)
    return out.getvalue()


def as_table(table: Table) -> str:
    """Return columns for people."""
    return _tabulated(table, "simple", lambda text: text)


def as_markdown(table: Table) -> str:
    """Return a Markdown table."""
    return _tabulated(table, "pipe", lambda text: text.replace("\\", "\\\\").replace("|", "\\|"))


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
}


def _tabulated(table: Table, style: str, escaped: Callable[[str], str]) -> str:
    from tabulate import tabulate  # takes 90 ms, which the other formats need not

    def cell(value: object) -> str:
        return escaped(printable(_text(value, "NULL")))

    text = tabulate(
        [[cell(value) for value in row] for row in table.rows],
        headers=[cell(name) for name in table.columns],
        tablefmt=style,
        disable_numparse=True,
        colalign=["right" if _NUMBER.fullmatch(kind.partition("(")[0]) else "left" for kind in table.types],
    )
    return text + "\n"


def printable(text: str) -> str:
    """Return text that a caller chose as it may reach a terminal: its control characters are escaped."""
    return _CONTROL.sub(_shown, text)


def _objects(table: Table) -> list[str]:
    names = _distinct(table.columns)
    return [
        json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, allow_nan=False)
        for row in table.rows
    ]


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _text(value: object, null: str) -> str:
    """Return a value as the text of one cell."""
    if value is None:
        return null
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    plain = value if isinstance(value, Json | float) else _plain(value)
    return str(plain)


def _plain(value: Any) -> Any:
    """Return a value that :mod:`json` writes as ``metrion sql`` promises."""
    match value:
        case Json():
            return _parsed(value)
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat() + "Z"
        case date() | time():
            return value.isoformat()
        case timedelta() | UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case Mapping():
            return {_key(key): _plain(item) for key, item in value.items()}
        case Sequence() | set():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _key(key: object) -> str:
    return _text(key, "null")


def _parsed(text: Json) -> Any:
    # DuckDB also takes NaN and 1e999 for JSON; those who read this output do not.
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError):
        return str(text)


def _distinct(names: Sequence[str]) -> list[str]:
    taken: set[str] = set(names)
    seen: set[str] = set()
    distinct = []
    for name in names:
        fresh, number = name, 0
        while fresh in seen or (number and fresh in taken):
            number += 1
            fresh = f"{name}_{number}"
        seen.add(fresh)
        distinct.append(fresh)
    return distinct
