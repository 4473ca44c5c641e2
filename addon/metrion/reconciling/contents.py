"""The text of a file → JSON documents or the rows of a sheet, whose values are checked as they are read.

Pure functions. A file is never trusted: its size, the number of its rows and the size of its numbers are bounded, and
a value of another type than its form has is an error that names the line or the member. No float is on the way.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from metrion.errors import BillError

MOST_BYTES = 64 * 1024 * 1024
MOST_ROWS = 500_000
"""Of a sheet, and of the results of pages."""

_MOST_USD = Decimal(10) ** 9
_MOST_PLACES = 40
_MOST_TOKENS = 10**15
_FIRST_YEAR, _LAST_YEAR = 2015, 2200
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)
_ROWS_ABOVE_HEADER = 20
_SHOWN = 60


def shown(value: object) -> str:
    """Return a value as a message may show it: short, and on one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


# --- values -----------------------------------------------------------------------------------------------------------


def to_amount(value: object, place: str) -> Decimal:
    """Read an amount of money."""
    if isinstance(value, str):
        text = value.strip()
        text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
        value = _decimal(text) if _NUMBER.fullmatch(text) else None
    elif isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise BillError(f"{place} is not an amount")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value.copy_abs() > _MOST_USD or exponent < -_MOST_PLACES:
        raise BillError(f"{place} is {shown(str(value))}, which no bill has")
    return value


def to_count(value: object, place: str) -> int:
    """Read a count of tokens."""
    if isinstance(value, str):
        text = value.strip().replace(",", "")
        value = int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_TOKENS:
        raise BillError(f"{place} is not a count of tokens")
    return value


def to_moment(value: object, place: str) -> datetime:
    """Read a moment as RFC 3339, or as BigQuery writes it (``2026-11-01 00:00:00 UTC``); the result is naive UTC."""
    try:
        read = datetime.fromisoformat(str(value).removesuffix(" UTC"))
        read = read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise BillError(f"{place} is {shown(value)}, not a time such as 2026-11-01T00:00:00Z") from None
    return _plausible(read, place)


def to_unix_moment(value: object, place: str) -> datetime:
    """Read Unix seconds; the result is naive UTC."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**11:
        raise BillError(f"{place} is {shown(value)}, not Unix seconds")
    return _plausible(datetime.fromtimestamp(value, UTC).replace(tzinfo=None), place)


def to_day(value: str, place: str) -> date:
    """Read a day: ``2026-11-01``."""
    try:
        read = datetime.strptime(value.strip(), "%Y-%m-%d")  # noqa: DTZ007 -- a day has no time zone
    except ValueError:
        raise BillError(f"{place} is {shown(value)}, not a day such as 2026-11-01") from None
    return _plausible(read, place).date()


def check_currency(currency: object, place: str) -> None:
    """Refuse what is not in US dollars."""
    if not isinstance(currency, str) or currency.upper() != "USD":
        raise BillError(
            f"{place} is {shown(currency)}; Metrion meters in US dollars and knows no rate of exchange. Export the "
            "bill in USD, or convert its amounts into a file of the plain form (docs/reconcile.md)"
        )


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _plausible(moment: datetime, place: str) -> datetime:
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise BillError(f"{place} is in the year {moment.year}, which no bill is of")
    return moment


# --- JSON -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A value in a JSON document, and how it was reached."""

    value: Any
    path: str = ""

    def __getitem__(self, name: str) -> Member:
        """Return a member of an object; its value is ``None`` where it is missing."""
        if not isinstance(self.value, dict):
            raise BillError(f"{self.path or 'the document'} is not an object")
        return Member(self.value.get(name), f"{self.path}.{name}".lstrip("."))

    def elements(self) -> Iterator[Member]:
        """Yield the elements of an array."""
        if not isinstance(self.value, list):
            raise BillError(f"{self.path or 'the document'} is not an array")
        for number, element in enumerate(self.value):
            yield Member(element, f"{self.path}[{number}]")

    def text(self) -> str | None:
        """Return a text; null and an empty one are ``None``."""
        if self.value is None or isinstance(self.value, str):
            return self.value or None
        raise BillError(f"{self.path} is not a text")

    def amount(self) -> Decimal:
        """Return an amount of money."""
        return to_amount(self.value, self.path)

    def count(self) -> int | None:
        """Return a count, ``None`` where it is not reported."""
        return None if self.value is None else to_count(self.value, self.path)


def read_documents(text: str) -> list[Member]:
    """Read one JSON document, several behind one another, or an array of them."""
    decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)
    found: list[Any] = []
    at = 0
    try:
        while at < len(text):
            document, at = decoder.raw_decode(text, at)
            found += document if isinstance(document, list) else [document]
            at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text
    except json.JSONDecodeError as error:
        raise BillError(f"line {error.lineno}, column {error.colno}: this is not JSON ({error.msg})") from None
    except (ValueError, RecursionError, InvalidOperation):
        raise BillError(f"the JSON document at character {at} has a number or a depth that no bill has") from None
    if len(found) > MOST_ROWS:
        raise BillError(f"it has {len(found):,} rows; {MOST_ROWS:,} at most are read. Split it by days")
    several = len(found) > 1
    return [Member(each, f"[{number}]" if several else "") for number, each in enumerate(found)]


_SPACE = re.compile(r"[\s,]*")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


# --- sheets -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a sheet, by the names of its columns."""

    cells: Mapping[str, str]
    line: int

    def text(self, column: str) -> str | None:
        """Return a cell; an empty one, and one of a column that is missing, is ``None``."""
        return self.cells.get(column, "").strip() or None

    def amount(self, column: str) -> Decimal:
        """Return an amount of money."""
        return to_amount(self.cells[column], self.place(column))

    def count(self, column: str) -> int | None:
        """Return a count of tokens, ``None`` where the cell is empty."""
        text = self.text(column)
        return None if text is None else to_count(text, self.place(column))

    def day(self, column: str) -> date:
        """Return a day."""
        return to_day(self.cells[column], self.place(column))

    def place(self, column: str) -> str:
        """Name a cell."""
        return f"line {self.line}, column {column}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a CSV file, from the first of them that can be a header on."""

    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Each with the line that it ends in."""

    def header(self, columns: Collection[str]) -> int | None:
        """Return which row has these columns as names; ``None`` if none of the first ones has."""
        for number, (_, cells) in enumerate(self.rows[:_ROWS_ABOVE_HEADER]):
            if set(columns) <= set(cells):
                return number
        return None

    def below(self, header: int) -> Iterator[Row]:
        """Yield the rows under a header. Empty ones are left out, cells behind the last column must be empty."""
        _, names = self.rows[header]
        for line, cells in self.rows[header + 1 :]:
            if not any(cells):
                continue
            if len(cells) != len(names) and any(cells[len(names) :]):
                raise BillError(f"line {line} has {len(cells)} cells, and the header {len(names)}")
            yield Row(dict(zip(names, cells, strict=False)) | dict.fromkeys(names[len(cells) :], ""), line)


def read_sheet(text: str) -> Sheet:
    """Read CSV whose cells are parted by commas, tabs or semicolons."""
    first = text.partition("\n")[0]
    delimiter = max(",\t;", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            rows.append((reader.line_num, tuple(cell.strip() for cell in cells)))
            if len(rows) > MOST_ROWS:
                raise BillError(f"it has more than {MOST_ROWS:,} lines. Split it by days")
    except csv.Error as error:
        raise BillError(f"line {reader.line_num}: this is not CSV ({error})") from None
    return Sheet(tuple(rows))
