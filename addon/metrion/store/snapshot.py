"""A read-only connection for as long as somebody likes: notebooks, and programs that stay connected.

In: where journal and store are. Out: a connection onto a copy of the store's file, with the journal of the same moment.
The ingester waits only while the copy is made. The copy has no name any more and goes with the connection.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import duckdb

from metrion.errors import StoreError
from metrion.store import database, query, schema


def snapshot(journal_dir: Path, store_path: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection onto everything metered up to now, waiting for the ingester where it is at work.

    :raises StoreError: the store cannot be read, or there is no room for a copy.
    """
    database.initialise(journal_dir, store_path)
    try:
        with (
            database.opened(store_path),  # nobody writes there meanwhile
            tempfile.TemporaryDirectory(prefix=".snapshot-", dir=store_path.parent) as place,
        ):
            copy = Path(place) / store_path.name
            _copy(store_path, copy)
            connection = duckdb.connect(str(copy), read_only=True, config=schema.CONFIG)
            try:
                connection.execute(f"SET temp_directory = {schema.literal(_spill())}")
                query.see_all(connection, journal_dir)
            except BaseException:
                connection.close()
                raise
            return connection
    except OSError as error:
        raise StoreError(f"{store_path} cannot be copied: {error.strerror or error}") from error
    except duckdb.Error as error:
        raise StoreError(database.explained(store_path, error)) from error


def _copy(store_path: Path, copy: Path) -> None:
    size, free = store_path.stat().st_size, shutil.disk_usage(copy.parent).free
    if size > free // 2:  # what is metered meanwhile needs room, too
        raise StoreError(
            f"{store_path} has {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free on its disk: too little for a "
            "copy. Make room, or ask with `metrion sql`, which needs none."
        )
    shutil.copyfile(store_path, copy)
    copy.chmod(0o600)
    log = store_path.with_name(f"{store_path.name}.wal")
    if log.exists():  # of an ingester that was killed
        shutil.copyfile(log, copy.with_name(f"{copy.name}.wal"))


def _spill() -> str:
    """Make a private folder for what does not fit into memory; it goes with this process."""
    folder = tempfile.mkdtemp(prefix="metrion-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
