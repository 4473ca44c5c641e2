"""The process behind ``metrion serve``: owns the port and the ingester, forks the workers and replaces those that die.

It serves no request itself: one thread, no event loop, no open database, so that forking from it is safe at any time.
Everything that a worker needs is imported before the first fork, which makes a worker start in a tenth of a second.

A worker that dies is replaced at once, after a second early death in a row with a growing delay; a row of
:data:`EARLY_DEATHS` ends the proxy. Connections that come meanwhile wait at the socket, which stays open here. SIGTERM
or SIGINT makes all workers drain; a second one ends them. All workers watch a pipe whose other end is only here:
however this process ends, they end with it, and the ingester does after a last round. An end in good order waits for
that round.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from metrion import estimates
from metrion.errors import ServeError
from metrion.gateway.ingestion import CHECK_SECONDS, Ingestion
from metrion.gateway.scoreboard import Scoreboard
from metrion.serving.listening import Listeners, Listening
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.serving.worker import WorkerContext

logger = logging.getLogger(__name__)

AUTHORITY = "ca/mitmproxy-ca-cert.pem"
"""In a home: whom clients of tunnels have to trust."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
START_SECONDS = 30.0
"""How long a worker may take until it accepts connections; then it is killed."""
EARLY_SECONDS = 30.0
"""A worker that dies sooner than this after its start has died early."""
EARLY_DEATHS = 5
"""So many early deaths in a row, at one worker's context, are a crash loop."""
FIRST_DELAY = 0.25
"""Seconds to wait after the second early death in a row; doubled with each further one."""
FORK_SECONDS = 1.0
"""Seconds until the next try when the system has no room for another process."""
END_SECONDS = 5.0
"""How long a worker may take to end once it has drained, or been told to end at once; then it is killed."""

_LISTENING, _DRAINING, _FAILED = "+", "-", "!"
"""What a worker reports, one to a line; the last is followed by the reason."""


def run(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int = 1,
    drain_seconds: float,
    on_listening: Callable[[Listening], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until told to stop. ``on_listening`` is called once, when all workers accept connections.

    :raises ServeError: it cannot be done, or workers keep dying.
    :raises StoreError: the ingester cannot start.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
    listeners = Listeners(host, port, workers)
    board = Scoreboard(2 * workers)  # a worker that drains by itself and the one that replaces it are both at work
    ingestion = Ingestion(settings, board)
    authority = _start_making_authority(settings)
    try:
        from metrion.serving import worker  # here, since it takes long: the ingester starts meanwhile

        estimates.prepare()  # so that all workers share its memory
        ingestion.wait_until_ready()
        if authority is not None:
            authority.wait()
        listeners.listen()

        def work(context: WorkerContext) -> None:
            worker.work(settings, context, drain_seconds, tls)

        supervisor = Supervisor(work, listeners, board, ingestion, workers, drain_seconds)
        scheme = "https" if tls else "http"
        supervisor.run(lambda: on_listening(Listening(host, listeners.port, scheme)))
    finally:
        ingestion.end()  # who waits for this process then finds everything in the store, and nobody at work in the home


def _start_making_authority(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Have the authority for tunnels made where there is none: a client has to trust it before its first request."""
    if (settings.home / AUTHORITY).exists():
        return None
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "metrion.proxy.authority", str(settings.home)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL)


class _Stage(IntEnum):
    """How far the end has come. A signal, or time that runs out, leads to the next."""

    SERVE = 0
    DRAIN = 1
    END = 2
    KILL = 3


@dataclass(slots=True)
class _Worker:
    pid: int
    seat: _Seat
    slot: int
    """Its number on the board."""
    reports: int
    """A descriptor, -1 when it is closed."""
    born: float
    kill_at: float
    listening: bool = False
    reason: str = ""
    """Why it could not work."""


@dataclass(slots=True)
class _Seat:
    """One of the N workers to be, whichever process it is."""

    number: int
    holder: int | None = None
    """The worker's pid; one that drains by itself has given up its seat."""
    start_at: float = 0.0
    """When to start a worker, if there is none."""
    early_deaths: int = 0


@dataclass(slots=True)
class Supervisor:
    """See the module. ``work`` is what a worker does; it returns when the worker has drained."""

    work: Callable[[WorkerContext], None]
    listeners: Listeners
    board: Scoreboard
    ingestion: Ingestion
    size: int
    """How many workers there are to be."""
    drain_seconds: float
    _seats: list[_Seat] = field(init=False)
    _workers: dict[int, _Worker] = field(init=False, default_factory=dict)
    _tend_at: float = field(init=False, default=0.0)
    _stage: _Stage = field(init=False, default=_Stage.SERVE)
    _next_stage_at: float = field(init=False, default=math.inf)
    _signals: int = field(init=False, default=0)
    _signals_heeded: int = field(init=False, default=0)
    _announced: bool = field(init=False, default=False)
    _failure: ServeError | None = field(init=False, default=None)
    _lifeline: int = field(init=False)
    _life: int = field(init=False)
    _wakeup: tuple[socket.socket, socket.socket] = field(init=False)

    def run(self, on_listening: Callable[[], None]) -> None:
        """Keep the workers at work until told to stop.

        :raises ServeError: a worker cannot start, or workers keep dying.
        """
        self._seats = [_Seat(number) for number in range(self.size)]
        self._lifeline, self._life = os.pipe()
        gc.freeze()  # what is there now stays as it is, so that the workers go on sharing its memory
        try:
            with self._handling_signals():
                while self._workers or self._stage is _Stage.SERVE:
                    self._take_seats()
                    if not self._announced and all(self._is_listening(seat) for seat in self._seats):
                        self._announced = True
                        on_listening()
                    self._wait()
                    self._reap()
                    self._keep_time()
        finally:
            self._end_workers()
            self.listeners.close()
        if self._failure is not None:
            raise self._failure

    # --- workers ---

    def _take_seats(self) -> None:
        if self._stage is not _Stage.SERVE:
            return
        for seat in self._seats:
            slot = self.board.free_slot()
            if seat.holder is None and time.monotonic() >= seat.start_at and slot is not None:
                try:
                    self._fork(seat, slot)
                except OSError as error:
                    logger.error("A worker could not be started: %s", error.strerror)  # noqa: TRY400 -- says it all
                    seat.start_at = time.monotonic() + FORK_SECONDS

    def _fork(self, seat: _Seat, slot: int) -> None:
        reports, report = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until a worker handles them itself; this process's handlers are not for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(seat, slot, report, reports)
        except OSError:
            os.close(reports)
            raise
        finally:
            os.close(report)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.board.take(slot, pid)
        now = time.monotonic()
        seat.holder = pid
        self._workers[pid] = _Worker(pid, seat, slot, reports, born=now, kill_at=now + START_SECONDS)

    def _be_worker(self, seat: _Seat, slot: int, report: int, reports: int) -> NoReturn:
        """Work in the forked process, and end it."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for signum in (*SIGNALS, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            # What is open here keeps others from noticing that the supervisor is gone, or that a port is free.
            for descriptor in (self._life, reports, *(other.reports for other in self._workers.values())):
                if descriptor >= 0:
                    os.close(descriptor)
            for end in self._wakeup:
                end.close()
            self.ingestion.close()
            own = self.listeners.of(seat.number)
            self.listeners.close(but=own)
            from metrion.serving.worker import WorkerContext

            context = WorkerContext(
                listeners=own,
                slot=self.board.take(slot, os.getpid()),
                lifeline=self._lifeline,
                on_listening=lambda: _report(report, _LISTENING),
                on_draining=lambda: _report(report, _DRAINING),
            )
            self.work(context)
            status = 0
        except BaseException as error:  # noqa: BLE001 -- whatever it is, this process ends here and says why
            _report(report, _FAILED + _reason(error))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _is_listening(self, seat: _Seat) -> bool:
        return seat.holder is not None and self._workers[seat.holder].listening

    def _reap(self) -> None:
        for worker in tuple(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._read_reports(worker)
                if worker.reports >= 0:
                    os.close(worker.reports)
                self.board.release(worker.slot)
                del self._workers[pid]
                if worker.seat.holder == pid:
                    worker.seat.holder = None
                    if self._stage is _Stage.SERVE:
                        self._on_death(worker, os.waitstatus_to_exitcode(status))

    def _on_death(self, worker: _Worker, exit_code: int) -> None:
        how = worker.reason or (
            f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"status {exit_code}"
        )
        now = time.monotonic()
        seat = worker.seat
        is_early = not worker.listening or now - worker.born < EARLY_SECONDS
        seat.early_deaths = seat.early_deaths + 1 if is_early else 0
        if worker.reason and not self._announced:
            self._fail(worker.reason)
        elif seat.early_deaths == EARLY_DEATHS:
            self._fail(
                f"a worker ended {EARLY_DEATHS} times in a row, each time within {EARLY_SECONDS:g} seconds of its "
                f"start, and is not started again. The last time: {how}."
            )
        else:
            delay = FIRST_DELAY * 2 ** (seat.early_deaths - 2) if seat.early_deaths > 1 else 0.0
            seat.start_at = now + delay
            when = f"in {delay:g} s" if delay else "now"
            logger.warning("Worker %s ended (%s); another starts %s.", worker.pid, how, when)

    def _read_reports(self, worker: _Worker) -> None:
        if worker.reports < 0:
            return
        told = os.read(worker.reports, 65536)
        if not told:
            os.close(worker.reports)
            worker.reports = -1
        for line in told.decode("utf-8", "replace").splitlines():
            if line == _LISTENING:
                worker.listening = True
                worker.kill_at = math.inf
            elif line == _DRAINING:
                worker.kill_at = time.monotonic() + self.drain_seconds + END_SECONDS
                if self._stage is _Stage.SERVE and worker.seat.holder == worker.pid:
                    worker.seat.holder = None  # somebody told this one alone to go
            elif line.startswith(_FAILED):
                worker.reason = line.removeprefix(_FAILED)

    # --- the end ---

    def _fail(self, reason: str) -> None:
        self._failure = ServeError(reason)
        self._go_on()

    def _go_on(self) -> None:
        """Go on to the next stage of the end."""
        self._stage = _Stage(min(self._stage + 1, _Stage.KILL))
        now = time.monotonic()
        if self._stage is _Stage.DRAIN:
            self.board.set_draining()
            self.listeners.close()
            self._tell_workers(signal.SIGTERM)
            self._next_stage_at = now + self.drain_seconds + END_SECONDS
        elif self._stage is _Stage.END:
            self._end_workers()
            self._next_stage_at = now + END_SECONDS
        else:
            self._tell_workers(signal.SIGKILL)
            self._next_stage_at = math.inf

    def _end_workers(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _tell_workers(self, signum: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, signum)

    # --- time and signals ---

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        self._wakeup = socket.socketpair()
        for end in self._wakeup:
            end.setblocking(False)
        before = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGCHLD)}
        signal.set_wakeup_fd(self._wakeup[1].fileno(), warn_on_full_buffer=False)
        for signum in SIGNALS:
            signal.signal(signum, self._count_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it is enough that it wakes
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            for end in self._wakeup:
                end.close()

    def _count_signal(self, *_: object) -> None:
        self._signals += 1

    def _wait(self) -> None:
        """Wait until there is something to do; take note of what workers report."""
        woken_by, _ = self._wakeup
        can_start = self._stage is _Stage.SERVE and self.board.free_slot() is not None
        seats = (seat.start_at for seat in self._seats if can_start and seat.holder is None)
        deaths = (worker.kill_at for worker in self._workers.values())
        until = min(*seats, *deaths, self._next_stage_at, self._tend_at)
        by_descriptor = {worker.reports: worker for worker in self._workers.values() if worker.reports >= 0}
        with selectors.PollSelector() as selector:
            selector.register(woken_by, selectors.EVENT_READ)
            for descriptor in by_descriptor:
                selector.register(descriptor, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(max(0.0, until - time.monotonic()))}
        if woken_by.fileno() in ready:
            woken_by.recv(65536)
        while self._signals_heeded < self._signals:
            self._signals_heeded += 1
            self._go_on()
        # After the signals: a worker that drains because all were told to is not replaced.
        for descriptor in ready & by_descriptor.keys():
            self._read_reports(by_descriptor[descriptor])

    def _keep_time(self) -> None:
        now = time.monotonic()
        if now >= self._tend_at:
            self.ingestion.tend()
            self._tend_at = now + CHECK_SECONDS
        if now >= self._next_stage_at:
            self._go_on()
        for worker in self._workers.values():
            if now >= worker.kill_at:
                os.kill(worker.pid, signal.SIGKILL)


def _report(descriptor: int, what: str) -> None:
    with suppress(OSError):  # the supervisor is gone
        os.write(descriptor, " ".join(what.split()).encode("utf-8", "replace") + b"\n")


def _reason(error: BaseException) -> str:
    """Word an error for one line. What others' errors say may quote anything, and is for a person to ask for."""
    if isinstance(error, OSError) or type(error).__module__.startswith("metrion."):
        return str(error)
    if os.environ.get("METRION_DEBUG"):
        traceback.print_exception(error)
    return f"unexpected {type(error).__name__} (METRION_DEBUG=1 shows where)"
