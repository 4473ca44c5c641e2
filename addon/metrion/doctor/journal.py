"""The journal: what waits to be ingested, and what cannot be read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from metrion.doctor.findings import Finding, Subject, duration, ok, size, warn
from metrion.store import schema

_BACKLOG_SECONDS = 60.0
"""A segment of the journal that is older should have been ingested."""
_WRITTEN_SECONDS = 2.0
"""A segment that changed within this time may be in the middle of a write."""


def journal(subject: Subject) -> Iterator[Finding]:
    """Report what waits to be ingested, what ends within a line, and what was set aside."""
    directory = subject.settings.journal_dir
    if not directory.is_dir():
        yield ok("journal: nothing was metered yet")
        return
    count, total, oldest, torn = 0, 0, time.time(), 0
    for path in directory.glob(schema.SEGMENTS):
        with suppress(FileNotFoundError):  # ingested just now
            status = path.stat()
            if path.name != schema.SENTINEL and status.st_size:
                count, total, oldest = count + 1, total + status.st_size, min(oldest, status.st_mtime)
                torn += _ends_within_a_line(path, status)
    age = time.time() - oldest
    what = f"journal: {count} segments wait to be ingested ({size(total)}, the oldest for {duration(age)})"
    if not count:
        yield ok("journal: everything is in the store")
    elif age > _BACKLOG_SECONDS:
        yield warn(
            what,
            "nothing is lost, and every answer has them in it; `metrion serve` ingests them, unless what is said of "
            "the store below keeps it from it",
        )
    else:
        yield ok(what)
    if torn:
        yield warn(
            f"journal: {torn} segments end within a line: their writer was killed, or the disk was full",
            "nothing to do: no response was complete then, and the ingester leaves the piece out",
        )
    if aside := sorted((directory / "set-aside").glob("*")):
        yield warn(
            f"journal: {len(aside)} files with lines that cannot be read are in {directory / 'set-aside'}",
            "these events are in no answer; report it with a line of them, then move the files away",
        )


def _ends_within_a_line(path: Path, status: os.stat_result) -> bool:
    if time.time() - status.st_mtime < _WRITTEN_SECONDS:
        return False  # it may be written at this moment
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
