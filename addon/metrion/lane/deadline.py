"""Calls back once, some time from now, and is set again and again at next to no cost.

A request sets a deadline that nearly always is taken back. So a timer that is under way is left alone: when it rings,
the deadline sees whether anything is due, and sleeps on if not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """See the module. Lives on the running event loop."""

    def __init__(self, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it will call back."""
        return self._due is not None

    def set(self, seconds: float | None) -> None:
        """Call back after so many seconds, and not when set before; ``None``: do not."""
        self._due = None if seconds is None else self._loop.time() + seconds
        if self._due is not None and (self._timer is None or self._timer.when() > self._due):
            self._cancel_timer()
            self._timer = self._loop.call_at(self._due, self._ring)

    def close(self) -> None:
        """Release the timer, and whoever it would call."""
        self._due = None
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._due > self._loop.time():
            self._timer = self._loop.call_at(self._due, self._ring)
            return
        self._due = None
        self._on_due()
