"""The signals that stop the proxy, and how its supervisor takes them: counted, and awake at once."""

from __future__ import annotations

import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The first makes the proxy drain."""


class StopSignals:
    """Counts :data:`STOP_SIGNALS` inside of its ``with`` block. The end of a child process wakes as well."""

    def __init__(self) -> None:
        self._came = 0
        self._taken = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._woken_by, self._wakes = socket.socketpair()
        for end in (self._woken_by, self._wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self._before = {signum: signal.getsignal(signum) for signum in (*STOP_SIGNALS, signal.SIGCHLD)}
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._count)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it is enough that it wakes
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        signal.set_wakeup_fd(-1)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._close()

    def fileno(self) -> int:
        """Return the descriptor that can be read once there is something to look at."""
        return self._woken_by.fileno()

    def clear(self) -> None:
        """Make the descriptor wait for what comes next."""
        self._woken_by.recv(65536)

    def take(self) -> int:
        """Return how many stop signals have come since this was last called."""
        new, self._taken = self._came - self._taken, self._came
        return new

    def leave(self) -> None:
        """Take no signal any more. For a forked process: its parent's signals are not for it."""
        signal.set_wakeup_fd(-1)
        for signum in self._before:
            signal.signal(signum, signal.SIG_DFL)
        self._close()

    def _count(self, _signum: int, _frame: FrameType | None) -> None:
        self._came += 1

    def _close(self) -> None:
        self._woken_by.close()
        self._wakes.close()
