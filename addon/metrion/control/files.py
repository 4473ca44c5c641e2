"""The files of the control data: private from their first byte, and opened with words for what goes wrong.

In: paths. Out: a connection for the length of a block. Every fault of SQLite in the block is a ``ControlError`` that
names the file and the way out. Never: a database that others may read for a moment.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from metrion.errors import ControlUnavailableError

_BUSY_SECONDS = 10.0
"""How long a command waits for another process."""
_EXPLANATIONS: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {_BUSY_SECONDS:.0f} s. Try again when that one is done",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Look at the permissions of the file and of its folder",
    sqlite3.SQLITE_CORRUPT: "damaged. Put a backup in its place while nothing runs",
    sqlite3.SQLITE_FULL: "the disk is full. Make room and try again",
    sqlite3.SQLITE_NOTADB: "not an SQLite database. Put a backup in its place, or move it away to start anew",
    sqlite3.SQLITE_PERM: "cannot be opened. Look at the permissions of the file and of its folder",
    sqlite3.SQLITE_READONLY: "cannot be written. Look at the permissions of the file and of its folder",
}
"""What SQLite's primary error codes mean for a person, and the way out."""


@contextmanager
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for one block; each statement in it is a transaction of its own.

    :raises ControlError: the database cannot be used.
    """
    try:
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = on")
            db.execute("PRAGMA synchronous = full")  # a power cut must not bring a revoked token back
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise ControlUnavailableError(_explain(path, error)) from error


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for one block, which changes all or nothing: an exception in it changes nothing.

    :raises ControlError: the database cannot be used.
    """
    with connection(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db  # after an exception, closing rolls back
        db.execute("COMMIT")


def make_private_folder(folder: Path) -> None:
    """Make a folder with mode 0700, whatever the umask.

    One that a person made for us, empty or with the configuration, becomes private too. One that holds anything else
    keeps its mode: it may be shared on purpose, and each secret file in it is private by itself.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        if {entry.name for entry in folder.iterdir()} <= {"metrion.yaml"} and _is_ours(folder):
            folder.chmod(0o700)


def make_private_file(path: Path) -> None:
    """Make an empty database with mode 0600 before SQLite would make one with the umask's; it copies the mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077 and _is_ours(path):
            path.chmod(0o600)


def _is_ours(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _explain(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)  # errors of the Python module itself have none
    explanation = None if code is None else _EXPLANATIONS.get(code & 0xFF)
    return f"{path}: {explanation or error}."
