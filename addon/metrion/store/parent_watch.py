"""The process that started this one, as seen through standard input: it lives until that ends."""

from __future__ import annotations

import os
import select
import sys
import time

WHEN_GONE = 0.05
"""The longest that is waited when nobody is there any more to wait for, in seconds."""


class Parent:
    """See the module."""

    def __init__(self) -> None:
        self.is_gone = False

    def wait(self, seconds: float) -> None:
        """Wait, at most until the parent is gone; after that only a moment."""
        if self.is_gone:
            time.sleep(min(seconds, WHEN_GONE))
        elif select.select([sys.stdin.fileno()], [], [], seconds)[0]:
            self.is_gone = not os.read(sys.stdin.fileno(), 4096)
