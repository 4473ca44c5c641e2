"""The fingerprint of a home: a random name in, made once and kept in the home; out, which home a proxy serves.

``GET /health`` shows it to anybody: it says nothing of paths, accounts or keys, and is the same after a restart. Never:
an exception, or a second fingerprint where two processes start a home together.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from metrion.settings import Settings

_FINGERPRINT = re.compile(rb"([0-9a-f]{16})\n")


def make_fingerprint(settings: Settings) -> str | None:
    """Return the fingerprint of a home, which is made if it has none; ``None``: it cannot be written."""
    path = _path(settings)
    if (present := fingerprint(settings)) is not None:
        return present
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{secrets.token_hex(8)}\n")
            # A link, not a rename: of two processes that start together, the first one's stays.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    return fingerprint(settings)


def fingerprint(settings: Settings) -> str | None:
    """Return the fingerprint of a home; ``None``: no proxy has served it yet, or it cannot be read."""
    try:
        with _path(settings).open("rb") as file:
            found = _FINGERPRINT.fullmatch(file.read(64))
    except OSError:
        return None
    return found[1].decode() if found else None


def serves_home(health: Mapping[str, object], settings: Settings) -> bool | None:
    """Whether the proxy that reports this ``/health`` serves this home; ``None``: it does not say which it serves."""
    reported = health.get("home")
    return reported == fingerprint(settings) if isinstance(reported, str) else None


def _path(settings: Settings) -> Path:
    return settings.home / "home.id"
