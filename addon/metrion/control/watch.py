"""Who may call, with which key: a SQLite database in, the current snapshot of it out.

:meth:`Watch.access_snapshot` is called on the event loop for every request. When nothing changed it costs one ``stat``
and one ``PRAGMA data_version``, about 7 µs together. The next call sees what another process commits. It fails closed:
when the database cannot be read, the last snapshot serves for 5 s after it was last known to be current, then the call
raises. A database that is replaced or removed while it is open counts as a change. Never: a wait for a writer.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from metrion.admission import AccessSnapshot
from metrion.errors import ControlError

GRACE_SECONDS = 5.0
"""How long a snapshot serves that cannot be checked."""

_NEVER_READ = -1
_BUSY_SECONDS = 0.02  # a reader of a write-ahead log waits only for a recovery after a crash


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

    def access_snapshot(self) -> AccessSnapshot:
        """Return who may call, with which key, as the last commit left it.

        :raises ControlError: the database has been unreadable for longer than :data:`GRACE_SECONDS`, or from the start.
        """
        try:
            snapshot = self._refresh()
        except (sqlite3.Error, OSError, ControlError) as error:
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

    def _refresh(self) -> AccessSnapshot:
        stat = os.stat(self._name)  # noqa: PTH116 -- a third of the time of Path.stat, at every request
        file = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        db = self._db
        if db is None or file != self._file:
            db = self._open()
            self._file, self._version = file, _NEVER_READ  # versions of two connections do not compare
        if self._snapshot is not None and _data_version(db) == self._version:
            return self._snapshot
        db.execute("BEGIN")
        try:
            version = _data_version(db)
            snapshot = self._read(db)
        finally:
            if db.in_transaction:  # SQLite ends it by itself on some errors
                db.execute("ROLLBACK")
        self._snapshot, self._version = snapshot, version
        return snapshot

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",  # never an empty database where one was removed
            uri=True,
            isolation_level=None,
            timeout=_BUSY_SECONDS,
            check_same_thread=False,  # opened by the thread that asks first
        )
        previous, self._db = self._db, db
        if previous is not None:
            with contextlib.suppress(sqlite3.Error):
                previous.close()
        return db


def _data_version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version
