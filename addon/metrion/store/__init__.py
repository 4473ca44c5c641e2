"""The store: everything metered, as the SQL view ``events``, while more of it is being metered.

In: the journal's segments. Out: answers to read-only SQL, everything metered so far included. The ingester, a process
of its own, moves whole segments into a DuckDB file. Only the ingester, :func:`initialise` and :mod:`metrion.repricing`
ever write there. Importing this package does not load DuckDB, since the proxy imports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrion.errors import StoreError

if TYPE_CHECKING:
    from metrion.store.query import Table

__all__ = ["ask", "initialise", "is_there", "spawn_ingester", "wait_until_ready"]

READY = b"ready\n"
"""What the ingester prints once, when the store has its view."""


def initialise(journal_dir: Path, store_path: Path) -> None:
    """Make the store with its tables and views, the journal's directory and its sentinel, where they are missing.

    A store that was moved away, or is an empty file, is made anew. Cheap when all is there.

    :raises StoreError: the store cannot be made or read.
    """
    from metrion.store import database

    database.initialise(journal_dir, store_path)


def is_there(store_path: Path) -> bool:
    """Return whether there is anything at the store's place but an empty file. Opens nothing."""
    try:
        return store_path.is_dir() or store_path.stat().st_size > 0
    except FileNotFoundError:
        return False


def spawn_ingester(journal_dir: Path, store_path: Path) -> subprocess.Popen[bytes]:
    """Start the ingester as a child, in this process group.

    It lives until its standard input ends: when this process ends or closes ``process.stdin``. Then it ingests a last
    time and exits by itself. Signals to the group do not end it earlier.
    """
    package_parent = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        # -P: a duckdb.py in the current directory must not be imported.
        [sys.executable, "-P", "-m", "metrion.store.ingester_process", str(journal_dir), str(store_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_until_ready(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Wait until the ingester has made the store or found it whole; ``timeout`` in seconds.

    :raises StoreError: it ended before, or took longer.
    """
    import selectors

    if process.stdout is None:
        raise ValueError("not an ingester started by spawn_ingester")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(timeout):
            raise StoreError(f"the store was not ready within {timeout:g} s; see the ingester's messages above")
    if process.stdout.readline() != READY:
        raise StoreError("the ingester ended before the store was ready; see its messages above")


def ask(journal_dir: Path, store_path: Path, query: str, parameters: Mapping[str, Any] | None = None) -> Table:
    """Answer one read-only query over everything metered so far; make an empty store where there is none.

    ``parameters`` fill the ``$name`` places of the query.

    :raises StoreError: the query is wrong or would change something, or somebody else keeps the store open for writing.
    """
    from metrion.store import query as queries

    return queries.ask(journal_dir, store_path, query, parameters)
