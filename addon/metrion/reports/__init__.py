"""The everyday questions: one ``.sql`` file each, and what runs them.

In: the name of a question, a span of time and, where the question leaves it open, what to group by. Out: a table, its
total, and notes on what the figures leave out. What is not known is counted beside the sums, never as zero. Times are
UTC; days and months are those of a time zone.

A new question is a new file. Its first line is a comment that says what it answers. It reads ``rows_asked()``, which
are rows of ``billing``, or their sums ``sums_by(COLUMN, …)`` (:mod:`metrion.reports.rows`). It selects first what it
groups by, then ``requests`` and more figures, and last ``is_total``, which is true in the one row over everything. It
may leave what to group by to ``$by``: it then selects a list, ``keys``, with one entry for each of ``$by``, and finds
its days and months in ``$timezone``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrion import store
from metrion.reports import rows
from metrion.reports.moments import moment

if TYPE_CHECKING:
    from metrion.store.query import Table

__all__ = ["BESIDE", "GROUPS", "QUESTIONS", "Answer", "Span", "moment", "report"]

_FILES = sorted(Path(__file__).parent.glob("*.sql"))

QUESTIONS: Mapping[str, str] = {
    file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ") for file in _FILES
}
"""What can be asked, by name, and what each answers."""

GROUPS: tuple[str, ...] = ("month", "day", "user", "model", "provider", "token", "account")
"""What to group by; ``tag:NAME`` besides."""

BESIDE: tuple[str, ...] = ("estimated_usd", "at_least_usd", "subscription_usd")
"""Amounts that stand beside a sum. Most reports have none of them."""

_DEFAULT_GROUP = "day"

_NOTES: Mapping[str, str] = {
    "unpriced": "of a model without a price: their usage is known, their cost is in no figure here",
    "unknown": "of unknown usage (`metrion report unpriced` says the way out): billed, but in no figure here",
}
"""What a column counts that no sum has."""

_MOST_EXACT = 100_000
_BY_STEPS = (
    f"Of more than {_MOST_EXACT:,} answers, percentiles are read off a histogram: they are within 4.4 % of the times "
    "of the answers at their places. A shorter span (--since) has exact ones."
)
"""Where the question ``latency`` stops to be exact, and what it says then."""
_OR_STEPPED = "-- Of more answers, by histograms:\n"
"""What parts its two queries."""
_TIMED = "SELECT sum(timed) FROM sums_by(provider)"

_NOTES_BESIDE: Mapping[str, str] = {
    "at_least_usd": "what the known part of requests without a known cost comes to, in no other figure here",
    "subscription_usd": "what the API would have charged for what a flat-rate plan covers, in no other figure here",
}
"""What an amount is that no sum has."""

_WAYS_OUT: Mapping[str, str] = {
    "unpriced": "give the model a price in a file of your own (docs/pricing.md), then run `metrion reprice`",
    "unknown": "nobody reported the usage, or not yet. A background response reports it when it is read back, a stream "
    "if the request asks for it (docs/configuration.md, The usage of streams); what breaks off may be estimated "
    "(docs/estimates.md)",
}
"""What to do about the rows of the question ``unpriced``, by their ``why``."""


type Condition = tuple[str, Mapping[str, Any]]
"""SQL over columns of ``events``, with ``$`` parameters, and these; empty: all rows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A report. ``total`` is one more row, for people; ``notes`` say what the figures leave out."""

    table: Table
    total: tuple[Any, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since`` up to, not including, ``until``; naive UTC, ``None`` is open."""

    since: datetime | None = None
    until: datetime | None = None


def report(
    journal_dir: Path,
    store_path: Path,
    name: str,
    span: Span,
    by: Sequence[str] = (),
    timezone: str = "UTC",
    only: Condition = ("", {}),
) -> Answer:
    """Answer the question ``name``; ``by`` are some of :data:`GROUPS` or ``tag:NAME``, by default ``day``.

    ``only``: of the rows that meet it. Then rows answer, one by one, and no sums: the span should be short.

    :raises ValueError: one of ``by`` is neither, or the question cannot be grouped.
    :raises StoreError: the store cannot be read.
    """
    query = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    if by and "$by" not in query:
        raise ValueError(f"{name} has no --by; `metrion report costs --by {by[0]}` has")
    kinds = list(dict.fromkeys(by)) or [_DEFAULT_GROUP]
    headings = [_heading(kind) for kind in kinds]
    is_stepped = False
    if name == "latency":
        exact, _, stepped = query.partition(_OR_STEPPED)
        if not only[0]:  # histograms know no condition
            timed = rows.expanded(_TIMED, (), span.since, span.until, timezone)
            ((answers,),) = store.ask(journal_dir, store_path, timed).rows
            is_stepped = (answers or 0) > _MOST_EXACT
        query = stepped if is_stepped else exact
    query = rows.expanded(query, kinds, span.since, span.until, timezone, only[0])
    parameters = {"by": kinds, "timezone": timezone, "since": span.since, "until": span.until, **only[1]}
    table = store.ask(
        journal_dir, store_path, query, {key: value for key, value in parameters.items() if f"${key}" in query}
    )
    if "$by" in query:
        table = _spread(table, headings)
    keys = table.columns.index("requests")
    answers = [row[:-1] for row in table.rows if not row[-1]]
    (figures,) = (row[keys:-1] for row in table.rows if row[-1])
    total = ("total", *[""] * (keys - 1), *figures)
    answer = type(table)(table.columns[:-1], table.types[:-1], answers)
    notes = (_BY_STEPS,) if is_stepped else _notes(name, answer, total)
    return Answer(answer, total, notes)


def _heading(kind: str) -> str:
    """Return the column's name for what to group by.

    :raises ValueError: it is nothing to group by.
    """
    group, colon, tag = kind.partition(":")
    if not (group == "tag" and tag) and (colon or group not in GROUPS):
        raise ValueError(f"{kind!r} is nothing to group by; take one of {', '.join(GROUPS)} or tag:NAME")
    return tag or group


def _spread(table: Table, headings: Sequence[str]) -> Table:
    """Give each entry of ``keys``, the first column, a column of its own."""
    spread = [(*(row[0] or [None] * len(headings)), *row[1:]) for row in table.rows]
    columns = (*headings, *table.columns[1:])
    return type(table)(columns, (*["VARCHAR"] * len(headings), *table.types[1:]), spread)


def _notes(name: str, table: Table, total: tuple[Any, ...]) -> tuple[str, ...]:
    figures = dict(zip(table.columns, total, strict=True))
    beside = [f"{column}: {what}" for column, what in _NOTES_BESIDE.items() if figures.get(column)]
    if name == "unpriced":
        reasons = {row[0] for row in table.rows}
        return (*(f"{why}: {way_out}" for why, way_out in _WAYS_OUT.items() if why in reasons), *beside)
    counted = [f"{figures[column]} {column}: {what}" for column, what in _NOTES.items() if figures.get(column)]
    return (*counted, *beside)
