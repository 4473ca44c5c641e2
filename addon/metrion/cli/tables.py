"""How an answer of the store is printed: ``table``, ``csv``, ``json``, ``markdown``.

In: a :class:`~metrion.store.query.Table`. Out: text, its last line ended. Money keeps all its digits unless
:func:`shortened` has rounded it for people. Text that a caller chose (a path, a label) reaches a terminal without its
control characters. A table is no wider than the terminal that it is printed to, where there is one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from metrion.cli.dollars import dollars
from metrion.cli.printable import CONTROL, cut, printable, width_of
from metrion.store.query import Json, Table

_DOLLARS = "DOLLARS"
"""The type of a column of amounts as :func:`dollars` writes them: their decimal points are in one line."""
_NUMBER = re.compile(r"\w*INT(EGER)?|DOUBLE|FLOAT|DECIMAL|BIGNUM")


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
    """RFC 4180, with a header line. NULL is empty; maps, lists and JSON are JSON.

    Exact in a file or a pipe. On a terminal, control characters are escaped.
    """
    shown = printable if sys.stdout.isatty() else str
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(map(shown, table.columns))
    writer.writerows([shown(_text(value, "")) for value in row] for row in table.rows)
    return out.getvalue()


def as_table(table: Table) -> str:
    """Return columns for people.

    If they are wider than the terminal, they move together, then headings are broken into lines; if that is not enough,
    each row is a block of lines.
    """
    width = terminal_width()
    for layout in (_WIDE, _CLOSE, _BROKEN):
        text = _tabulated(table, layout)
        if width is None or _fits(text, width):
            return text
    return _blocks(table) if table.rows else text


def as_markdown(table: Table) -> str:
    """Return a Markdown table."""
    return _tabulated(table, _MARKDOWN)


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
}


def shortened(table: Table) -> Table:
    """Return the table with its amounts of dollars as :func:`dollars` writes them."""
    amounts = {
        number
        for number, (name, kind) in enumerate(zip(table.columns, table.types, strict=True))
        if "usd" in name.split("_") and _is_number(kind)
    }
    rows = []
    for row in table.rows:
        cells = list(row)
        for number in amounts:
            if cells[number] is not None:
                cells[number] = dollars(cells[number])
        rows.append(tuple(cells))
    return Table(
        table.columns,
        tuple(_DOLLARS if number in amounts else kind for number, kind in enumerate(table.types)),
        rows,
    )


def with_short_texts(table: Table, most: int) -> Table:
    """Return the table with its texts in at most so many columns of a terminal each."""
    rows = [
        tuple(cut(printable(value), most) if isinstance(value, str) else value for value in row) for row in table.rows
    ]
    return Table(table.columns, table.types, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    style: str = "simple"
    padding: int = 2
    """By how much a column is wider than its heading, at least."""
    heading: Callable[[str], str] = str
    cell: Callable[[object], str]
    """Returns a value as it stands in the table."""


def _cell(value: object) -> str:
    return printable(_text(value, "NULL"))


def _in_markdown(value: object) -> str:
    return _cell(value).replace("\\", "\\\\").replace("|", "\\|")


_WIDE = _Layout(cell=_cell)
_CLOSE = _Layout(cell=_cell, padding=0)
_BROKEN = _Layout(cell=_cell, padding=0, heading=lambda name: name.replace("_", "\n"))
_MARKDOWN = _Layout(cell=_in_markdown, style="pipe")


def _tabulated(table: Table, layout: _Layout) -> str:
    import tabulate  # takes 90 ms, which the other formats need not

    usual, tabulate.MIN_PADDING = tabulate.MIN_PADDING, layout.padding  # there is no argument for it
    try:
        text = tabulate.tabulate(
            [list(map(layout.cell, row)) for row in table.rows],
            headers=[layout.heading(layout.cell(name)) for name in table.columns],
            tablefmt=layout.style,
            disable_numparse=True,
            colalign=[_alignment(kind) for kind in table.types],
        )
    finally:
        tabulate.MIN_PADDING = usual
    return text + "\n"


def _blocks(table: Table) -> str:
    """Return each row as lines of a name and a value."""
    names = [_cell(name) for name in table.columns]
    width = max(map(len, names))
    blocks = (
        "".join(f"{name:<{width}}  {_cell(value)}".rstrip() + "\n" for name, value in zip(names, row, strict=True))
        for row in table.rows
    )
    return "\n".join(blocks)


def _alignment(kind: str) -> str:
    return "decimal" if kind == _DOLLARS else "right" if _is_number(kind) else "left"


def _is_number(kind: str) -> bool:
    return _NUMBER.fullmatch(kind.partition("(")[0]) is not None


def terminal_width() -> int | None:
    """Return how many characters a line on standard output has; ``None``: it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fits(text: str, width: int) -> bool:
    return max(map(width_of, text.splitlines())) <= width


def _objects(table: Table) -> list[str]:
    names = _distinct(table.columns)
    return [
        CONTROL.sub(
            _in_json, json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, allow_nan=False)
        )
        for row in table.rows
    ]


def _in_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"  # JSON itself escapes only those below the space


def _text(value: object, null: str) -> str:
    """Return a value as the text of one cell."""
    if type(value) is str or type(value) is int:  # nearly all, of what may be many thousands
        return str(value)
    if value is None:
        return null
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    plain = value if isinstance(value, Json | float) else _plain(value)
    return str(plain)


def _plain(value: Any) -> Any:
    """Return a value as what :mod:`json` writes the way the contract of ``metrion sql`` says."""
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
    # DuckDB also takes NaN and 1e999 for JSON, a reader of what is printed here would not.
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
