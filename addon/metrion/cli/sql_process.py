"""The process that answers ``metrion sql``: a job on standard input, the answer on another descriptor.

Run as ``python -m metrion.cli.sql_process DESCRIPTOR`` by :mod:`metrion.cli.bounded`, which ends it by force where it
takes too long or too much. Rows are printed as they are fetched. Standard output is the caller's, so that a terminal is
known as one, and gets nothing from here. The exit status is 0, 1 with a reason on standard error, or
:data:`OVER_LIMIT`. It ends when standard input does.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metrion.cli.tables import FORMATS, as_json_lines
from metrion.errors import OverLimitError, StoreError
from metrion.store import query as queries
from metrion.store.query import Answer, Table

OVER_LIMIT = 3
"""The exit status where a query needs more memory, or disk beside it, than it may use."""
TABLE_ROWS = 10_000
"""So many rows of a table are held, to make its columns as wide as they have to be; then a new one begins."""
_SPILL_FACTOR = 10
"""How much disk a query may use, in multiples of its memory; at most a quarter of what is free: events need it too."""
_ABANDONED_SECONDS = 60.0
"""A folder that nobody has locked for so long is abandoned."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to do, as JSON on one line."""

    journal_dir: str
    store_path: str
    query: str
    format: str
    memory_bytes: int
    spill: str
    """A folder to make for what does not fit into memory; the caller deletes it."""


def main() -> None:
    """Answer the job on standard input."""
    job = Job(**json.loads(sys.stdin.buffer.readline()))
    spill = Path(job.spill)
    threading.Thread(target=_end_with_caller, args=(spill,), daemon=True).start()
    try:
        _answer(job, spill)
    except OverLimitError as error:
        sys.stderr.write(str(error))
        sys.exit(OVER_LIMIT)
    except StoreError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _answer(job: Job, spill: Path) -> None:
    journal_dir, store_path = Path(job.journal_dir), Path(job.store_path)
    with (
        os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", newline="", errors="backslashreplace") as out,
        _spilling(spill) as free_bytes,
    ):
        spill_bytes = min(_SPILL_FACTOR * job.memory_bytes, free_bytes // 4)
        limits = queries.Limits(job.memory_bytes, spill, spill_bytes)
        if job.format == "parquet":
            # The limit of the spill does not count this file: the system's does, for each file of this process.
            resource.setrlimit(resource.RLIMIT_FSIZE, (spill_bytes, spill_bytes))
            path = spill / "answer.parquet"
            queries.write_parquet(journal_dir, store_path, job.query, limits, path)
            with path.open("rb") as file:
                shutil.copyfileobj(file, out.buffer)
            return
        with queries.answering(journal_dir, store_path, job.query, limits) as answer:
            for text in texts(answer, job.format):
                out.write(text)
                out.flush()


def texts(answer: Answer, format_: str) -> Iterator[str]:
    """Give an answer as text, piece by piece."""
    match format_:
        case "csv":
            yield (head := FORMATS["csv"](_table(answer, [])))
            for rows in answer.batches:
                yield FORMATS["csv"](_table(answer, rows)).removeprefix(head)
        case "json":
            before = "["
            for rows in answer.batches:
                yield before + as_json_lines(_table(answer, rows)).removesuffix("\n").replace("\n", ",\n ")
                before = ",\n "
            yield "[]\n" if before == "[" else "]\n"
        case "markdown":
            lines_of_head = 0
            for rows in _first_and_more(answer):
                lines = FORMATS["markdown"](_table(answer, rows)).splitlines(keepends=True)
                yield "".join(lines[lines_of_head:])
                lines_of_head = 2
        case _:
            before = ""
            for rows in _first_and_more(answer, TABLE_ROWS):
                yield before + FORMATS[format_](_table(answer, rows))
                before = "\n"


def _table(answer: Answer, rows: list[tuple[object, ...]]) -> Table:
    return Table(answer.columns, answer.types, rows)


def _first_and_more(answer: Answer, at_least: int = 1) -> Iterator[list[tuple[object, ...]]]:
    """Give the rows in lists of ``at_least`` so many, the last one left out; the first also where there are none."""
    held: list[tuple[object, ...]] = []
    given = False
    for rows in answer.batches:
        held += rows
        if len(held) >= at_least:
            yield held
            held, given = [], True
    if held or not given:
        yield held


@contextmanager
def _spilling(folder: Path) -> Iterator[int]:
    """Make the folder, locked for the length of the block, and delete abandoned ones; yield how many bytes are free."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{error.filename}: cannot be made: {error.strerror}. Choose another folder with METRION_HOME, or another "
            "file with `store` in metrion.yaml."
        ) from error
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
            with suppress(OSError):
                _delete_abandoned(other)
        yield shutil.disk_usage(folder).free
    finally:
        os.close(descriptor)


def _delete_abandoned(folder: Path) -> None:
    if time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS:
        return  # it may not be locked yet
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _end_with_caller(spill: Path) -> None:
    while os.read(0, 4096):
        pass
    shutil.rmtree(spill, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
