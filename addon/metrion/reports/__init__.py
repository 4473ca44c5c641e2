"""The everyday questions: one ``.sql`` file each, and what runs them.

In: the name of a question, a span of time and, where the question leaves it open, what to group by. Out: a table, its
total, and notes on what the figures leave out. What is not known is counted beside the sums, never as zero. Times are
UTC.

A new question is a new file. Its first line is a comment that says what it answers. It reads ``events`` or ``billing``
between ``$since`` and ``$until``, and selects first what it groups by, then ``requests`` and more figures, and last
``is_total``, which is true in the one row over everything. It may leave what to group by to ``$by`` and ``$tag``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrion import store

if TYPE_CHECKING:
    from metrion.store.query import Table

_FILES = sorted(Path(__file__).parent.glob("*.sql"))

QUESTIONS: Mapping[str, str] = {
    file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ") for file in _FILES
}
"""What can be asked, by name, and what each answers."""

GROUPS: tuple[str, ...] = ("day", "user", "model", "provider", "token", "account")
"""What to group by; ``tag:NAME`` besides."""


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


def report(journal_dir: Path, store_path: Path, name: str, span: Span, by: str | None = None) -> Answer:
    """Answer the question ``name``; ``by`` is one of :data:`GROUPS` or ``tag:NAME``, by default ``day``.

    :raises ValueError: ``by`` is neither, or the question cannot be grouped.
    :raises StoreError: the store cannot be read.
    """
    query = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    if by is not None and "$by" not in query:
        raise ValueError(f"{name} has no --by; `metrion report costs --by {by}` has")
    by = "day" if by is None else by
    kind, colon, tag = by.partition(":")
    if not (kind == "tag" and tag) and (colon or kind not in GROUPS):
        raise ValueError(f"{by!r} is nothing to group by; take one of {', '.join(GROUPS)} or tag:NAME")
    parameters = {"by": kind, "tag": tag, "since": span.since, "until": span.until}
    table = store.ask(
        journal_dir, store_path, query, {key: value for key, value in parameters.items() if f"${key}" in query}
    )
    keys = table.columns.index("requests")
    rows = [row[:-1] for row in table.rows if not row[-1]]
    (figures,) = (row[keys:-1] for row in table.rows if row[-1])
    columns = tuple((tag or kind) if column == "key" else column for column in table.columns[:-1])
    total = ("total", *[""] * (keys - 1), *figures)
    return Answer(type(table)(columns, table.types[:-1], rows), total, _notes(name, rows, columns, total))


def moment(text: str, now: datetime) -> datetime:
    """Read a point in time as people type it: ``2026-11-01``, ISO 8601, ``7d``, ``24h``, ``today``, ``month``.

    ``now`` is aware; the result is naive UTC. Without a zone, UTC is meant.

    :raises ValueError: the text is none of these.
    """
    now = now.astimezone(UTC).replace(tzinfo=None)
    if text in _NAMED:
        return _NAMED[text](now)
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        read = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no point in time; write 2026-11-01, 2026-11-01T08:00:00Z, 7d, 24h, today or month"
        ) from None
    return read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


_NAMED: Mapping[str, Callable[[datetime], datetime]] = {
    "now": lambda now: now,
    "today": _midnight,
    "yesterday": lambda now: _midnight(now) - timedelta(days=1),
    "month": lambda now: _midnight(now).replace(day=1),
}


_NOTES: Mapping[str, str] = {
    "unpriced": "of a model without a price: their usage is known, their cost is in no figure here",
    "unknown": "of unknown usage (`metrion report unpriced` says the way out): billed, but in no figure here",
}
"""What a column counts that no sum has."""

_WAYS_OUT: Mapping[str, str] = {
    "unpriced": "give the model a price in a file of your own (docs/pricing.md), then run `metrion reprice`",
    "unknown": "not told, or not yet. A background response tells it when it is read back, a stream where it is asked "
    "to (docs/configuration.md, The usage of streams); what breaks off may be estimated (docs/estimates.md)",
}
"""What to do about the rows of the question ``unpriced``, by their ``why``."""


def _notes(name: str, rows: list[tuple[Any, ...]], columns: tuple[str, ...], total: tuple[Any, ...]) -> tuple[str, ...]:
    if name == "unpriced":
        reasons = {row[0] for row in rows}
        return tuple(f"{why}: {way_out}" for why, way_out in _WAYS_OUT.items() if why in reasons)
    counts = dict(zip(columns, total, strict=True))
    return tuple(f"{counts[column]} {column}: {what}" for column, what in _NOTES.items() if counts.get(column))
