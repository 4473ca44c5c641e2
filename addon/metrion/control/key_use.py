"""When each stored provider key last went out, to about a minute: the id of a key in, an empty file's time changed.

A request costs a look into a dictionary. The file is touched once a minute for each key and process, and says no more
than its id and its time. Never raises: the traffic does not depend on it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from metrion.control.files import make_private_folder

_SECONDS = 60.0


def key_id(account: str, provider: str, name: str, since: str) -> str:
    """Return what a stored key is called where it must not be known. Another key in its place is another one."""
    return hashlib.sha256("\0".join((account, provider, name, since)).encode()).hexdigest()[:32]


class KeyUse:
    """The uses of one process."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._noted: dict[str, float] = {}

    def note(self, key: str) -> None:
        """Note that a key goes out now."""
        now = self._clock()
        if now - self._noted.get(key, -_SECONDS) < _SECONDS:
            return
        self._noted[key] = now
        with suppress(OSError):
            _touch(self._folder, key)


def last_use(folder: Path, key: str) -> datetime | None:
    """Return when a key last went out, in UTC and about a minute late at most; ``None``: never."""
    try:
        return datetime.fromtimestamp(int((folder / key).stat().st_mtime), UTC)
    except OSError:
        return None


def forget_others(folder: Path, kept: set[str]) -> None:
    """Remove the files of keys that are no longer stored."""
    with suppress(OSError):
        for file in folder.iterdir():
            if file.name not in kept:
                file.unlink(missing_ok=True)


def _touch(folder: Path, key: str) -> None:
    try:
        os.utime(folder / key)
    except FileNotFoundError:
        make_private_folder(folder)
        os.close(os.open(folder / key, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(folder / key)
