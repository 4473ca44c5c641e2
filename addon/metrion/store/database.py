"""Making and opening the store's DuckDB file.

In: where journal and store are. Out: a store with its tables and up-to-date views, and connections that only read. A
store appears whole or not at all: it is made beside its place and renamed. What is in it is never removed.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from metrion.errors import StoreError
from metrion.store import locks, schema

_PATIENCE_SECONDS = 10.0
"""Seconds to wait for whoever has the store open, before giving up."""

_in_this_process = threading.Lock()


def initialise(journal_dir: Path, store_path: Path) -> None:
    """See :func:`metrion.store.initialise`."""
    try:
        for directory in (store_path.parent, journal_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sentinel = journal_dir / schema.SENTINEL
        if not sentinel.exists():
            sentinel.touch(mode=0o600)
        if store_path.exists() and _up_to_date(journal_dir, store_path):
            return
        with locks.writing(store_path, _PATIENCE_SECONDS):
            if not store_path.exists():
                _make(journal_dir, store_path)
            else:
                _update(journal_dir, store_path)
    except locks.Busy:
        raise StoreError(f"{store_path} is in use by another Metrion process; try again") from None
    except OSError as error:
        raise StoreError(
            f"{error.filename or store_path}: cannot be made: {error.strerror or error}. Choose another folder with "
            "METRION_HOME, or another file with `store` in metrion.yaml."
        ) from error
    except duckdb.Error as error:
        raise StoreError(f"{store_path} cannot be made or brought up to date: {error}") from error


@contextmanager
def opened(store_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a read-only connection, while the writer stays away.

    One at a time in a process: DuckDB gives connections to the same file one database and one set of global settings.

    :raises StoreError: the store cannot be read, or somebody keeps it open for writing.
    """
    if not _in_this_process.acquire(timeout=_PATIENCE_SECONDS):
        raise StoreError("another query takes long; try again")
    try:
        with locks.reading(store_path, _PATIENCE_SECONDS), closing(_connect(store_path)) as connection:
            yield connection
    except locks.Busy:
        raise StoreError(f"{store_path} is being written for unusually long; try again") from None
    finally:
        _in_this_process.release()


def locked_out(error: duckdb.Error) -> bool:
    """Return whether an error says that another process has the file open."""
    return isinstance(error, duckdb.IOException) and "lock on file" in str(error)


def attach(connection: duckdb.DuckDBPyConnection, store_path: Path) -> None:
    """Open the store for writing as the catalog ``store``; the caller holds :func:`locks.writing`."""
    connection.execute(
        f"ATTACH {schema.literal(str(store_path))} AS store (STORAGE_VERSION '{schema.STORAGE_VERSION}')"
    )


def _connect(store_path: Path) -> duckdb.DuckDBPyConnection:
    """Open read-only; wait for a foreign writer, such as somebody's DuckDB shell."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return duckdb.connect(str(store_path), read_only=True, config=schema.CONFIG)
        except duckdb.Error as error:
            if not locked_out(error):
                raise StoreError(
                    f"{store_path}: cannot be opened: {' '.join(str(error).split())} Put a backup in its place, or "
                    "move it away: then it is made anew, with what is in the journal."
                ) from error
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"{store_path} is open for writing in another process; close it there, or open it with -readonly "
                    f"({error})"
                ) from error
            time.sleep(0.02)  # DuckDB gives no way to wait for a file


def _up_to_date(journal_dir: Path, store_path: Path) -> bool:
    with opened(store_path) as connection:
        return _columns(connection) >= set(schema.COLUMN_TYPES) and connection.execute(
            "SELECT comment FROM duckdb_views() WHERE view_name = 'events' AND NOT internal"
        ).fetchall() == [(schema.version(journal_dir),)]


def _columns(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'ingested'").fetchall()
    return {name for (name,) in rows}


def _make(journal_dir: Path, store_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".new-store-", dir=store_path.parent) as place:
        path = Path(place) / store_path.name
        with closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection:
            attach(connection, path)
            connection.execute("USE store")
            connection.execute(schema.TABLES)
            connection.execute(schema.views(journal_dir))
            connection.execute("USE memory; DETACH store")
        path.chmod(0o600)
        with path.open("rb") as made:
            os.fsync(made)
        path.rename(store_path)


def _update(journal_dir: Path, store_path: Path) -> None:
    """Add the columns that a newer Metrion has, and make the views anew: they name the journal by its full path."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection:
        while True:
            try:
                attach(connection, store_path)
                break
            except duckdb.Error as error:
                if not locked_out(error) or time.monotonic() >= deadline:
                    raise StoreError(f"{store_path} cannot be brought up to date: {error}") from error
                time.sleep(0.02)  # DuckDB gives no way to wait for a file
        connection.execute("USE store; BEGIN")
        present = _columns(connection)
        for name, kind in schema.COLUMN_TYPES.items():
            if name not in present:
                connection.execute(f"ALTER TABLE ingested ADD COLUMN {name} {kind}")
        connection.execute(schema.views(journal_dir))
        connection.execute("COMMIT; USE memory; DETACH store")
