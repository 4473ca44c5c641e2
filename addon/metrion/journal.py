"""The journal: every event as one line of JSON, on its way to the store.

In: events, on the proxy's event loop. Out: segments, files ``WRITER-NUMBER.ndjson`` in one directory. A line holds the
event's columns that are not NULL, ``writer`` and ``seq`` (1, 2, …, for each writer). When :meth:`Journal.append`
returns, the line is with the operating system: the death of the process loses nothing, a power cut at most the last
100 ms. Every line can be read by the store: what a column's type cannot hold is left out with a warning that names the
column and never its value. Never raises into the proxy, never waits for the disk, never writes a segment again that is
sealed.

A segment is sealed when its writer lets go of the lock (``flock``) that it holds while it writes: by size, by age, by
:meth:`Journal.close` or by its death. Standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import math
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from metrion.model import EVENT_COLUMNS, Event
from metrion.store.schema import COLUMN_TYPES, MONEY

logger = logging.getLogger(__name__)

SYNC_SECONDS = 0.05
"""How long a line may wait for its fdatasync; with the sync itself it stays under 100 ms."""
SEGMENT_SECONDS = 1.0
"""A segment older than this is sealed, so that the ingester gets whole segments."""
SEGMENT_BYTES = 8 * 1024 * 1024
PENDING_BYTES = 64 * 1024 * 1024
"""How much is kept in memory while the disk takes nothing; beyond it, the oldest events are dropped and counted."""
PENDING_LINES_AT_ONCE = 1000
TEXT_CHARACTERS = 16 * 1024
"""A longer text is cut."""
LINE_BYTES = 1024 * 1024
"""A longer line is written without its maps and raw usage."""

# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


class Journal:
    """One writer's end of the journal. Makes nothing on disk before the first event.

    ``writer`` is a name to find the segments by (letters, digits, ``_``); the writer's id is unique in any case, since
    sequence numbers start again with it. ``failed`` counts writes that the disk refused, ``dropped`` events that were
    lost because it refused for too long.
    """

    def __init__(self, directory: Path, *, writer: str | None = None) -> None:
        if writer is not None and not re.fullmatch(r"\w+", writer, re.ASCII):
            raise ValueError(f"a journal's writer is named with letters, digits and _, not {writer!r}")
        self.directory = directory
        self._label = writer or "proxy"
        self.failed = 0
        self.dropped = 0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self.writer = f"{self._label}-{self._pid}-{secrets.token_hex(6)}"
        self._seq = 0
        self._number = 0
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._sealed: list[_Segment] = []
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()

    def append(self, event: Event) -> None:
        """Write the event. An OSError is logged and counted, and the event kept in memory for the next try."""
        if os.getpid() != self._pid:
            self._after_fork()
        with self._lock:
            self._seq += 1
            line = encode(event, self.writer, self._seq)
            if self._pending:
                self._keep(line)
                self._write_pending()
                return
            try:
                self._write(line)
            except OSError as error:
                self._refused(error)
                self._keep(line)

    def close(self) -> None:
        """Write what is pending, sync and seal. An event that comes later opens a new segment."""
        with self._lock:
            thread, self._thread = self._thread, None
            stop = self._stop
        stop.set()
        self._wake.set()
        if thread is not None:
            thread.join()
        self._tend_once(seal=True)
        if self._pending:
            logger.error("journal %s: closed with %d events that no disk took", self.writer, len(self._pending))

    def _after_fork(self) -> None:
        """Become a writer of its own: the parent goes on with the old id and its numbers."""
        inherited = [*self._sealed, *([self._segment] if self._segment else [])]
        self._begin()
        for segment in inherited:
            os.close(segment.descriptor)

    # --- under the lock ---

    def _write(self, line: bytes) -> None:
        segment = self._segment or self._open()
        written = os.write(segment.descriptor, line)
        if written != len(line):  # the disk became full within the line
            try:
                os.ftruncate(segment.descriptor, segment.size)
            except OSError:
                self._seal()  # a torn last line is skipped, a torn line in the middle would not be
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.size += written
        segment.dirty = True
        if segment.size >= SEGMENT_BYTES:
            self._seal()
        if not self._wake.is_set():
            self._wake.set()

    def _open(self) -> _Segment:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._number += 1
            path = self.directory / f"{self.writer}-{self._number:08}.ndjson"
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    break
            except BlockingIOError:
                pass
            # The ingester found the new file before it was locked, took it for sealed and deletes it.
            os.close(descriptor)
        self._segment = _Segment(descriptor, opened=time.monotonic())
        self._start_thread()
        return self._segment

    def _seal(self) -> None:
        if self._segment is not None:
            self._sealed.append(self._segment)
            self._segment = None

    def _refused(self, error: OSError) -> None:
        if not self._pending:
            logger.error("journal %s: %s; events are kept in memory until it can be written", self.directory, error)
        self.failed += 1

    def _keep(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)
        while self._pending_bytes > PENDING_BYTES:
            self._pending_bytes -= len(self._pending.popleft())
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # 1, 2, 4, 8, …: a full disk must not fill the log too
                logger.error("journal %s: cannot be written; %d events are lost", self.directory, self.dropped)
        self._start_thread()
        self._wake.set()

    def _write_pending(self) -> None:
        for _ in range(min(len(self._pending), PENDING_LINES_AT_ONCE)):
            try:
                self._write(self._pending[0])
            except OSError as error:
                self._refused(error)
                return
            self._pending_bytes -= len(self._pending.popleft())
        if not self._pending:
            logger.warning("journal %s: can be written again", self.directory)

    def _start_thread(self) -> None:
        if self._thread is None:
            self._stop = threading.Event()
            thread = threading.Thread(target=self._tend, args=(self._stop,), name="journal", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down: the system writes the pages out by itself
                return
            self._thread = thread

    # --- in the background ---

    def _tend(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._segment or self._sealed or self._pending:
                if stop.wait(SYNC_SECONDS):
                    return
                self._tend_once()

    def _tend_once(self, *, seal: bool = False) -> None:
        """Sync what was written, and seal and close what is old enough."""
        with self._lock:
            if self._pending:
                self._write_pending()
            live = self._segment
            if live and (seal or time.monotonic() - live.opened >= SEGMENT_SECONDS):
                self._seal()
                live = None
            sealed, self._sealed = self._sealed, []
        if live and live.dirty:
            live.dirty = False  # before the sync: a line that comes during it makes it dirty again
            self._synced(live)
        for segment in sealed:  # in order: the ingester takes a writer's segments one after the other
            if segment.dirty:
                self._synced(segment)
            os.close(segment.descriptor)

    def _synced(self, segment: _Segment) -> None:
        try:
            _sync(segment.descriptor)
            if not segment.named:
                directory = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)  # else a power cut may take the file's name
                finally:
                    os.close(directory)
                segment.named = True
        except OSError as error:
            logger.error("journal %s: cannot be synced: %s", self.directory, error)  # noqa: TRY400 (says it all)


@dataclass(slots=True)
class _Segment:
    descriptor: int
    opened: float
    size: int = 0
    dirty: bool = False
    named: bool = False
    """The directory's entry is on disk."""


# --- lines ------------------------------------------------------------------------------------------------------------


def encode(event: Event, writer: str, seq: int) -> bytes:
    """Return the event as one line of JSON that the store can read, newline included. Never raises."""
    columns: dict[str, Any] = {}
    for name, value in zip(EVENT_COLUMNS, _values(event), strict=True):
        if value is not None:
            convert = _CONVERTERS[name]
            if convert is None:
                columns[name] = value
            else:
                try:
                    columns[name] = convert(value)
                except Exception as error:  # noqa: BLE001 (whatever a column holds, the event is written without it)
                    _warn(name, error)
    columns["writer"] = writer
    columns["seq"] = seq
    try:
        text = _to_json(columns)
        line = text.encode() + b"\n"
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return _repaired(columns)
    # An escaped NUL, or a text that only looks like one: it is sorted out there.
    return line if len(line) <= TEXT_CHARACTERS and "\\u0000" not in text else _repaired(columns)


_values = attrgetter(*EVENT_COLUMNS)
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder(parse_constant=lambda name: _refuse(f"{name} is no JSON")).decode
_UNWANTED = re.compile("[\x00\ud800-\udfff]")
_LONE_SURROGATE = re.compile(
    r"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _refuse(reason: str) -> Any:
    raise ValueError(reason)


def _warn(column: str, error: Exception | str) -> None:
    # The reason of a foreign exception may quote the value, which no log may hold.
    reason = error if isinstance(error, str | _UnfitError) else type(error).__name__
    logger.warning("journal: column %s is stored as NULL: %s", column, reason)


class _UnfitError(ValueError):
    """A value that its column's type cannot hold; the message does not quote it."""


def _repaired(columns: dict[str, Any]) -> bytes:
    """Encode the slow way, for text that JSON, UTF-8 or the store's reader would stumble over."""
    for name, value in columns.items():
        if isinstance(value, str):
            limit = LINE_BYTES if COLUMN_TYPES.get(name) == "JSON" else TEXT_CHARACTERS
            columns[name] = _clean(value[:limit])
        elif isinstance(value, dict):
            columns[name] = {_clean(key): _clean(item) for key, item in value.items()}
        elif COLUMN_TYPES.get(name) == "VARCHAR":
            columns[name] = _clean(str(value))
    line = _to_json(columns).encode() + b"\n"
    if len(line) > LINE_BYTES:
        for name in [name for name, kind in COLUMN_TYPES.items() if kind == "JSON" or kind.startswith("MAP")]:
            if columns.pop(name, None) is not None:
                _warn(name, "the event is too long")
        line = _to_json(columns).encode() + b"\n"
    return line


def _clean(value: Any) -> Any:
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def convert(value: Any) -> int:
        if not isinstance(value, int) or not -limit <= value < limit:
            raise _UnfitError(f"not an integer of {bits} bits")
        return int(value)

    return convert


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise _UnfitError("not a finite number")
    return float(value)


_PLACES = Decimal(1).scaleb(-12)
_MONEY_LIMIT = 10**6


def _money(value: Decimal) -> str:
    if not value.is_finite() or abs(value) > _MONEY_LIMIT:
        raise _UnfitError(f"not an amount that {MONEY} holds")
    rounded = value.quantize(_PLACES)
    if abs(rounded) >= _MONEY_LIMIT:
        raise _UnfitError(f"not an amount that {MONEY} holds")
    return format(rounded, "f")


def _timestamp(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat()


def _uuid(value: UUID) -> str:
    return str(value)


def _json_text(value: str) -> str:
    """Return the text as it is, if it is JSON; only lone surrogates, which no strict reader takes, are replaced."""
    if len(value) > LINE_BYTES // 2:
        raise _UnfitError("too long")
    _from_json(value)
    if "\\u" in value:
        return _LONE_SURROGATE.sub(lambda found: found[1] or r"\ufffd", value)
    return value


def _boolean(value: bool) -> bool:
    return bool(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _map[V, J](convert: Callable[[V], J]) -> Callable[[Mapping[str, V]], dict[str, J]]:
    return lambda value: {_text(key): convert(item) for key, item in value.items()}


_BY_TYPE: dict[str, Callable[[Any], Any] | None] = {
    "VARCHAR": None,  # repaired with the whole line, should it need it
    "UUID": _uuid,
    "TIMESTAMP": _timestamp,
    "BOOLEAN": _boolean,
    "SMALLINT": _integer(16),
    "BIGINT": _integer(64),
    "DOUBLE": _number,
    "JSON": _json_text,
    MONEY: _money,
    "MAP(VARCHAR, VARCHAR)": _map(_text),
    "MAP(VARCHAR, BIGINT)": _map(_integer(64)),
    f"MAP(VARCHAR, {MONEY})": _map(_money),
}
_CONVERTERS = {name: _BY_TYPE[COLUMN_TYPES[name]] for name in EVENT_COLUMNS}
