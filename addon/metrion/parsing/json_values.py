"""What wire formats get of JSON: objects that remember their text, and the paths at which members are wanted.

:func:`parsed` reads the text of one value, :func:`to_json` writes one. Numbers keep all of their digits on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

type Path = tuple[str, ...]
"""Names of members from the root on; :data:`EACH` is every element of an array."""
EACH = "[]"

type Tree = dict[str, Tree | None]
"""What is wanted below a place: members by name, or ``None``: the whole value."""

_MOST_DIGITS = 30
"""Of an integer that is read as one: ``int()`` of very many digits is slow, or refused."""
_CONSTANTS = {b"null": None, b"true": True, b"false": False}


class Object(dict[str, Any]):
    """A JSON object and its text. Numbers with a fraction are :class:`~decimal.Decimal`, to the last digit."""

    source: str
    """The text that it was read from; written anew where that was no strict JSON."""


def tree(paths: Iterable[Path]) -> Tree:
    """Return the tree of these paths. Where one path leads on from the end of another, the shorter one counts."""
    root: Tree = {}
    for *way, last in sorted(paths, key=len, reverse=True):
        node = root
        for name in way:
            below = node.setdefault(name, {})
            assert below is not None  # noqa: S101  # longer paths come first
            node = below
        node[last] = None
    return root


def to_json(value: object) -> str:
    """Write a value that was read here as JSON text. A number that JSON does not have becomes null."""

    def number(value: object) -> float | None:
        return float(value) if isinstance(value, Decimal) and value.is_finite() else None

    return json.dumps(value, default=number)


def parsed(text: bytes) -> Any:
    """Read JSON text.

    :raises ValueError: it is not JSON.
    :raises RecursionError: it is nested too deep.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    source = text.decode("utf-8", "replace")
    try:
        value = _STRICT.decode(source)
    except ValueError:
        value = _LENIENT.decode(source)
        source = to_json(value)
    if isinstance(value, dict):
        value = Object(value)
        value.source = source
    return value


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond any number
        return Decimal("NaN")


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _MOST_DIGITS else _decimal(digits)


def _refuse(constant: str) -> Decimal:
    raise ValueError(f"{constant} is no JSON")


_STRICT = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)
_LENIENT = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=Decimal, strict=False)
