"""A worker as its supervisor sees it: a forked process, and what it reports through a pipe.

The forked process does its work and ends; whatever goes wrong in it, it never returns into the supervisor's code. It
reports when it listens, when it drains and why it could not work, each once and in one line.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from metrion.serving.orders import OrderBook, Orders, order_channel
from metrion.serving.stop_signals import STOP_SIGNALS

_START_SECONDS = 30.0
"""How long a worker may take until it accepts connections; then it is killed."""

_LISTENING, _DRAINING, _FAILED = "+", "-", "!"
"""What a worker reports, one to a line; the last is followed by the reason."""


class Reports:
    """The worker's end of the pipe. Reporting never fails: a supervisor that is gone reads nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def listening(self) -> None:
        """Report that the worker accepts connections."""
        self._write(_LISTENING)

    def draining(self) -> None:
        """Report that the worker accepts no more, and ends when its requests have ended."""
        self._write(_DRAINING)

    def failed(self, error: BaseException) -> None:
        """Report why the worker could not work."""
        self._write(_FAILED + _reason(error))

    def _write(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._descriptor, " ".join(line.split()).encode("utf-8", "replace") + b"\n")


class WorkerProcess:
    """One worker, from its fork to its end. ``drain_seconds``: how long it may drain until it has ended."""

    __slots__ = (
        "_descriptor",
        "_drain_seconds",
        "born",
        "is_draining",
        "is_listening",
        "kill_at",
        "orders",
        "pid",
        "reason",
    )

    def __init__(self, pid: int, descriptor: int, orders: OrderBook, drain_seconds: float) -> None:
        self.pid = pid
        self.orders = orders
        self.born = time.monotonic()
        self.kill_at = self.born + _START_SECONDS
        """When it must listen, or have ended; ``math.inf``: it may go on."""
        self.is_listening = False
        self.is_draining = False
        self.reason = ""
        """Why it could not work."""
        self._drain_seconds = drain_seconds
        self._descriptor = descriptor
        """The supervisor's end of the pipe, -1 when it is closed."""

    @property
    def descriptor(self) -> int | None:
        """What can be read when the worker has reported something; ``None`` when it will not any more."""
        return self._descriptor if self._descriptor >= 0 else None

    def read_reports(self) -> None:
        """Read what it has reported. Blocks where :attr:`descriptor` cannot be read and the process has not ended."""
        if self._descriptor < 0:
            return
        reported = os.read(self._descriptor, 65536)
        if not reported:
            self.close()
        for line in reported.decode("utf-8", "replace").splitlines():
            if line == _LISTENING:
                self.is_listening = True
                self.kill_at = math.inf
            elif line == _DRAINING:
                self.is_draining = True
                self.kill_at = time.monotonic() + self._drain_seconds
            elif line.startswith(_FAILED):
                self.reason = line.removeprefix(_FAILED)

    def exit_code(self) -> int | None:
        """Return how it ended, negative for a signal, and forget it; ``None`` while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.read_reports()
        self.close()
        return os.waitstatus_to_exitcode(status)

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, signum)

    def close(self) -> None:
        """Close the supervisor's end of the pipe."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.orders.close()


def fork(work: Callable[[Reports, Orders], None], *, drain_seconds: float) -> WorkerProcess:
    """Start a worker, which does ``work`` and ends. :data:`STOP_SIGNALS` are blocked in it until it handles them.

    ``drain_seconds``: how long it may take to end once it drains.

    :raises OSError: the system has no room for another process.
    """
    ours, theirs = os.pipe()
    book, orders = order_channel()
    sys.stdout.flush()
    sys.stderr.flush()
    # Until a worker handles them itself; this process's handlers are not for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            book.close()
            _work(lambda reports: work(reports, orders), Reports(theirs))
    except OSError:
        os.close(ours)
        book.close()
        raise
    finally:
        os.close(theirs)
        orders.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return WorkerProcess(pid, ours, book, drain_seconds)


def _work(work: Callable[[Reports], None], reports: Reports) -> NoReturn:
    status = 1
    try:
        work(reports)
        status = 0
    except BaseException as error:  # noqa: BLE001 -- whatever it is, this process ends here and reports why
        reports.failed(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reason(error: BaseException) -> str:
    """Word an error for one line. What others' errors say may quote anything, and is shown on request only."""
    if isinstance(error, OSError) or type(error).__module__.startswith("metrion."):
        return str(error)
    if os.environ.get("METRION_DEBUG"):
        traceback.print_exception(error)
    return f"unexpected {type(error).__name__} (METRION_DEBUG=1 shows where)"
