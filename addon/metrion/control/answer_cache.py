"""Answers for requests that come again, in a SQLite file of their own, sealed: an identity in, an answer out.

Nothing in the file says what was asked: keys and boxes are made with a key that is derived from the master key, and a
box opens only under the key of its row. Whatever is damaged, moved or too old is a miss. A look takes microseconds, on
the event loop; a thread does everything that writes, and keeps the file below its bound by dropping what was used
longest ago. Nothing here raises: a disk that is full, or a file that is none, costs the cache and nothing else.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import sqlite3
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from metrion.faults import log_fault
from metrion.relay.caching import KeptAnswer

logger = logging.getLogger(__name__)

_NONCE_BYTES = 12
_STORED_AT = struct.Struct("<d")
_USE_NOTED_SECONDS = 60.0
"""How exactly it is known when an answer was last used."""
_MOST_WAITING = 256
"""How many answers wait to be written; more are dropped."""
_BUSY_SECONDS = 0.005
"""How long a look waits for another process."""
_REMOVED_SECONDS = 1.0
"""How long answers are found at most in a file that was removed."""
_PAGE_BYTES = 4096
_DONE = object()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, used REAL NOT NULL, size INTEGER NOT NULL, box BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON answers (used, size);
"""

type _Work = tuple[bytes, KeptAnswer | None, int]
"""A key, the answer to be kept under it (``None``: it was used), and the bound of the file."""


class AnswerCache:
    """See the module. ``secret``: 32 bytes; ``clock``: seconds since 1970."""

    def __init__(self, path: Path, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._cipher = AESGCM(secret)
        self._secret = secret
        self._clock = clock
        self._reading: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._looked_at = 0.0
        """When it was last seen that the file is still the one that was opened."""
        self._retry_at = 0.0
        self._noted: dict[bytes, float] = {}
        self._work: SimpleQueue[_Work | object] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def find(self, identity: bytes, most_seconds: float) -> tuple[KeptAnswer, float] | None:
        """Return the answer to a request, and its age in seconds; ``None``: there is none that is young enough."""
        key = self._key(identity)
        try:
            row = self._select(key)
            if row is None:
                return None
            opened = self._cipher.decrypt(row[:_NONCE_BYTES], row[_NONCE_BYTES:], key)
            age = self._clock() - _STORED_AT.unpack_from(opened)[0]
            if not 0 <= age < most_seconds:
                return None
            answer = KeptAnswer.decoded(opened[_STORED_AT.size :])
        except (InvalidTag, ValueError, struct.error):
            return None  # damaged, or of another master key
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        self._note_use(key)
        return answer, age

    def keep(self, identity: bytes, answer: KeptAnswer, most_bytes: int) -> None:
        """Keep the answer to a request, some time from now."""
        self._do((self._key(identity), answer, most_bytes))

    def close(self) -> None:
        """Write what waits."""
        if self._thread is not None:
            self._work.put(_DONE)
            self._thread.join(5)
            self._thread = None
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    # --- on the event loop ---

    def _key(self, identity: bytes) -> bytes:
        return hmac.digest(self._secret, identity, "sha256")

    def _select(self, key: bytes) -> bytes | None:
        now = self._clock()
        if self._reading is not None and not 0 <= now - self._looked_at < _REMOVED_SECONDS:
            self._looked_at = now
            if self._file() != self._opened:  # somebody has emptied the cache
                self._reading.close()
                self._reading = None
        if self._reading is None:
            if now < self._retry_at or (opened := self._file()) is None:
                return None
            self._reading = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._opened, self._looked_at = opened, now
        row = self._reading.execute("SELECT box FROM answers WHERE key = ?", (key,)).fetchone()
        box: bytes | None = row[0] if row is not None and isinstance(row[0], bytes) else None
        return box

    def _file(self) -> tuple[int, int] | None:
        """Return which file has the answers; ``None``: there is none."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _note_use(self, key: bytes) -> None:
        now = self._clock()
        if now - self._noted.get(key, 0.0) > _USE_NOTED_SECONDS:
            if len(self._noted) > _MOST_WAITING:
                self._noted.clear()
            self._noted[key] = now
            self._do((key, None, 0))

    def _give_up(self, error: sqlite3.Error) -> None:
        """Leave the file alone for a while."""
        self._retry_at = self._clock() + 1.0
        if self._reading is not None:
            with suppress(sqlite3.Error):
                self._reading.close()
            self._reading = None
        if not isinstance(error, sqlite3.OperationalError):  # else it is busy, or not there yet
            log_fault(logger, "The cache of answers could not be read; requests go out", error)

    def _do(self, work: _Work) -> None:
        if self._work.qsize() >= _MOST_WAITING:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="metrion cache", daemon=True)
            self._thread.start()
        self._work.put(work)

    # --- in the thread ---

    def _write_all(self) -> None:
        done = False
        while not done:
            batch = [self._work.get()]
            with suppress(Empty):
                while len(batch) < _MOST_WAITING:
                    batch.append(self._work.get_nowait())
            done = _DONE in batch
            try:
                self._write([each for each in batch if isinstance(each, tuple)])
            except Exception as error:  # noqa: BLE001 -- a cache that fails is none
                log_fault(logger, "Answers could not be kept in the cache; requests go on", error)
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                    self._remove()

    def _write(self, batch: list[_Work]) -> None:
        if not batch:
            return
        now, most = self._clock(), max(bound for _, _, bound in batch)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        with closing(sqlite3.connect(self._path, timeout=5, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA journal_size_limit = 4194304")
            if most:
                db.execute(f"PRAGMA max_page_count = {2 * most // _PAGE_BYTES + 64}")
            db.executescript(_SCHEMA)
            db.execute("BEGIN IMMEDIATE")
            for key, answer, _ in batch:
                if answer is None:
                    db.execute("UPDATE answers SET used = ? WHERE key = ?", (now, key))
                    continue
                nonce = secrets.token_bytes(_NONCE_BYTES)
                box = nonce + self._cipher.encrypt(nonce, _STORED_AT.pack(now) + answer.encoded(), key)
                db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, now, len(box), box))
            if most:
                _make_room(db, most)
            db.execute("COMMIT")

    def _remove(self) -> None:
        """Begin anew: the file is none, or damaged."""
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + end).unlink()


def _make_room(db: sqlite3.Connection, most: int) -> None:
    """Drop what was used longest ago, until what is left is within the bound."""
    (size,) = db.execute("SELECT coalesce(sum(size), 0) FROM answers").fetchone()
    if size <= most:
        return
    for key, each in db.execute("SELECT key, size FROM answers ORDER BY used").fetchall():
        if size <= most * 9 // 10:
            return
        db.execute("DELETE FROM answers WHERE key = ?", (key,))
        size -= each
