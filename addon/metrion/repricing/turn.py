"""Repricing's turn at the store: first everything in the journal goes in, then all changes at once.

In: the store, and the changes as lines of JSON. Out: the changed rows, in one transaction. Readers that use Metrion's
locks are kept out for moments only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb

from metrion.errors import StoreError
from metrion.repricing.rows import WRITTEN
from metrion.store import database, locks, rolling, rollups, schema
from metrion.store.ingester import Ingester

SETTLING_SECONDS = 30.0
"""How long what is in the journal may take to be ingested."""
WRITING_SECONDS = 60.0
"""How long to try to get hold of the store."""
TURN_SECONDS = 0.5
"""How long readers are kept out while waiting for those inside, and how long they then have before the next try."""


def settle(journal_dir: Path, store_path: Path) -> int:
    """Have all that is in the journal now moved into the store; return how many segments could not be."""
    segments = [path for path in journal_dir.glob(schema.SEGMENTS) if path.name != schema.SENTINEL]
    deadline = time.monotonic() + SETTLING_SECONDS
    while left := [path for path in segments if path.exists()]:
        if time.monotonic() >= deadline:
            return len(left)
        with locks.alone(journal_dir / ".ingester.lock") as mine:
            if mine:  # no proxy runs here, or it comes up just now and waits its turn
                _ingest(Ingester(journal_dir, store_path), deadline)
        time.sleep(0.05)  # a writer seals its segment within a second, and the ingester takes it by itself
    return 0


def write(store_path: Path, changes: Path, count: int) -> None:
    """Commit the changes, all or nothing; ``count`` is how many rows they are of.

    :raises StoreError: the store cannot be written, or is not let go of. Then nothing has changed.
    """
    kinds = {name: schema.COLUMN_TYPES[name] for name in ("event_id", *WRITTEN)}
    columns = ", ".join(f"{name}: {schema.literal(kind)}" for name, kind in kinds.items())
    with closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection:
        connection.execute(
            f"CREATE TABLE memory.changes AS FROM read_json({schema.segments([changes])}, "
            f"format = 'newline_delimited', hive_partitioning = false, columns = {{{columns}}})"
        )
        for _ in _turns(store_path):
            try:
                with locks.writing(store_path, TURN_SECONDS):
                    database.attach(connection, store_path)
                    _commit(connection, count)
                    break
            except locks.Busy:
                continue
            except duckdb.Error as error:
                if not database.locked_out(error):
                    raise StoreError(f"{store_path} cannot be written: {error}; nothing was changed") from error


def _ingest(ingester: Ingester, deadline: float) -> None:
    while batch := ingester.load():
        try:
            while not ingester.commit(batch):
                if time.monotonic() >= deadline:
                    return
                time.sleep(TURN_SECONDS)  # somebody reads
        finally:
            batch.release()


def _commit(connection: duckdb.DuckDBPyConnection, count: int) -> None:
    assignments = ", ".join(f"{name} = changes.{name}" for name in WRITTEN)
    try:
        connection.execute("BEGIN")
        ((changed,),) = connection.execute(
            f"UPDATE store.ingested SET {assignments} FROM memory.changes AS changes "  # noqa: S608 -- written here
            "WHERE ingested.event_id = changes.event_id"
        ).fetchall()
        if changed != count:
            connection.execute("ROLLBACK")
            raise StoreError(f"{count} events were to change and {changed} are there; nothing was changed, try again")
        ((first, last),) = connection.execute(
            f"SELECT time_bucket({rollups.QUARTER}, min(started_at)), time_bucket({rollups.QUARTER}, max(started_at)) "  # noqa: S608 -- written here
            "FROM store.ingested WHERE event_id IN (SELECT event_id FROM memory.changes)"
        ).fetchall()
        rolling.remake(connection, first, last)
        connection.execute("COMMIT")
    finally:
        connection.execute("DETACH store")


def _turns(store_path: Path) -> Iterator[None]:
    """Give one try after the other to get the store for writing, with room for readers in between."""
    deadline = time.monotonic() + WRITING_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(TURN_SECONDS)
    raise StoreError(
        f"{store_path} was in use for {WRITING_SECONDS:g} s by readers that do not let go; nothing was changed. "
        "Try again, or close what has it open (`metrion doctor` says which process)."
    )
