"""Making and opening the store's DuckDB file.

In: where journal and store are. Out: a store with its tables and up-to-date views, and connections that only read. A
store appears whole or not at all: it is made beside its place and moved there. One that is gone, empty or without its
tables is made whole at any time, also under a running proxy. What is in a file is never removed, and a file that is not
DuckDB's is never touched: the error says how to get it out of the way.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb

from metrion.errors import StoreError
from metrion.store import is_there, locks, rolling, schema

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 10.0
"""Seconds to wait for whoever has the store open, before giving up."""
_EMPTY_SECONDS = 1.0
"""How long a file must have been empty to be taken for a store that is gone: a copy begins empty, too."""
_SUMS = set(rolling.TABLES)
_TABLES = {"ingested", "watermarks", *_SUMS}

_in_this_process = threading.Lock()


def initialise(journal_dir: Path, store_path: Path) -> None:
    """See :func:`metrion.store.initialise`."""
    try:
        for directory in (store_path.parent, journal_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sentinel = journal_dir / schema.SENTINEL
        if not sentinel.exists():
            sentinel.touch(mode=0o600)
        if is_there(store_path) and _is_up_to_date(journal_dir, store_path):
            return
        with (
            locks.writing(store_path, _PATIENCE_SECONDS),
            closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection,
        ):
            _attach_patiently(connection, journal_dir, store_path)
            connection.execute("DETACH store")
    except locks.Busy:
        raise StoreError(f"{store_path} is in use by another Metrion process; try again") from None
    except OSError as error:
        raise StoreError(
            f"{error.filename or store_path}: cannot be made: {error.strerror or error}. Choose another folder with "
            "METRION_HOME, or another file with `store` in metrion.yaml."
        ) from error
    except duckdb.Error as error:
        raise StoreError(f"{store_path} cannot be made or brought up to date: {worded(error)}") from error


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
    """Open the store for writing as the catalog ``store``; the caller holds :func:`locks.writing`.

    :raises StoreError: there is no DuckDB file.
    """
    if not is_there(store_path):
        raise StoreError(f"{store_path} has been moved away; try again")
    try:
        _attach(connection, store_path)
    except duckdb.Error as error:
        if locked_out(error):
            raise
        raise _unusable(store_path, error) from error


def attach_whole(
    connection: duckdb.DuckDBPyConnection, journal_dir: Path, store_path: Path, *, newest: bool = False
) -> bool:
    """Open the store as :func:`attach` does, and make it, or what it lacks, first; return whether it had to be made.

    Views of another version of Metrion, which may be at work here too, stay as they are unless ``newest``.

    :raises StoreError: what is there cannot be the store.
    """
    made = not is_there(store_path) and _make(journal_dir, store_path)
    attach(connection, store_path)
    try:
        connection.execute("USE store")
        if not (_is_newest(connection, journal_dir) if newest else _is_whole(connection)):
            _complete(connection, journal_dir)
    except duckdb.CatalogException as error:
        raise StoreError(
            f"{store_path} cannot be the store, for it has something else where Metrion's tables and views belong "
            f"({worded(error)}). Move it away: then a store is made anew, with what is in the journal."
        ) from error
    finally:
        connection.execute("USE memory")
        if sys.exc_info()[0]:
            connection.execute("DETACH store")
    return made


def worded(error: duckdb.Error) -> str:
    """Return what DuckDB says, on one line."""
    return " ".join(str(error).split())


def explained(store_path: Path, error: duckdb.Error) -> str:
    """Return what DuckDB says about a query, with the way out where the file is damaged."""
    if "orrupt" in str(error) and isinstance(error, duckdb.IOException | duckdb.FatalException):
        return str(_unusable(store_path, error))
    return str(error)


def _connect(store_path: Path) -> duckdb.DuckDBPyConnection:
    """Open read-only; wait for a foreign writer, such as somebody's DuckDB shell."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection = duckdb.connect(str(store_path), read_only=True, config=schema.CONFIG)
        except duckdb.Error as error:
            if not locked_out(error):
                raise _unusable(store_path, error) from error
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"{store_path} is open for writing in another process; close it there, or open it with -readonly "
                    f"({error})"
                ) from error
            time.sleep(0.02)  # DuckDB gives no way to wait for a file
        else:
            connection.execute(schema.QUIET)
            return connection


def _unusable(store_path: Path, error: duckdb.Error) -> StoreError:
    return StoreError(
        f"{store_path}: cannot be opened: {worded(error)} Put a backup in its place, or move it away: then it is made "
        "anew, with what is in the journal."
    )


def _is_up_to_date(journal_dir: Path, store_path: Path) -> bool:
    with opened(store_path) as connection:
        return _is_newest(connection, journal_dir)


def _is_newest(connection: duckdb.DuckDBPyConnection, journal_dir: Path) -> bool:
    return _is_whole(connection) and _versions(connection) == [schema.version(journal_dir)]


def _is_whole(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the current database has the tables, with every column, and the views."""
    return (
        _tables(connection) >= _TABLES
        and _columns(connection) >= set(schema.COLUMN_TYPES)
        and len(_versions(connection)) == 1
    )


def _versions(connection: duckdb.DuckDBPyConnection) -> list[str | None]:
    rows = connection.execute(
        "SELECT comment FROM duckdb_views() WHERE view_name = 'events' AND NOT internal "
        "AND database_name = current_database() AND schema_name = 'main'"
    ).fetchall()
    return [comment for (comment,) in rows]


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main'"
    ).fetchall()
    return {name for (name,) in rows}


def _columns(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() "
        "WHERE table_name = 'ingested' AND database_name = current_database() AND schema_name = 'main'"
    ).fetchall()
    return {name for (name,) in rows}


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute(schema.QUIET)
    connection.execute(f"ATTACH {schema.literal(str(path))} AS store (STORAGE_VERSION '{schema.STORAGE_VERSION}')")


def _attach_patiently(connection: duckdb.DuckDBPyConnection, journal_dir: Path, store_path: Path) -> None:
    """As :func:`attach_whole`; wait for a foreign process that has the file open."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            attach_whole(connection, journal_dir, store_path, newest=True)
        except duckdb.Error as error:
            if not locked_out(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)  # DuckDB gives no way to wait for a file
        else:
            return


def _make(journal_dir: Path, store_path: Path) -> bool:
    """Make the store where there is none, or only an empty file; return whether there was none."""
    if store_path.is_symlink() and not store_path.exists():
        raise StoreError(
            f"{store_path} is a link to {store_path.readlink()}, which is not there. Bring that back, or remove the "
            "link: then the store is made anew, with what is in the journal."
        )
    with tempfile.TemporaryDirectory(prefix=".new-store-", dir=store_path.resolve().parent) as place:
        path = Path(place) / store_path.name
        with closing(duckdb.connect(config=schema.WRITER_CONFIG)) as connection:
            _attach(connection, path)
            connection.execute("USE store")
            _complete(connection, journal_dir)
            connection.execute("USE memory; DETACH store")
        path.chmod(0o600)
        with path.open("rb") as made:
            os.fsync(made)
        return _put_in_place(path, store_path)


def _put_in_place(made: Path, store_path: Path) -> bool:
    """Move a new store to its place, unless a file with something in it has come there meanwhile."""
    target = store_path.resolve()
    while not is_there(target):
        with suppress(FileNotFoundError):
            if time.time() - target.stat().st_mtime < _EMPTY_SECONDS:
                time.sleep(0.05)  # whoever copies a file there writes to it at once
                continue
            target.unlink()
        _keep_log_of_former(store_path)
        with suppress(FileExistsError):
            target.hardlink_to(made)  # unlike a rename, it replaces nothing
            return True
    return False


def _keep_log_of_former(store_path: Path) -> None:
    """Rename the write-ahead log of a file that is gone: it may hold that one's last rows, and belongs to no other."""
    log = store_path.with_name(f"{store_path.name}.wal")
    with suppress(FileNotFoundError):
        kept = log.with_name(f"{log.name}.{time.time_ns()}")
        log.rename(kept)
        logger.warning(
            "%s belongs to the store that was moved away, and is called %s now. Before you open that one, move it "
            "beside it, under that one's name and .wal.",
            log,
            kept.name,
        )


def _complete(connection: duckdb.DuckDBPyConnection, journal_dir: Path) -> None:
    """Add the tables and columns that the current database lacks, and make the views: they name the journal's path."""
    connection.execute("BEGIN")
    try:
        present = _tables(connection)
        if "ingested" not in present:
            # Without the rows, the watermarks would hide what the journal still has of them.
            connection.execute("DROP TABLE IF EXISTS watermarks")
            connection.execute(schema.TABLES)
        elif "watermarks" not in present:
            connection.execute(schema.watermarks(journal_dir))
        columns = _columns(connection)
        for name, kind in schema.COLUMN_TYPES.items():
            if name not in columns:
                connection.execute(f"ALTER TABLE ingested ADD COLUMN {name} {kind}")
        connection.execute("COMMIT")
        if missing := _SUMS - present:
            rolling.make(connection, missing)
        connection.execute("BEGIN")
        connection.execute(schema.views(journal_dir))
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
