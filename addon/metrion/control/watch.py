"""Who may call, with which key: a SQLite database in, the current snapshot of it out.

:meth:`Watch.access_snapshot` is called on the event loop for every request. When nothing changed it costs one ``stat``
and one ``PRAGMA data_version``, about 7 µs together. The next call sees what another process commits; where there are
more than 500 tokens and keys, a thread reads them (10,000 in 0.15 s), and calls see them when it is done. It fails
closed: when the database cannot be read, the last snapshot serves for 5 s after it was last known to be current, then
the call raises. A database that is replaced or removed while it is open counts as a change. Never: a wait for a writer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from metrion.admission import AccessSnapshot
from metrion.errors import ControlError

GRACE_SECONDS = 5.0
"""How long a snapshot serves that cannot be checked."""

MOST_INLINE = 500
"""Tokens and keys. More are read by a thread, which lets the event loop go on at every row, as SQLite's steps do."""

_NEVER_READ = -1
_BUSY_SECONDS = 0.02  # a reader of a write-ahead log waits only for a recovery after a crash


class _BeingReadError(Exception):
    """A thread reads the database, and is not done."""


class _Reading:
    """A thread that reads a snapshot on a connection of its own."""

    def __init__(
        self, db: sqlite3.Connection, version: int, began_at: float, read: Callable[[], AccessSnapshot]
    ) -> None:
        self.db = db
        """Whose ``version`` it is: versions of two connections do not compare."""
        self.version = version
        self.began_at = began_at
        self._read = read
        self._outcome: AccessSnapshot | Exception | None = None
        threading.Thread(target=self._run, name="metrion-access", daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome = self._read()
        except Exception as error:  # noqa: BLE001 -- raised again in the thread that asks
            self._outcome = error

    def snapshot(self) -> AccessSnapshot | None:
        """Return what was read; ``None``: it is not done."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Watch:
    """The current snapshot of the database at ``path``.

    ``read`` makes one inside a read transaction. The first call of :meth:`access_snapshot` opens a connection, which
    must not cross a fork: a process that forks does so before that call.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[sqlite3.Connection], AccessSnapshot],
        clock: Callable[[], float] = time.monotonic,
        *,
        most_inline: int = MOST_INLINE,
    ) -> None:
        self._path = path
        self._name = os.fsencode(path)
        self._read = read
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, ...] = ()
        self._version = _NEVER_READ
        self._snapshot: AccessSnapshot | None = None
        self._current_at = 0.0
        self._most_inline = most_inline
        self._reading: _Reading | None = None

    def access_snapshot(self) -> AccessSnapshot:
        """Return who may call, with which key, as the last commit left it.

        :raises ControlError: the database has been unreadable for longer than :data:`GRACE_SECONDS`, or from the start.
        """
        try:
            snapshot = self._refresh()
        except (sqlite3.Error, OSError, ControlError, _BeingReadError) as error:
            age = self._clock() - self._current_at
            if self._snapshot is not None and age <= GRACE_SECONDS:
                return self._snapshot
            if isinstance(error, ControlError):
                raise
            raise ControlError(f"{self._path}: cannot read accounts, tokens and keys: {error}.") from error
        self._current_at = self._clock()
        return snapshot

    def close(self) -> None:
        """Close the database; a later call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._file = ()
        self._reading = None

    def _refresh(self) -> AccessSnapshot:
        stat = os.stat(self._name)  # noqa: PTH116 -- a third of the time of Path.stat, at every request
        file = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        db = self._db
        if db is None or file != self._file:
            db = self._open()
            self._file, self._version = file, _NEVER_READ  # versions of two connections do not compare
        version = _data_version(db)
        if self._snapshot is not None and version == self._version:
            return self._snapshot
        if self._snapshot is None or _size(self._snapshot) <= self._most_inline:
            self._reading = None
            self._snapshot, self._version = self._read_from(db)
            return self._snapshot
        return self._read_apart(db, version)

    def _read_apart(self, db: sqlite3.Connection, version: int) -> AccessSnapshot:
        """Return what a thread has read, if it is what the database holds; else have one read it."""
        reading, read = self._reading, None
        if reading is not None:
            try:
                read = reading.snapshot()
            except BaseException:
                self._reading = None
                raise
            if read is None:
                raise _BeingReadError("they are being read")
            self._snapshot, self._current_at = read, max(self._current_at, reading.began_at)
            self._version = reading.version if reading.db is db else _NEVER_READ
            self._reading = None
            if self._version == version:
                return read
        self._reading = _Reading(db, version, self._clock(), self._read_alone)
        raise _BeingReadError("they are being read")

    def _read_alone(self) -> AccessSnapshot:
        with contextlib.closing(self._connected()) as db:
            return self._read_from(db)[0]

    def _read_from(self, db: sqlite3.Connection) -> tuple[AccessSnapshot, int]:
        """Read a snapshot, and the version that the database has on this connection."""
        db.execute("BEGIN")
        try:
            version = _data_version(db)
            snapshot = self._read(db)
        finally:
            if db.in_transaction:  # SQLite ends it by itself on some errors
                db.execute("ROLLBACK")
        return snapshot, version

    def _open(self) -> sqlite3.Connection:
        db = self._connected()
        previous, self._db = self._db, db
        if previous is not None:
            with contextlib.suppress(sqlite3.Error):
                previous.close()
        return db

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",  # never an empty database where one was removed
            uri=True,
            isolation_level=None,
            timeout=_BUSY_SECONDS,
            check_same_thread=False,  # opened by the thread that asks first
        )


def _data_version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version


def _size(snapshot: AccessSnapshot) -> int:
    return len(snapshot.tokens) + len(snapshot.provider_keys)
