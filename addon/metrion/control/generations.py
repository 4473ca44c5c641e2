"""Generations that a provider still works at: their ids, until an answer first reports what they are billed for.

A background response and a batch have no usage when a client asks for them. It comes with a later GET, and again with
every further one. The process that sees it first settles the generation; for all others it is nothing new. What is
expected survives a restart, and what is settled stays known, so that what was asked for elsewhere can be told from it.

Where the usage of a batch is in its output, such as a file, the batch's own answer names the output, which is then
expected in place of the batch.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

logger = logging.getLogger(__name__)

_KEPT_DAYS = 60
"""No provider keeps what it generated in the background for longer (OpenAI 30 days, Anthropic's batches 29)."""
_ADDED = {"settled": "INTEGER NOT NULL DEFAULT 0", "done": "TEXT", "used": "TEXT", "progress": "INTEGER"}
"""Columns that a file of an older Metrion lacks."""
_BUSY_SECONDS = 0.2
"""How long a call waits for another process's write, on the event loop."""


class Generations:
    """One file that any number of processes may use at the same time. Nothing here raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def expect(self, provider: str, generation_id: str) -> None:
        """Record that the provider works at something."""
        try:
            db = self._open()
            db.execute("INSERT OR IGNORE INTO generations (provider, id) VALUES (?, ?)", (provider, generation_id))
            forgotten = "DELETE FROM generations WHERE since < datetime('now', ?) AND used IS NULL"
            db.execute(forgotten, (f"-{_KEPT_DAYS} days",))
        except sqlite3.Error as error:
            self._give_up(error)

    def settle(self, provider: str, generation_id: str) -> bool:
        """Record that an answer reports what something is billed for. True for the first only, in all processes."""
        settled = self._execute(
            "UPDATE generations SET settled = 1 WHERE provider = ? AND id = ? AND NOT settled", provider, generation_id
        )
        return settled is not None and settled.rowcount == 1

    def replace(self, provider: str, generation_id: str, output: str) -> bool:
        """Record that an output, such as a file, will report it. True for the first only, in all processes."""
        replaced = self._execute(
            "UPDATE OR REPLACE generations SET id = ? WHERE provider = ? AND id = ? AND NOT settled",
            output,
            provider,
            generation_id,
        )
        is_first = replaced is not None and replaced.rowcount == 1
        if is_first:  # what named it stays known: a batch's other pages belong to it, too
            self._execute(
                "INSERT OR IGNORE INTO generations (provider, id, settled) VALUES (?, ?, 1)", provider, generation_id
            )
        return is_first

    def advance(self, provider: str, generation_id: str, usage: str, progress: int) -> str | None:
        """Record all that something has used so far, and ``progress``, a number that grows with it.

        Return the usage recorded before, ``""`` where there was none. ``None``: this adds nothing, and is not billed.
        """
        try:
            db = self._open()
            db.execute("BEGIN IMMEDIATE")  # of two processes that read the same answer, one is billed
            try:
                known = db.execute(
                    "SELECT used, progress FROM generations WHERE provider = ? AND id = ?", (provider, generation_id)
                ).fetchone()
                before, reached = known or (None, None)
                if reached is not None and reached >= progress:
                    return None
                db.execute(
                    "INSERT INTO generations (provider, id, settled, used, progress) VALUES (?, ?, 1, ?, ?) "
                    "ON CONFLICT DO UPDATE SET settled = 1, used = excluded.used, progress = excluded.progress",
                    (provider, generation_id, usage, progress),
                )
                return before or ""
            finally:
                db.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
            return None

    def expects(self, provider: str, generation_id: str) -> bool:
        """Return whether no answer has reported yet what this is billed for."""
        return self._state(provider, generation_id) == 0

    def knows(self, provider: str, generation_id: str) -> bool:
        """Return whether this was asked for here, whether its usage was reported since or not."""
        return self._state(provider, generation_id) is not None

    def finish(self, provider: str, generation_id: str, done_at: datetime) -> None:
        """Record when the provider was done with something, naive UTC: it is priced as of then."""
        self._execute(
            "UPDATE generations SET done = ? WHERE provider = ? AND id = ?",
            done_at.isoformat(),
            provider,
            generation_id,
        )

    def done_at(self, provider: str, generation_id: str) -> datetime | None:
        """Return when the provider was done with it, naive UTC; ``None``: nobody has reported that."""
        found = self._execute("SELECT done FROM generations WHERE provider = ? AND id = ?", provider, generation_id)
        row = found.fetchone() if found is not None else None
        return datetime.fromisoformat(row[0]) if row is not None and row[0] is not None else None

    def overdue(self, age: timedelta) -> Mapping[str, int]:
        """Count what has been expected for longer than ``age``, by provider."""
        found = self._execute(
            "SELECT provider, count(*) FROM generations WHERE NOT settled AND since < datetime('now', ?) "
            "GROUP BY 1 ORDER BY 1",
            f"-{age.total_seconds():.0f} seconds",
        )
        return dict(found) if found is not None else {}

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _state(self, provider: str, generation_id: str) -> int | None:
        """Return whether something is settled, as the database has it; ``None``: it was never expected."""
        query = "SELECT settled FROM generations WHERE provider = ? AND id = ?"
        found = self._execute(query, provider, generation_id)
        row = found.fetchone() if found is not None else None
        return row[0] if row is not None else None

    def _execute(self, statement: str, *parameters: str) -> sqlite3.Cursor | None:
        """Return the outcome; ``None`` where nothing was ever expected, or the file cannot be used."""
        if self._db is None and not self._path.exists():
            return None
        try:
            return self._open().execute(statement, parameters)
        except sqlite3.Error as error:
            self._give_up(error)
            return None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, and a power cut little
            db.execute(
                "CREATE TABLE IF NOT EXISTS generations (provider TEXT, id TEXT, since TEXT DEFAULT (datetime('now')), "
                "settled INTEGER NOT NULL DEFAULT 0, done TEXT, used TEXT, progress INTEGER, "
                "PRIMARY KEY (provider, id)) WITHOUT ROWID"
            )
            known = {row[1] for row in db.execute("PRAGMA table_info(generations)")}
            for name, kind in _ADDED.items():
                if name not in known:
                    with suppress(sqlite3.OperationalError):  # another process was faster
                        db.execute(f"ALTER TABLE generations ADD COLUMN {name} {kind}")
            self._db = db
        return self._db

    def _give_up(self, error: sqlite3.Error) -> None:
        logger.error("%s: %s; what is generated in the background may go unbilled.", self._path, error)
        self.close()
