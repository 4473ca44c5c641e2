"""New events as they are metered: journal and store in, events out, each exactly once.

In: where journal and store are. Out: events as dictionaries of all columns, with the values that JSON has (times end in
``Z``, money is text, ``None`` is NULL), in the order in which they were metered. What was metered before the start is
the history, asked for by number. Nothing on disk is changed, and no writer or ingester ever waits.

The journal is read as its writers write it: a segment stays open until it is deleted, and is read to its end then. A
segment that came and went between two looks leaves a gap in its writer's numbers, or a watermark above what was seen of
it; then, and only then, the store is asked for events. It is looked at when it has changed, and not more often than
every :data:`CHECK_SECONDS`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from metrion import store
from metrion.store import StoreError, schema

LOOK_SECONDS = 0.1
"""Seconds between two looks at the journal."""
CHECK_SECONDS = 5.0
"""Seconds between two looks whether the store has events that were never seen in the journal."""
CLOCKS_SECONDS = 10.0
"""How far an event's own times may be from when it was seen."""

type Row = dict[str, Any]

_METERED_AT = "started_at + to_microseconds(CAST(1000 * coalesce(latency_ms, 0) AS BIGINT))"
_JSON = frozenset(name for name, kind in schema.COLUMN_TYPES.items() if kind == "JSON")
_TIMES = frozenset(name for name, kind in schema.COLUMN_TYPES.items() if kind == "TIMESTAMP")


@dataclass(slots=True)
class _Open:
    """A segment and what was read of it."""

    descriptor: int
    writer: str
    unfinished: bytes = b""
    """The start of a line whose end is not there yet."""


@dataclass(slots=True)
class _Seen:
    """The ids of events that were given, so that none is given again."""

    at: dict[str, float] = field(default_factory=dict)
    """When each was seen, oldest first."""

    def add(self, event_id: str) -> bool:
        """Note an id; whether it is a new one."""
        if event_id in self.at:
            return False
        self.at[event_id] = time.time()
        return True

    def forget_before(self, moment: float) -> None:
        for event_id in [event_id for event_id, seen_at in self.at.items() if seen_at < moment]:
            del self.at[event_id]


class Follower:
    """Follows one home's events. A context manager: it holds files open."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self._journal_dir = journal_dir
        self._store_path = store_path
        self._segments: dict[str, _Open] = {}
        self._numbers: dict[str, int] = {}
        """The last line seen of each writer."""
        self._seen = _Seen()
        self._gap = False
        self._covered_until = 0.0
        """Up to then everything has been given."""
        self._checked_at = 0.0
        self._store_state: tuple[int, ...] = ()
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        for segment in self._segments.values():
            os.close(segment.descriptor)

    def history(self, count: int, condition: str = "true", parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the last ``count`` events that meet an SQL condition, oldest first; :meth:`news` goes on from here.

        Raises :class:`StoreError`.
        """
        began = time.time()
        for row in self._read_journal():
            self._seen.add(row["event_id"])
        self._store_state = self._state()
        query = f"SELECT * FROM events WHERE {condition} ORDER BY {_METERED_AT} DESC, event_id DESC LIMIT {count}"  # noqa: S608 (the caller's own words)
        rows = self._ask(query, parameters)
        for row in rows:
            self._seen.add(row["event_id"])
        self._numbers = {**self._watermarks(), **self._numbers}
        self._covered_until = self._checked_at = began
        self._gap = False
        return rows[::-1]

    def news(self) -> Iterator[Row]:
        """Give every event that was metered since the last call, or since :meth:`history`. Does not wait."""
        for row in self._read_journal():
            if self._seen.add(row["event_id"]):
                yield row
        now = time.time()
        if now - self._checked_at >= CHECK_SECONDS or now < self._checked_at:
            self._checked_at = now
            if self._gap or self._state() != self._store_state:
                with suppress(StoreError):  # somebody writes there: at the next turn
                    yield from self._missed(now)

    def _missed(self, now: float) -> Iterator[Row]:
        """Give what the store has and the journal did not show."""
        state = self._state()
        watermarks = self._watermarks()
        if self._gap or any(seq > self._numbers.get(writer, 0) for writer, seq in watermarks.items()):
            rows = self._ask(
                f"SELECT * FROM events WHERE {_METERED_AT} >= make_timestamp($since) ORDER BY {_METERED_AT}, event_id",  # noqa: S608 (all of it is written here)
                {"since": int((self._covered_until - CLOCKS_SECONDS) * 1e6)},
            )
            yield from [row for row in rows if self._seen.add(row["event_id"])]
            for writer, seq in watermarks.items():
                self._numbers[writer] = max(seq, self._numbers.get(writer, 0))
            self._gap = False
        self._store_state = state
        self._seen.forget_before(self._covered_until - 2 * CLOCKS_SECONDS)
        self._covered_until = now

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
        try:
            with os.scandir(self._journal_dir) as entries:
                return {entry.name for entry in entries if entry.name.endswith(".ndjson")} - {schema.SENTINEL}
        except FileNotFoundError:  # nothing was ever metered
            return set()

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
            writer, seq, event_id = columns["writer"], columns["seq"], columns["event_id"]
        except (ValueError, KeyError, TypeError):
            return None  # the ingester sets such a line aside
        known = self._numbers.get(writer, 0)
        self._gap |= seq > known + 1
        self._numbers[writer] = max(seq, known)
        return {name: _plain(name, columns.get(name)) for name in schema.COLUMN_TYPES} if event_id else None

    # --- the store ---

    def _state(self) -> tuple[int, ...]:
        """What changes whenever the store does."""
        with suppress(OSError):
            stat = self._store_path.stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return ()

    def _watermarks(self) -> dict[str, int]:
        return dict(store.ask(self._journal_dir, self._store_path, "SELECT writer, seq FROM watermarks").rows)

    def _ask(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        # Written as JSON by the database, so that a row from there is what its line in the journal is.
        answer = store.ask(
            self._journal_dir, self._store_path, f"SELECT {_AS_LINE} FROM ({query})", parameters  # noqa: S608 (as above)
        )
        return [{name: _plain(name, json.loads(line).get(name)) for name in schema.COLUMN_TYPES} for (line,) in answer.rows]


def _plain(name: str, value: Any) -> Any:
    return value
