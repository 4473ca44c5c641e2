"""The signals to a proxy, and how its supervisor takes them: counted, and awake at once.

SIGHUP has it read its configuration again where there is no terminal, as under systemd. Where there is one, it says
that the terminal is closed, and ends the proxy.
"""

from __future__ import annotations

import os
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
        self._hung_up = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._woken_by, self._wakes = socket.socketpair()
        for end in (self._woken_by, self._wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        reloads = () if _has_terminal() else (signal.SIGHUP,)
        self._before = {signum: signal.getsignal(signum) for signum in (*STOP_SIGNALS, *reloads, signal.SIGCHLD)}
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._count)
        for signum in reloads:
            signal.signal(signum, self._hang_up)
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

    def take_reload(self) -> bool:
        """Whether a signal to read the configuration again has come since this was last called."""
        came, self._hung_up = self._hung_up, False
        return came

    def leave(self) -> None:
        """Take no signal any more. For a forked process: its parent's signals are not for it."""
        signal.set_wakeup_fd(-1)
        for signum in self._before:
            # One to the whole group is for the parent alone.
            signal.signal(signum, signal.SIG_IGN if signum == signal.SIGHUP else signal.SIG_DFL)
        self._close()

    def _count(self, _signum: int, _frame: FrameType | None) -> None:
        self._came += 1

    def _hang_up(self, _signum: int, _frame: FrameType | None) -> None:
        self._hung_up = True

    def _close(self) -> None:
        self._woken_by.close()
        self._wakes.close()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
