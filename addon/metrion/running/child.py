"""Runs a command to its end, on this process's standard streams, and hands on the signals that this process gets.

In: a command and its environment. Out: an exit status as shells have it, 128 and the signal's number for a child that a
signal ended. The child gets each signal once: what a terminal sends (Ctrl-C) reaches the child by itself, everything
else is passed on.

At a terminal the child is in this process group, so that job control and pipelines work as ever; who sent a signal
decides. Without one it leads a group of its own, because nobody can say then whether a signal went to the whole group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

_PASSED_ON = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
_OF_A_KEYBOARD = frozenset({signal.SIGINT, signal.SIGQUIT})
"""A terminal sends these to a whole group."""
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_BY_A_PROCESS = 0
"""``si_code`` of a signal up to this was sent by a process, above it by the kernel: a terminal is one."""


class Child:
    """A running command."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it.

        :raises OSError: it cannot be started.
        """
        self._is_leader = not _has_terminal()
        self._waited_for = _PASSED_ON | {signal.SIGCHLD}
        self._usual = signal.pthread_sigmask(signal.SIG_BLOCK, self._waited_for)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave no status
        try:
            self.pid = os.posix_spawnp(
                command[0],
                list(command),
                dict(environment),
                setsigmask=self._usual,
                setsigdef=_IGNORED_BY_PYTHON,
                setpgroup=0 if self._is_leader else os.getpgrp(),
            )
        except OSError:
            self._restore()
            raise

    def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        try:
            while True:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
                self._pass_on()
        finally:
            self._restore()

    def _pass_on(self) -> None:
        """Wait for a signal and pass it on, unless the child has it already."""
        if hasattr(signal, "sigwaitinfo"):
            received = signal.sigwaitinfo(self._waited_for)
            number, by_a_process = received.si_signo, received.si_code <= _BY_A_PROCESS
        else:  # macOS does not say who sent it
            number = signal.sigwait(self._waited_for)
            by_a_process = number not in _OF_A_KEYBOARD
        if number == signal.SIGCHLD or not (by_a_process or self._is_leader):
            return
        with suppress(ProcessLookupError):
            if self._is_leader and number in _OF_A_KEYBOARD:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def _restore(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._usual)


def _has_terminal() -> bool:
    """Return whether this process can get signals from a terminal."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False
