"""The last request that went to an address where nothing is: a path in, kept in one small private file; the same out.

Such a request has no event, since it names no provider. ``/health`` counts them for everybody; what they asked for is
for whoever can read the home. Never: more than one path, more than 200 characters, or an exception.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from metrion.settings import Settings

PATH_CHARACTERS = 200
_FILE_BYTES = 4096
"""One page of the file is written at once, and read at once."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A request to an address where nothing is."""

    at: datetime
    """Naive UTC."""
    method: str
    path: str
    """Masked, without the query."""


def record_mistake(settings: Settings, method: str, path: str) -> None:
    """Keep a request, in place of the one before it. ``method`` and ``path`` are masked already."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    line = json.dumps({"at": now.isoformat(), "method": method[:32], "path": path[:PATH_CHARACTERS]})
    with suppress(OSError):
        descriptor = os.open(_path(settings), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, line.encode("utf-8", "replace").ljust(_FILE_BYTES - 1) + b"\n", 0)
        finally:
            os.close(descriptor)


def last_mistake(settings: Settings) -> Mistake | None:
    """Return the last such request; ``None``: there was none, or it cannot be read."""
    try:
        with _path(settings).open("rb") as file:
            kept = json.loads(file.read(_FILE_BYTES))
        at, method, path = datetime.fromisoformat(kept["at"]), str(kept["method"]), str(kept["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Mistake(at, method[:32], path[:PATH_CHARACTERS])


def _path(settings: Settings) -> Path:
    return settings.home / "last-mistake.json"
