"""Watches for the end of the process that started this one.

In: standard input, whose other end only the parent holds. Out: whether it has ended, and with it the parent. What comes
on standard input before its end is dropped.
"""

from __future__ import annotations

import os
import select
import sys
import time

_SECONDS_WHEN_GONE = 0.05
"""The longest wait once the parent is gone, and nothing more can come."""


class ParentWatch:
    """Waits, but not beyond the end of the parent."""

    def __init__(self) -> None:
        self.is_gone = False

    def wait(self, seconds: float) -> None:
        """Wait, at most until the parent is gone; after that only for a moment."""
        if self.is_gone:
            time.sleep(min(seconds, _SECONDS_WHEN_GONE))
        elif select.select([sys.stdin.fileno()], [], [], seconds)[0]:
            self.is_gone = not os.read(sys.stdin.fileno(), 4096)
