"""The home: whether it is there and can be written, who else can read it, and the space on its disk."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from metrion.doctor.findings import Finding, Level, Subject, fail, ok, size, warn
from metrion.settings import Settings

_LITTLE_SPACE = 1 << 30
_NO_SPACE = 100 << 20


def home(subject: Subject) -> Iterator[Finding]:
    """Report whether the home can be used, and whether others can read it."""
    folder = subject.settings.home
    if not folder.exists():
        above = _first_folder(folder)
        if os.access(above, os.W_OK | os.X_OK):
            yield ok(f"home: {folder} is not there yet", "the first `metrion token create` or `metrion serve` makes it")
        else:
            yield fail(
                f"home: {folder} cannot be made, for {above} cannot be written", "set METRION_HOME to another place"
            )
        return
    if not folder.is_dir():
        yield fail(f"home: {folder} is no folder", "move it away, or set METRION_HOME to another place")
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield fail(
            f"home: {folder} cannot be written: {error.strerror}",
            "give this user the right to write there, or set METRION_HOME to another place",
        )
    found = list(_open_to_others(subject.settings))
    yield from found
    if not found:
        yield ok(f"home: {folder}, for nobody else to read")


def _open_to_others(settings: Settings) -> Iterator[Finding]:
    places: tuple[tuple[Path, Level], ...] = (
        (settings.home, Level.WARN),
        (settings.control_db, Level.FAIL),
        (settings.master_key_path, Level.FAIL),
        (settings.journal_dir, Level.WARN),
        (settings.store_path, Level.WARN),
    )
    for path, level in places:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            if status.st_uid != os.geteuid():
                yield Finding(
                    level,
                    f"home: {path} belongs to another user (id {status.st_uid})",
                    "chown it, or run as that user",
                )
            if mode & 0o077:
                right = 0o700 if path.is_dir() else 0o600
                yield Finding(level, f"home: {path} is open to others ({mode:o})", f"chmod {right:o} {path}")


def _first_folder(path: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def disk_space(subject: Subject) -> Iterator[Finding]:
    """Report whether events can be written for long."""
    place = _first_folder(subject.settings.home)
    free = shutil.disk_usage(place).free
    what = f"disk: {size(free)} free at {place}"
    if free < _NO_SPACE:
        yield fail(
            what, "make room: events that cannot be written wait in memory, and the oldest are lost when it is full"
        )
    elif free < _LITTLE_SPACE:
        yield warn(what, "make room soon; events need about 1 GB for a million")
    else:
        yield ok(what)
