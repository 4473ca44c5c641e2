"""The vocabulary of the doctor: what a check is given, what it reports, and how it words quantities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from metrion import store
from metrion.settings import Settings


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined. It never holds a secret."""

    level: Level
    what: str
    """What was examined, a colon, and what was found."""
    way_out: str | None = None
    """What the reader can do about it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The installation that is examined."""

    settings: Settings
    network: bool
    """Whether to try to reach the providers."""
    now: datetime

    def ask(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a query over ``events`` finds.

        :raises StoreError: the store does not answer.
        """
        return store.ask(self.settings.journal_dir, self.settings.store_path, query, values).rows


type Check = Callable[[Subject], Iterator[Finding]]
"""Examines one thing and reports each finding. The function's name names it if it breaks."""


def ok(what: str, hint: str | None = None) -> Finding:
    """Report something that is well."""
    return Finding(Level.OK, what, hint)


def warn(what: str, way_out: str) -> Finding:
    """Report something that can become a problem, or that is not as it looks."""
    return Finding(Level.WARN, what, way_out)


def fail(what: str, way_out: str) -> Finding:
    """Report something that does not work."""
    return Finding(Level.FAIL, what, way_out)


def counted(count: int, thing: str, things: str | None = None) -> str:
    """Write a number of things: ``1 event``, ``2,000 events``. ``things``: several, where that is not one with an s."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def size(count: float) -> str:
    """Write a number of bytes: ``2 kB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def duration(seconds: float) -> str:
    """Write a length of time: ``5 min``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
