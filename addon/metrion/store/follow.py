"""New events as they are metered: journal and store in, events out, each exactly once.

In: where journal and store are. Out: rows with the columns and values of :func:`metrion.store.ask`, in the order in
which they were metered. What was metered before the start is the history; its last events can be asked for. Nothing on
disk is changed. No writer ever waits for a follower; the ingester waits only while the follower reads the store.

The journal is read while its writers write it. A segment stays open here until it is deleted, and is then read to its
end. A segment that came and went between two looks leaves a gap in its writer's numbers, or a watermark above the last
number seen. Then, and only then, events are read from the store. Whether the store has changed is looked at every
:data:`CHECK_SECONDS` at most.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from metrion import store
from metrion.errors import StoreError
from metrion.store import schema
from metrion.store.query import Json
from metrion.store.spans import Moment

LOOK_SECONDS = 0.1
"""Seconds between two looks at the journal."""
CHECK_SECONDS = 5.0
"""Seconds between two looks whether the store has events that were never seen in the journal."""
_CLOCKS_SECONDS = 10.0
"""How far an event's own times may be from when it was seen."""

type Row = tuple[Any, ...]
"""The columns of ``events``, in their order."""

_EVENT_ID = list(schema.COLUMN_TYPES).index("event_id")
_STARTED_AT = list(schema.COLUMN_TYPES).index("started_at")
_LATENCY_MS = list(schema.COLUMN_TYPES).index("latency_ms")
_LONG_SECONDS = 900
"""Few requests take so long."""
_METERED_AT = "(started_at + to_microseconds(CAST(1000 * coalesce(latency_ms, 0) AS BIGINT)))"


def _metered_since(columns: str, table: str) -> str:
    """Return a query for what was metered from ``$since`` on: rows that began then, and the few that took longer."""
    began = f"make_timestamp($since) - INTERVAL {_LONG_SECONDS} SECONDS"
    late = f"{_METERED_AT} >= make_timestamp($since)"
    return (
        f"SELECT {columns} FROM {table} WHERE started_at >= {began} AND {late} UNION ALL "  # noqa: S608 -- all of it is written here
        f"SELECT {columns} FROM {table} "
        f"WHERE started_at < {began} AND latency_ms >= {_LONG_SECONDS * 1000} AND {late}"
    )


_SINCE = f"SELECT * FROM ({_metered_since('*', 'events')}) ORDER BY {_METERED_AT}, event_id"  # noqa: S608 -- as above
_STATE = f"""
SELECT writer, seq, NULL, NULL FROM watermarks UNION ALL {_metered_since("NULL, NULL, event_id, NULL", "ingested")}
UNION ALL SELECT NULL, NULL, NULL, max(started_at) FROM events"""  # noqa: S608 -- as above
"""The watermarks, what was ingested just now, and the newest beginning of all."""
_FROM_JSON: Mapping[str, Callable[[Any], Any]] = {
    "UUID": UUID,
    "TIMESTAMP": datetime.fromisoformat,
    "JSON": Json,
    schema.MONEY: Decimal,
    f"MAP(VARCHAR, {schema.MONEY})": lambda amounts: {name: Decimal(amount) for name, amount in amounts.items()},
}
"""Reads a value in a line of the journal, by the column's type. Other types are as JSON has them."""


@dataclass(slots=True)
class _Open:
    """A segment that is being read."""

    descriptor: int
    writer: str
    unfinished: bytes = b""
    """The start of a line that has no end yet."""


class Follower:
    """Follows one home's events. A context manager: it holds files open."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self._journal_dir = journal_dir
        self._store_path = store_path
        self._segments: dict[str, _Open] = {}
        self._numbers: dict[str, int] = {}
        """The number of each writer's last line that was read."""
        self._given: dict[UUID, float] = {}
        """When each recent event was given, or found to belong to the history."""
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

        :raises StoreError: the store cannot be read.
        """
        store.initialise(self._journal_dir, self._store_path)
        began = time.time()
        for row in self._read_journal():
            self._is_new(row)
        self._store_state = self._state()
        # One query, so that both are of one moment.
        newest: Moment = None
        for writer, seq, event_id, at in self._ask(_STATE, {"since": _microseconds(began - _CLOCKS_SECONDS)}):
            if writer is not None:
                self._numbers[writer] = max(seq, self._numbers.get(writer, 0))
            elif event_id is not None:
                self._given[event_id] = began
            else:
                newest = at
        rows = self._last(count, newest, condition, parameters or {}) if count else []
        for row in rows:
            self._is_new(row)
        self._complete_until = self._checked_at = began
        self._gap = False
        return rows[::-1]

    def _last(self, count: int, newest: Moment, condition: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Return the last events that meet a condition, the newest first, from as few of the newest rows as will do.

        ``newest`` is when the latest of all began.
        """
        last = f"WHERE {condition} ORDER BY {_METERED_AT} DESC, event_id DESC LIMIT {count:d}"
        for since in [newest - timedelta(hours=hours) for hours in (1, 24)] if newest else ():
            # What began before and took longer may be among the last, too.
            rows = self._ask(
                "SELECT * FROM (FROM events WHERE started_at >= $since "  # noqa: S608 -- the condition is the caller's
                f"UNION ALL FROM events WHERE started_at < $since AND latency_ms >= {_LONG_SECONDS * 1000}) {last}",
                {"since": since, **parameters},
            )
            if len(rows) == count and _metered_at(rows[-1]) >= since + timedelta(seconds=_LONG_SECONDS):
                return rows
        return self._ask(f"SELECT * FROM events {last}", parameters)  # noqa: S608 -- as above

    def news(self) -> Iterator[Row]:
        """Give every event that was metered since the last call, or since :meth:`history`. Does not wait."""
        yield from filter(self._is_new, self._read_journal())
        now = time.time()
        if not 0 <= now - self._checked_at < CHECK_SECONDS:
            self._checked_at = now
            if self._gap or self._state() != self._store_state:
                with suppress(StoreError):  # somebody writes there; the next look does as well
                    yield from self._missed(now)

    def _missed(self, now: float) -> Iterator[Row]:
        """Give the events that are in the store and never showed in the journal."""
        state = self._state()
        watermarks: dict[str, int] = dict(self._ask("SELECT writer, seq FROM watermarks"))
        if self._gap or any(seq > self._numbers.get(writer, 0) for writer, seq in watermarks.items()):
            since = _microseconds(self._complete_until - _CLOCKS_SECONDS)
            rows = self._ask(_SINCE, {"since": since})
            yield from filter(self._is_new, rows)
            for writer, seq in watermarks.items():
                self._numbers[writer] = max(seq, self._numbers.get(writer, 0))
            self._gap = False
        self._store_state = state
        oldest = self._complete_until - 2 * _CLOCKS_SECONDS
        self._given = {event_id: moment for event_id, moment in self._given.items() if moment >= oldest}
        self._complete_until = now

    def _is_new(self, row: Row) -> bool:
        """Return whether an event was not given before, and record that it is."""
        event_id = row[_EVENT_ID]
        if event_id in self._given:
            return False
        self._given[event_id] = time.time()
        return True

    # --- the journal ---

    def _read_journal(self) -> Iterator[Row]:
        """Give the event of every line that was not read yet."""
        listed = self._listed()
        for name in sorted(listed - self._segments.keys()):
            with suppress(FileNotFoundError):  # deleted since it was listed: its lines show as a gap
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
        """Return a value that changes whenever the store does."""
        with suppress(FileNotFoundError):
            stat = self._store_path.stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return ()

    def _ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        return store.ask(self._journal_dir, self._store_path, query, parameters).rows


def _metered_at(row: Row) -> datetime:
    at: datetime = row[_STARTED_AT]
    return at + timedelta(milliseconds=row[_LATENCY_MS] or 0)


def _value(kind: str, value: Any) -> Any:
    convert = _FROM_JSON.get(kind)
    return value if value is None or convert is None else convert(value)


def _microseconds(moment: float) -> int:
    return int(moment * 1_000_000)
