"""The segments of the journal that may be ingested. Reads no line of them.

A segment is sealed when its writer no longer holds its lock (``flock``): because it closed the segment, or died.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from metrion.store import locks, schema

_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_SEGMENTS = 256


def sealed(journal_dir: Path, held: ExitStack) -> list[Path]:
    """Lock the segments that may be ingested now, at most a batch, until ``held`` is closed.

    The segments of a writer are ingested in order, up to the first that it still holds: the watermark that a later
    segment sets would hide the lines of an earlier one.
    """
    found: list[Path] = []
    size = 0
    stopped: set[str] = set()
    for path in sorted(journal_dir.glob(schema.SEGMENTS)):
        writer = path.stem.rpartition("-")[0]
        if path.name == schema.SENTINEL or writer in stopped:
            continue
        if len(found) == _BATCH_SEGMENTS or size >= _BATCH_BYTES:
            break
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if locks.taken(descriptor):
            held.callback(os.close, descriptor)
            found.append(path)
            size += os.fstat(descriptor).st_size
        else:
            os.close(descriptor)
            stopped.add(writer)
    return found


def any_sealed(journal_dir: Path) -> bool:
    """Return whether something may be ingested now."""
    with ExitStack() as held:
        return bool(sealed(journal_dir, held))
