"""The everyday questions: one ``.sql`` file each, and what runs them.

In: the name of a question, a span of time and what to group by. Out: a table, its total, and notes on what the figures
leave out. A question's query has the parameters ``$by``, ``$tag``, ``$since`` and ``$until``, the group as its first
column and ``is_total`` as its last.
A figure that is not known is counted as such, never as zero. Times are UTC.
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

NAMES: tuple[str, ...] = tuple(sorted(file.stem for file in Path(__file__).parent.glob("*.sql")))

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


def report(journal_dir: Path, store_path: Path, name: str, span: Span, by: str) -> Answer:
    """Answer the question ``name``; ``by`` is one of :data:`GROUPS` or ``tag:NAME``.

    Raises :class:`ValueError` for a ``by`` that is neither, and :class:`metrion.store.StoreError`.
    """
    kind, colon, tag = by.partition(":")
    if not (kind == "tag" and tag) and (colon or kind not in GROUPS):
        raise ValueError(f"{by!r} is nothing to group by; take one of {', '.join(GROUPS)} or tag:NAME")
    query = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
    parameters = {"by": kind, "tag": tag, "since": span.since, "until": span.until}
    table = store.ask(journal_dir, store_path, query, parameters)
    rows = [row[:-1] for row in table.rows if not row[-1]]
    (total,) = (("total", *row[1:-1]) for row in table.rows if row[-1])
    shown = type(table)((tag or kind, *table.columns[1:-1]), table.types[:-1], rows)
    return Answer(shown, total, _notes(dict(zip(shown.columns, total, strict=True))))


def moment(text: str, now: datetime) -> datetime:
    """Read a point in time as people type it: ``2026-11-01``, ISO 8601, ``7d``, ``24h``, ``today``, ``month``.

    ``now`` is aware; the result is naive UTC. Without a zone, UTC is meant. Raises :class:`ValueError`.
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
    "unknown": "of unknown usage (a stream that was cut, for instance): billed, but in no figure here",
}


def _notes(total: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{total[column]} {column}: {what}" for column, what in _NOTES.items() if total.get(column))
