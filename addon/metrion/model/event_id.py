"""Event ids: UUID version 7 (RFC 9562, section 5.7), so that ids sort by time. Python brings its own from 3.14 on."""

from __future__ import annotations

import os
import time
from uuid import UUID

_last = 0


def uuid7() -> UUID:
    """Return a new id: 48 bits of Unix milliseconds, then version, variant and 74 random bits.

    Within a millisecond and a process each is greater than the one before: rows of one session sort as they came.
    """
    global _last
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    if value <= _last and value >> 80 == _last >> 80:
        value = _last + 1
    _last = value
    return UUID(int=value)
