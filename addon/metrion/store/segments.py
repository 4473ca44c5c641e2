"""The journal's segments, as whoever takes them in sees them. Reads no line of them.

A segment is sealed when its writer holds it no more (``flock``), be it that it let go or died.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from metrion.store import locks, schema

BATCH_BYTES = 32 * 1024 * 1024
BATCH_SEGMENTS = 256


def sealed(journal_dir: Path, held: ExitStack) -> list[Path]:
    """Lock what may be ingested now, at most a batch, until ``held`` is closed.

    A writer's segments go in in order and stop at the first that is still held: the watermark that a later one
    would set hides the earlier one's lines.
    """
    found: list[Path] = []
    size = 0
    stopped: set[str] = set()
    for path in sorted(journal_dir.glob(schema.SEGMENTS)):
        writer = path.stem.rpartition("-")[0]
        if path.name == schema.SENTINEL or writer in stopped:
            continue
        if len(found) == BATCH_SEGMENTS or size >= BATCH_BYTES:
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
    """Whether something may be ingested now."""
    with ExitStack() as held:
        return bool(sealed(journal_dir, held))
