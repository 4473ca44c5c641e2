"""Who may open the store: many readers or one writer, and the writer goes first.

DuckDB itself lets a file be open either in one process for writing or in many for reading. Readers that come and go
without pause would keep the writer out for good. So every process of Metrion takes these locks before it opens the
file: a reader passes the turnstile and then holds the shared lock; a writer holds the turnstile while it waits, so that
the readers inside leave and no new one enters. A writer waits for a moment only: a long query does not stop other
readers.

The locks are ``flock`` on two files beside the store and end with their process. Nothing but :class:`Busy` is raised
(and an OSError where the directory cannot be written).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):  # noqa: N818 -- a state that passes, not a fault
    """Somebody else has the store open for longer than this caller waits. It never leaves the store and its callers."""


@contextmanager
def reading(store_path: Path, patience: float) -> Iterator[None]:
    """Hold the store for reading; wait at most ``patience`` seconds for a writer.

    :raises Busy: a writer takes longer.
    """
    deadline = time.monotonic() + patience
    with _open(_lock(store_path)) as lock:
        with _open(_turnstile(store_path)) as turnstile:
            _take(turnstile, fcntl.LOCK_SH, deadline)
            _take(lock, fcntl.LOCK_SH, deadline)
        yield


@contextmanager
def writing(store_path: Path, patience: float) -> Iterator[None]:
    """Hold the store alone; wait at most ``patience`` seconds for the readers inside, while no new one enters.

    :raises Busy: a reader or another writer takes longer.
    """
    deadline = time.monotonic() + patience
    with _open(_turnstile(store_path)) as turnstile, _open(_lock(store_path)) as lock:
        _take(turnstile, fcntl.LOCK_EX, deadline)
        _take(lock, fcntl.LOCK_EX, deadline)
        yield


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Try to lock the file ``path`` exclusively, without waiting; yield whether it worked."""
    with _open(path) as descriptor:
        yield taken(descriptor)


def taken(descriptor: int) -> bool:
    """Try to lock an open file exclusively, without waiting; return whether it worked. Closing the file unlocks it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(store_path: Path) -> Path:
    return store_path.with_name(f".{store_path.name}.lock")


def _turnstile(store_path: Path) -> Path:
    return store_path.with_name(f".{store_path.name}.turnstile")


@contextmanager
def _open(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy from None
            time.sleep(0.002)  # flock knows no timeout
        else:
            return
