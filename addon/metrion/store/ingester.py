"""The ingester: moves the journal's sealed segments into the store. Run as ``python -m metrion.store.ingester``.

In: segments that no writer holds any more, whole. Out: their rows in ``ingested``, exactly once. Rows and the watermark
of their writer are committed in one transaction; the segments are deleted after it, while the store is still open for
writing, so that no reader can have listed them and not found them. Killed before the commit, nothing has happened;
killed after it, the watermark hides what is left of the segments until the next one deletes them.

What cannot be read is set aside in ``set-aside`` beside the segments, and logged; it never stops the rest. A torn last
line is what a killed writer never finished; it is skipped.

One ingester at a time works on a journal, others wait and take over. It keeps the store open for at most 5 % of the
time and lives until its standard input ends.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from metrion.store import READY, StoreError, database, locks, schema

logger = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two rounds, at least. Readers see the journal anyway; this only keeps it short."""
SHARE = 0.05
"""The part of the time for which the store may be open for writing, or readers be made to wait."""
READER_PATIENCE = 0.5
"""Seconds to wait for Metrion's own readers to leave."""
RETRY = 0.05
"""Seconds until the next try when a foreign reader has the store open."""
BATCH_BYTES = 32 * 1024 * 1024
BATCH_SEGMENTS = 256
TURN = 0.5
"""Seconds between two looks whether the ingester that is at work has gone."""
LAST_ROUND = 5.0
"""Seconds that the last ingest may take to get hold of the store; what it leaves, the next ingester takes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Segments that are read, verified and kept from everybody else until :meth:`release`."""

    segments: list[Path]
    held: ExitStack

    def release(self) -> None:
        """Let go of the segments."""
        self.held.close()


class Ingester:
    """Stages segments in memory, then commits them to the store in one short transaction."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self.journal_dir = journal_dir
        self.store_path = store_path
        self.connection = duckdb.connect(config={**schema.WRITER_CONFIG, "threads": 1})

    def stage(self) -> Batch | None:
        """Read the oldest sealed segments of each writer; ``None``: there is none."""
        held = ExitStack()
        try:
            segments = self._sealed(held)
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
        """Move a staged batch into the store and delete its segments; ``False``: somebody has the store open."""
        try:
            with locks.writing(self.store_path, READER_PATIENCE):
                database.attach(self.connection, self.store_path)
                try:
                    self._insert()
                    for segment in batch.segments:
                        segment.unlink(missing_ok=True)
                finally:
                    self.connection.execute("DETACH store")
        except locks.Busy:
            return False
        except duckdb.Error as error:
            if database.locked_out(error):
                return False
            raise
        batch.release()
        return True

    def _sealed(self, held: ExitStack) -> list[Path]:
        """Lock what may be ingested now.

        A writer's segments go in in order and stop at the first that is still held: the watermark that a later one
        would set hides the earlier one's lines.
        """
        sealed: list[Path] = []
        size = 0
        stopped: set[str] = set()
        for path in sorted(self.journal_dir.glob(schema.SEGMENTS)):
            writer = path.stem.rpartition("-")[0]
            if path.name == schema.SENTINEL or writer in stopped:
                continue
            if len(sealed) == BATCH_SEGMENTS or size >= BATCH_BYTES:
                break
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if locks.taken(descriptor):
                held.callback(os.close, descriptor)
                sealed.append(path)
                size += os.fstat(descriptor).st_size
            else:
                os.close(descriptor)
                stopped.add(writer)
        return sealed

    def _read(self, files: list[Path]) -> int:
        """Read the files into the table ``batch``; returns how many rows they have."""
        rows = schema.lines(schema.segments(files))
        self.connection.execute(f"CREATE OR REPLACE TABLE memory.batch AS {rows}")
        (count,) = self.connection.execute("SELECT count(*) FROM memory.batch").fetchall()[0]
        return int(count)

    def _readable_part(self, segment: Path, place: Path) -> Path:
        """Return the segment, or where lines of it cannot be read, a copy without them; they are set aside."""
        *lines, unfinished = segment.read_bytes().split(b"\n")
        if unfinished:
            if self._sorted_out([unfinished], place)[0]:
                lines.append(unfinished)  # only its line end is missing
            else:
                logger.info("journal: the last line of %s was never finished and is skipped", segment.name)
        good, bad = self._sorted_out(lines, place)
        if bad:
            aside = self.journal_dir / "set-aside"
            aside.mkdir(mode=0o700, exist_ok=True)
            (aside / segment.name).write_bytes(_joined(bad))
            logger.error("journal: %d lines of %s cannot be read; set aside in %s", len(bad), segment.name, aside)
        part = place / segment.name
        part.write_bytes(_joined(good))
        return part

    def _sorted_out(self, lines: list[bytes], place: Path) -> tuple[list[bytes], list[bytes]]:
        """Which lines the store can read and which it cannot, by halves."""
        probe = place / "probe"
        probe.write_bytes(_joined(lines))
        if self._read_whole([probe]):
            return lines, []
        if len(lines) == 1:
            return [], lines
        middle = len(lines) // 2
        good, bad = self._sorted_out(lines[:middle], place)
        more_good, more_bad = self._sorted_out(lines[middle:], place)
        return good + more_good, bad + more_bad

    def _read_whole(self, files: list[Path]) -> bool:
        """Read the files; whether every line of them has become a row."""
        try:
            return self._read(files) == sum(_lines(file) for file in files)
        except (duckdb.DataError, duckdb.ProgrammingError):  # others, such as a failing disk, say nothing of the lines
            return False

    def _insert(self) -> None:
        columns = schema.COLUMNS
        new = schema.above_watermark("memory.batch", "store.watermarks")
        self.connection.execute("BEGIN")
        try:
            self.connection.execute(f"INSERT INTO store.ingested ({columns}) {new}")
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


def _lines(file: Path) -> int:
    content = file.read_bytes()
    return content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


class Life:
    """The parent, as seen through standard input: it lives until that ends."""

    def __init__(self) -> None:
        self.over = False

    def wait(self, seconds: float) -> None:
        """Wait, at most until the parent is gone; after that only a moment."""
        if self.over:
            time.sleep(min(seconds, RETRY))
        elif select.select([sys.stdin.fileno()], [], [], seconds)[0]:
            self.over = not os.read(sys.stdin.fileno(), 4096)


def run(ingester: Ingester, life: Life) -> None:
    """Ingest until the parent is gone, and once more then."""
    last_round: float | None = None
    while last_round is None or time.monotonic() < last_round:
        if life.over and last_round is None:
            last_round = time.monotonic() + LAST_ROUND
        pause = INTERVAL
        try:
            batch = ingester.stage()
            if batch is None and life.over:
                return
            if batch is not None:
                pause = _commit(ingester, batch, life, last_round)
        except (duckdb.Error, OSError):
            logger.exception("journal: ingesting failed; the journal keeps everything, next try in a moment")
            pause = 10 * INTERVAL
        life.wait(pause)


def _commit(ingester: Ingester, batch: Batch, life: Life, deadline: float | None) -> float:
    """Commit, trying until it works; returns how long to stay away afterwards."""
    try:
        while True:
            started = time.monotonic()
            committed = ingester.commit(batch)
            taken = time.monotonic() - started
            pause = taken / SHARE
            if committed:
                return max(INTERVAL, pause)
            if life.over and (deadline is None or time.monotonic() >= deadline):
                return RETRY
            life.wait(max(RETRY, pause))
    finally:
        batch.release()


def main() -> None:
    """Wait for the turn, then ingest until the parent is gone."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    journal_dir, store_path = map(Path, sys.argv[1:])
    # A Ctrl-C or a stop goes to the whole group; the proxy drains first and this process outlives it by one ingest.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(10)  # the event loop goes first
    try:
        database.initialise(journal_dir, store_path)
    except StoreError as error:
        sys.exit(f"metrion: {error}")
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    life = Life()
    give_up: float | None = None
    while give_up is None or time.monotonic() < give_up:
        with locks.alone(journal_dir / ".ingester.lock") as mine:
            if mine:
                run(Ingester(journal_dir, store_path), life)
                return
        # Another ingester is at work. Once the parent is gone it has this parent's segments to take, or time runs out.
        if life.over and give_up is None:
            give_up = time.monotonic() + LAST_ROUND
        life.wait(TURN)


if __name__ == "__main__":
    main()
