"""The journal: every event as one line of JSON, on its way to the store.

In: events, on the proxy's event loop. Out: segments, files ``WRITER-NUMBER.ndjson`` in one directory. A line holds the
event's columns that are not NULL, ``writer`` and ``seq`` (1, 2, …, for each writer). When :meth:`Journal.append`
returns, the operating system has the line: the death of the process loses nothing, a power cut at most the last 100 ms.
The store can read every line: a value that its column's type cannot hold is left out, with a warning that names the
column and never the value. Never raises into the proxy, never waits for the disk, never writes to a sealed segment.

A segment is sealed when its writer releases the lock (``flock``) that it holds while it writes: by size, by age, at
:meth:`Journal.close` or by its death.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metrion.journal.lines import LINE_BYTES, TEXT_CHARACTERS, encode
from metrion.model import Event

__all__ = ["LINE_BYTES", "TEXT_CHARACTERS", "Journal", "encode"]

logger = logging.getLogger(__name__)

_SYNC_SECONDS = 0.05
"""How long a line may wait for its fdatasync; with the sync itself it stays under 100 ms."""
SEGMENT_SECONDS = 1.0
"""A segment older than this is sealed, so that the ingester gets whole segments."""
SEGMENT_BYTES = 8 * 1024 * 1024
PENDING_BYTES = 64 * 1024 * 1024
"""How much is kept in memory while the disk takes nothing; beyond it, the oldest events are dropped and counted."""
_PENDING_LINES_AT_ONCE = 1000

# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)

_generation = 0
"""How many forks lie between this process and the one that imported this module: cheaper to compare than its id."""


def _after_fork() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_after_fork)


class Journal:
    """The writing end of the journal. Makes nothing on disk before the first event.

    ``writer`` is a name to find the segments by (letters, digits, ``_``). The writer's id is always unique, because
    sequence numbers start again with it. ``failed`` counts writes that the disk refused, ``dropped`` events that were
    lost because it refused for too long, or until the end. ``on_change`` is called, from any thread, when ``dropped``
    or the number of events that wait in memory changes; it must not raise.
    """

    def __init__(
        self,
        directory: Path,
        *,
        writer: str | None = None,
        on_change: Callable[[int, int], None] = lambda _dropped, _pending: None,
    ) -> None:
        if writer is not None and not re.fullmatch(r"\w+", writer, re.ASCII):
            raise ValueError(f"a journal's writer is named with letters, digits and _, not {writer!r}")
        self.directory = directory
        self._label = writer or "proxy"
        self._on_change = on_change
        self.failed = 0
        self.dropped = 0
        self._begin()

    def _begin(self) -> None:
        self._generation = _generation
        self.writer = f"{self._label}-{os.getpid()}-{secrets.token_hex(6)}"
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

    def append(self, event: Event) -> int:
        """Write the event, and return its number. An OSError is logged, and the event kept for the next try."""
        if self._generation != _generation:
            self._after_fork()
        with self._lock:
            self._seq += 1
            number = self._seq
            line = encode(event, self.writer, number)
            if self._pending:
                self._keep(line)
                self._write_pending()
                return number
            try:
                self._write(line)
            except OSError as error:
                self._refused(error)
                self._keep(line)
            return number

    def close(self) -> None:
        """Write the pending events, sync and seal. A later event opens a new segment."""
        with self._lock:
            thread, self._thread = self._thread, None
            stop = self._stop
        stop.set()
        self._wake.set()
        if thread is not None:
            thread.join()
        waiting = -1
        while len(self._pending) != waiting:  # until all is written, or the disk takes nothing
            waiting = len(self._pending)
            self._tend_once(seal=True)
        with self._lock:
            if lost := len(self._pending):
                self.dropped += lost
                self._pending.clear()
                self._pending_bytes = 0
                self._on_change(self.dropped, 0)
                logger.error("journal %s: closed with %d events that no disk took; they are lost", self.writer, lost)

    def _after_fork(self) -> None:
        """Become another writer: the parent goes on with the old id and its numbers."""
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
            # The ingester found the new file before it was locked, took it for sealed, and deletes it.
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
        self._on_change(self.dropped, len(self._pending))
        self._start_thread()
        self._wake.set()

    def _write_pending(self) -> None:
        for _ in range(min(len(self._pending), _PENDING_LINES_AT_ONCE)):
            try:
                self._write(self._pending[0])
            except OSError as error:
                self._refused(error)
                return
            self._pending_bytes -= len(self._pending.popleft())
            self._on_change(self.dropped, len(self._pending))
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
                if stop.wait(_SYNC_SECONDS):
                    return
                self._tend_once()

    def _tend_once(self, *, seal: bool = False) -> None:
        """Sync what was written; seal and close segments that are old enough."""
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
            logger.error("journal %s: cannot be synced: %s", self.directory, error)  # noqa: TRY400 -- the error says it all


@dataclass(slots=True)
class _Segment:
    descriptor: int
    opened: float
    size: int = 0
    dirty: bool = False
    named: bool = False
    """The directory's entry is on disk."""
