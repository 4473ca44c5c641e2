"""Moves the journal's sealed segments into the store, round by round. All of the ingester that needs DuckDB.

In: whole segments that no writer holds any more. Out: their rows in ``ingested``, exactly once. Rows and the watermark
of their writer are committed in one transaction. The segments are deleted after it, while the store is still open for
writing, so that no reader can list a segment and then not find it. If the ingester is killed before the commit, nothing
has happened. If it is killed after it, the watermark hides what is left of the segments until the next one deletes it.

A line that cannot be read is written to ``set-aside`` beside the segments and logged; it never stops the rest. A last
line without its end is one that a killed writer never finished; it is skipped.

A store that was moved away meanwhile is made anew: its events are in the file that was moved, those of the journal go
into the new one. While the store's place holds something else, the journal keeps everything.

The store is open for at most 5 % of the time. The memory of a round goes back to the system at its end.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from metrion.errors import StoreError
from metrion.store import database, is_there, locks, recent, rolling, schema
from metrion.store.parent_watch import ParentWatch
from metrion.store.segments import any_sealed, sealed

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 1.0
"""Between two rounds, at least. Readers see the journal anyway; the rounds only keep it short."""
_LOOK_SECONDS = 0.25
"""Between two looks at the journal."""
_SHARE = 0.05
"""The part of the time for which the store may be open for writing, or readers made to wait."""
_READER_SECONDS = 0.5
"""How long to wait for Metrion's own readers to leave."""
_RETRY_SECONDS = 0.05
"""Until the next try when a foreign reader has the store open."""
_FAILURE_SECONDS = 10.0
"""Until the next try when a round has failed."""
_IDLE_SECONDS = 2.0
"""After a round: under load, another segment comes within this time."""
_LONG_SECONDS = 5.0
"""If the next round is this far away, there is nothing to do."""
_LAST_ROUND_SECONDS = 5.0
"""How long the last ingest may take to get hold of the store. What it leaves is for the next ingester."""
_MADE_ANEW = "%s was gone or empty, and is made anew, with what is in the journal."


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that are loaded, and kept from everybody else until :meth:`release`."""

    segments: list[Path]
    held: ExitStack

    def release(self) -> None:
        """Let go of the segments."""
        self.held.close()


class Ingester:
    """Loads segments into memory, then commits their rows to the store in one short transaction."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self.journal_dir = journal_dir
        self.store_path = store_path
        self.connection = _connection()
        (self._memory_limit,) = self.connection.execute("SELECT current_setting('memory_limit')").fetchall()[0]
        self._failure = ""
        """What went wrong last, until something works again."""

    def load(self) -> Batch | None:
        """Load the oldest sealed segments of each writer; ``None``: there is none."""
        held = ExitStack()
        try:
            segments = sealed(self.journal_dir, held)
            if not segments:
                held.close()
                return None
            with tempfile.TemporaryDirectory() as repaired:
                if not self._read_whole(segments):
                    self._read([self._readable_part(segment, Path(repaired)) for segment in segments])
        except BaseException:
            held.close()
            raise
        return Batch(segments, held)

    def commit(self, batch: Batch) -> bool:
        """Move the loaded batch into the store and delete its segments; ``False``: somebody has the store open.

        A store that is gone, or without its tables, is made anew.

        :raises StoreError: what is in its place cannot be a store, or it was deleted while it was written.
        """
        try:
            with locks.writing(self.store_path, _READER_SECONDS):
                sums = recent.load(self.store_path)
                if database.attach_whole(self.connection, self.journal_dir, self.store_path):
                    logger.warning(_MADE_ANEW, self.store_path)
                with _file(self.store_path) as store:
                    try:
                        sums = self._with_batch(sums)
                        self._insert()
                        if not os.fstat(store).st_nlink:
                            raise StoreError(f"{self.store_path} was deleted while events were written to it")
                        for segment in batch.segments:
                            segment.unlink(missing_ok=True)
                    finally:
                        self.connection.execute("DETACH store")
                if sums is not None:
                    with suppress(OSError):  # then the first reader adds up
                        recent.write(self.store_path, sums)
        except locks.Busy:
            return False
        except duckdb.Error as error:
            if database.locked_out(error):
                return False
            raise
        batch.release()
        self._failure = ""
        return True

    def ensure_store(self) -> None:
        """Make a store that is gone, though nothing waits for it: who opens the file itself finds it.

        :raises StoreError: it cannot be made.
        """
        if not is_there(self.store_path):
            database.initialise(self.journal_dir, self.store_path)
            logger.warning(_MADE_ANEW, self.store_path)

    def recover(self, failure: Exception) -> None:
        """Log a failure once, and begin with another DuckDB: after some failures the old one works no more."""
        message = " ".join(str(failure).split())
        if message != self._failure:
            logger.error(
                "Events wait in the journal, which keeps them all, until they can be ingested (tried every %g s): %s",
                _FAILURE_SECONDS,
                message,
            )
            self._failure = message
        with suppress(duckdb.Error):
            self.connection.close()
        self.connection = _connection()

    def give_memory_back(self) -> None:
        """Drop the batch, and have DuckDB's allocator return the freed memory, which would grow for many rounds.

        There is no statement for the latter, but setting the memory limit does it, even to the value that it has.
        """
        self.connection.execute("DROP TABLE IF EXISTS memory.batch; DROP TABLE IF EXISTS memory.new")
        self.connection.execute(f"SET memory_limit = {schema.literal(self._memory_limit)}")

    def _read(self, files: list[Path]) -> int:
        """Read the files into the table ``batch``; return how many rows they have."""
        rows = schema.lines(schema.segments(files))
        self.connection.execute(f"CREATE OR REPLACE TABLE memory.batch AS {rows}")
        (count,) = self.connection.execute("SELECT count(*) FROM memory.batch").fetchall()[0]
        return int(count)

    def _readable_part(self, segment: Path, place: Path) -> Path:
        """Return a copy of the segment without the lines that cannot be read; these are set aside."""
        *lines, unfinished = segment.read_bytes().split(b"\n")
        if unfinished:
            if self._readable_and_not([unfinished], place)[0]:
                lines.append(unfinished)  # only its line end is missing
            else:
                logger.info("journal: the last line of %s was never finished and is skipped", segment.name)
        good, bad = self._readable_and_not(lines, place)
        if bad:
            aside = self.journal_dir / "set-aside"
            aside.mkdir(mode=0o700, exist_ok=True)
            (aside / segment.name).write_bytes(_joined(bad))
            logger.error("journal: %d lines of %s cannot be read; set aside in %s", len(bad), segment.name, aside)
        part = place / segment.name
        part.write_bytes(_joined(good))
        return part

    def _readable_and_not(self, lines: list[bytes], place: Path) -> tuple[list[bytes], list[bytes]]:
        """Return the lines that the store can read, and those that it cannot; halves the lines to find them."""
        probe = place / "probe"
        probe.write_bytes(_joined(lines))
        if self._read_whole([probe]):
            return lines, []
        if len(lines) == 1:
            return [], lines
        middle = len(lines) // 2
        good, bad = self._readable_and_not(lines[:middle], place)
        more_good, more_bad = self._readable_and_not(lines[middle:], place)
        return good + more_good, bad + more_bad

    def _read_whole(self, files: list[Path]) -> bool:
        """Read the files; return whether every line of them has become a row."""
        try:
            return self._read(files) == sum(_lines(file) for file in files)
        except (duckdb.DataError, duckdb.ProgrammingError):  # others, such as a failing disk, say nothing of the lines
            return False

    def _with_batch(self, sums: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the sums of what was metered lately, with those of the batch; ``None``: there are none."""
        try:
            return recent.with_batch(sums, self.connection, "memory.batch", "store.ingested", "store.watermarks")
        except Exception:
            # Whatever it is: readers can add up without, and nothing may keep events out of the store.
            logger.exception("journal: what was metered lately could not be added up; the next reader does")
            return None

    def _insert(self) -> None:
        new = schema.above_watermark("memory.batch", "store.watermarks")
        self.connection.execute(f"CREATE OR REPLACE TABLE memory.new AS {new}")
        self.connection.execute("BEGIN")
        try:
            self.connection.execute(f"INSERT INTO store.ingested ({schema.COLUMNS}) FROM memory.new")
            rolling.add(self.connection, "memory.new")
            self.connection.execute("""
                MERGE INTO store.watermarks AS mark
                USING (SELECT writer, max(seq) AS seq FROM memory.batch GROUP BY writer) AS batch
                ON mark.writer = batch.writer
                WHEN MATCHED AND batch.seq > mark.seq THEN UPDATE SET seq = batch.seq
                WHEN NOT MATCHED THEN INSERT VALUES (batch.writer, batch.seq)""")
            self.connection.execute("COMMIT")
        except duckdb.Error:
            self.connection.execute("ROLLBACK")
            raise


def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={**schema.WRITER_CONFIG, "threads": 1})


@contextmanager
def _file(path: Path) -> Iterator[int]:
    """Hold a file open, whatever its name becomes. Closing it gives up the locks that DuckDB has on it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lines(file: Path) -> int:
    content = file.read_bytes()
    return content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def run(ingester: Ingester, parent: ParentWatch) -> float:
    """Ingest until there is nothing to do for a while; once the parent is gone, until nothing is left or time runs out.

    Return when the store may be opened again, on the monotonic clock.
    """
    last_round = math.inf
    open_again_at = idle_since = time.monotonic()
    while (now := time.monotonic()) < last_round:
        if parent.is_gone:
            last_round = min(last_round, now + _LAST_ROUND_SECONDS)
        try:
            ingester.ensure_store()
            due = open_again_at if any_sealed(ingester.journal_dir) else math.inf
            if now >= due or (parent.is_gone and due < math.inf):
                pause = _round(ingester, parent, last_round)
                idle_since = time.monotonic()
                open_again_at = idle_since + pause
            elif parent.is_gone or (now >= idle_since + _IDLE_SECONDS and due >= now + _LONG_SECONDS):
                break
        except (duckdb.Error, StoreError, OSError) as error:
            ingester.recover(error)
            open_again_at = idle_since = time.monotonic() + _FAILURE_SECONDS
        parent.wait(_LOOK_SECONDS)
    return open_again_at


def _round(ingester: Ingester, parent: ParentWatch, deadline: float) -> float:
    """Ingest a batch, trying until it works; return for how long to leave the store alone afterwards."""
    batch = ingester.load()
    if batch is None:
        return _INTERVAL_SECONDS
    try:
        while True:
            started = time.monotonic()
            committed = ingester.commit(batch)
            pause = (time.monotonic() - started) / _SHARE
            if committed:
                return max(_INTERVAL_SECONDS, pause)
            # `run` sets the deadline at its next turn, once it knows that the parent is gone.
            if parent.is_gone and (deadline == math.inf or time.monotonic() >= deadline):
                return _RETRY_SECONDS
            parent.wait(max(_RETRY_SECONDS, pause))
    finally:
        batch.release()
        with suppress(duckdb.Error):  # after some failures nothing works any more
            ingester.give_memory_back()
