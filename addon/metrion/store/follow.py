"""New events as they are metered: journal and store in, events out, each exactly once.

In: where journal and store are. Out: rows with all columns and the values that :func:`metrion.store.ask` has, in the
order in which they were metered. What was metered before the start is the history, asked for by number. Nothing on disk
is changed, and no writer ever waits; an ingester does only while the store is asked.

The journal is read as its writers write it: a segment stays open until it is deleted, and is read to its end then. A
segment that came and went between two looks leaves a gap in its writer's numbers, or a watermark above what was seen of
it; then, and only then, the store is asked for events. It is looked at when it has changed, and not more often than
every :data:`CHECK_SECONDS`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from metrion import store
from metrion.store import StoreError, schema
from metrion.store.query import Json

LOOK_SECONDS = 0.1
"""Seconds between two looks at the journal."""
CHECK_SECONDS = 5.0
"""Seconds between two looks whether the store has events that were never seen in the journal."""
CLOCKS_SECONDS = 10.0
"""How far an event's own times may be from when it was seen."""

type Row = tuple[Any, ...]
"""The columns of ``events``, in their order."""

_EVENT_ID = list(schema.COLUMN_TYPES).index("event_id")
_METERED_AT = "(started_at + to_microseconds(CAST(1000 * coalesce(latency_ms, 0) AS BIGINT)))"
_SINCE = f"SELECT * FROM events WHERE {_METERED_AT} >= make_timestamp($since) ORDER BY {_METERED_AT}, event_id"  # noqa: S608 -- all of it is written here
_SETTLED = f"""
SELECT writer, seq, NULL FROM watermarks UNION ALL
SELECT NULL, NULL, event_id FROM ingested WHERE {_METERED_AT} >= make_timestamp($since)"""  # noqa: S608 -- as above
_FROM_JSON: Mapping[str, Callable[[Any], Any]] = {
    "UUID": UUID,
    "TIMESTAMP": datetime.fromisoformat,
    "JSON": Json,
    schema.MONEY: Decimal,
    f"MAP(VARCHAR, {schema.MONEY})": lambda amounts: {name: Decimal(amount) for name, amount in amounts.items()},
}
"""How a line of the journal writes what JSON has no word for, by the column's type."""


@dataclass(slots=True)
class _Open:
    """A segment and what was read of it."""

    descriptor: int
    writer: str
    unfinished: bytes = b""
    """The start of a line whose end is not there yet."""


class Follower:
    """Follows one home's events. A context manager: it holds files open."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self._journal_dir = journal_dir
        self._store_path = store_path
        self._segments: dict[str, _Open] = {}
        self._numbers: dict[str, int] = {}
        """Of each writer, the last line that is dealt with."""
        self._given: dict[UUID, float] = {}
        """When each event of late was given, or belonged to the history."""
        self._gap = False
        self._complete_until = 0.0
        """Everything metered up to then has been given."""
        self._checked_at = 0.0
        self._store_state: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for segment in self._segments.values():
            os.close(segment.descriptor)

    def history(self, count: int, condition: str = "true", parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the last ``count`` events that meet an SQL condition, oldest first; :meth:`news` goes on from here.

        Raises :class:`StoreError`.
        """
        store.initialise(self._journal_dir, self._store_path)
        began = time.time()
        for row in self._read_journal():
            self._is_new(row)
        self._store_state = self._state()
        # One query, so that both are of one moment.
        settled = self._ask(
            _SETTLED,
            {"since": _microseconds(began - CLOCKS_SECONDS)},
        )
        for writer, seq, event_id in settled:
            if event_id is None:
                self._numbers[writer] = max(seq, self._numbers.get(writer, 0))
            else:
                self._given[event_id] = began
        rows = self._ask(
            f"SELECT * FROM events WHERE {condition} ORDER BY {_METERED_AT} DESC, event_id DESC LIMIT {count:d}",  # noqa: S608 -- the condition is the caller's
            parameters,
        )
        for row in rows:
            self._is_new(row)
        self._complete_until = self._checked_at = began
        self._gap = False
        return rows[::-1]

    def news(self) -> Iterator[Row]:
        """Give every event that was metered since the last call, or since :meth:`history`. Does not wait for one."""
        yield from filter(self._is_new, self._read_journal())
        now = time.time()
        if not 0 <= now - self._checked_at < CHECK_SECONDS:
            self._checked_at = now
            if self._gap or self._state() != self._store_state:
                with suppress(StoreError):  # somebody writes there; at the next turn it is as well
                    yield from self._missed(now)

    def _missed(self, now: float) -> Iterator[Row]:
        """Give what the store has and the journal did not show."""
        state = self._state()
        watermarks: dict[str, int] = dict(self._ask("SELECT writer, seq FROM watermarks"))
        if self._gap or any(seq > self._numbers.get(writer, 0) for writer, seq in watermarks.items()):
            since = _microseconds(self._complete_until - CLOCKS_SECONDS)
            rows = self._ask(_SINCE, {"since": since})
            yield from filter(self._is_new, rows)
            for writer, seq in watermarks.items():
                self._numbers[writer] = max(seq, self._numbers.get(writer, 0))
            self._gap = False
        self._store_state = state
        oldest = self._complete_until - 2 * CLOCKS_SECONDS
        self._given = {event_id: moment for event_id, moment in self._given.items() if moment >= oldest}
        self._complete_until = now

    def _is_new(self, row: Row) -> bool:
        """Note that an event is given; whether it was not before."""
        event_id = row[_EVENT_ID]
        if event_id in self._given:
            return False
        self._given[event_id] = time.time()
        return True

    # --- the journal ---

    def _read_journal(self) -> Iterator[Row]:
        """Give every line that was not read yet."""
        listed = self._listed()
        for name in sorted(listed - self._segments.keys()):
            with suppress(FileNotFoundError):  # deleted since: what was in it shows as a gap
                descriptor = os.open(self._journal_dir / name, os.O_RDONLY | os.O_CLOEXEC)
                self._segments[name] = _Open(descriptor, name.rpartition("-")[0])
        for name, segment in sorted(self._segments.items()):
            yield from self._read(segment)
            if name not in listed:  # nobody writes to a segment that is deleted
                os.close(segment.descriptor)
                del self._segments[name]

    def _listed(self) -> set[str]:
        with os.scandir(self._journal_dir) as entries:
            return {entry.name for entry in entries if entry.name.endswith(".ndjson")} - {schema.SENTINEL}

    def _read(self, segment: _Open) -> Iterator[Row]:
        while chunk := os.read(segment.descriptor, 1 << 20):
            *lines, segment.unfinished = (segment.unfinished + chunk).split(b"\n")
            for line in lines:
                row = self._row(line)
                if row is not None:
                    yield row

    def _row(self, line: bytes) -> Row | None:
        try:
            columns = json.loads(line)
            row = tuple(_value(kind, columns.get(name)) for name, kind in schema.COLUMN_TYPES.items())
            writer, seq = columns["writer"], columns["seq"]
        except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
            return None  # the ingester sets such a line aside
        known = self._numbers.get(writer, 0)
        self._gap |= seq > known + 1
        self._numbers[writer] = max(seq, known)
        return row if row[_EVENT_ID] else None

    # --- the store ---

    def _state(self) -> tuple[int, ...]:
        """Return what changes whenever the store does."""
        with suppress(FileNotFoundError):
            stat = self._store_path.stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return ()

    def _ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return store.ask(self._journal_dir, self._store_path, query, parameters).rows


def _value(kind: str, value: Any) -> Any:
    convert = _FROM_JSON.get(kind)
    return value if value is None or convert is None else convert(value)


def _microseconds(moment: float) -> int:
    return int(moment * 1_000_000)
