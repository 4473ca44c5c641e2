"""The process behind ``metrion serve``: owns the port and the ingester, forks the workers and replaces those that die.

It serves no request itself: one thread, no event loop, no open database, so that forking from it is safe at any time.
Everything that a worker needs is imported before the first fork, which makes a worker start in a tenth of a second.

A worker that dies is replaced at once, after a second early death in a row with a growing delay; a row of
:data:`_EARLY_DEATHS` ends the proxy. Connections that come meanwhile wait at the socket, which stays open here. SIGTERM
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
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from metrion.errors import ServeError
from metrion.gateway.ingestion import CHECK_SECONDS, Ingestion
from metrion.gateway.scoreboard import Scoreboard
from metrion.serving.listening import Listeners
from metrion.serving.orders import Orders
from metrion.serving.reload_requests import Answer, ReloadRequests, answer
from metrion.serving.reloading import Reloading
from metrion.serving.stop_signals import StopSignals
from metrion.serving.worker_context import WorkerContext
from metrion.serving.worker_process import Reports, WorkerProcess, fork

logger = logging.getLogger(__name__)

_EARLY_SECONDS = 30.0
"""A worker that dies sooner than this after its start has died early."""
_EARLY_DEATHS = 5
"""So many early deaths in a row, in one worker slot, are a crash loop."""
_FIRST_DELAY = 0.25
"""Seconds to wait after the second early death in a row; doubled with each further one."""
_FORK_SECONDS = 1.0
"""Seconds until the next try when the system has no room for another process."""
_END_SECONDS = 5.0
"""How long a worker may take to end once it has drained, or once it has to end at once; then it is killed."""


class _Phase(IntEnum):
    """How far the shutdown has come. A signal, or time that runs out, leads to the next."""

    SERVING = 0
    DRAINING = 1
    ENDING = 2
    KILLING = 3


@dataclass(slots=True)
class _WorkerSlot:
    """One of the N workers to be, whichever process it is."""

    number: int
    worker: WorkerProcess | None = None
    """Who works in it; a worker that drains by itself has given up its slot."""
    start_at: float = 0.0
    """When to start a worker, if there is none."""
    early_deaths: int = 0


@dataclass(frozen=True, slots=True)
class _Assignment:
    """What a worker process was started for, and has until it ends."""

    slot: _WorkerSlot
    scoreboard_slot: int


class Supervisor:
    """See the module. ``work`` is what a worker does; it returns when the worker has drained."""

    def __init__(
        self,
        work: Callable[[WorkerContext], None],
        listeners: Listeners,
        scoreboard: Scoreboard,
        ingestion: Ingestion,
        reloading: Reloading,
        reload_requests: ReloadRequests,
        *,
        workers: int,
        drain_seconds: float,
    ) -> None:
        self._work = work
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._ingestion = ingestion
        self._reloading = reloading
        self._reload_requests = reload_requests
        self._drain_seconds = drain_seconds
        self._slots = [_WorkerSlot(number) for number in range(workers)]
        self._workers: dict[WorkerProcess, _Assignment] = {}
        """All processes, also those that have given up their slot."""
        self._signals = StopSignals()
        self._tend_at = 0.0
        self._phase = _Phase.SERVING
        self._next_phase_at = math.inf
        self._announced = False
        self._failure: ServeError | None = None
        self._lifeline = -1
        """What workers watch."""
        self._lifeline_end = -1
        """What keeps them alive as long as it is open; -1 when it is closed."""

    def run(self, on_listening: Callable[[], None]) -> None:
        """Keep the workers at work until a signal stops it.

        :raises ServeError: a worker cannot start, or workers keep dying.
        """
        self._lifeline, self._lifeline_end = os.pipe()
        gc.freeze()  # what is there now stays as it is, so that the workers go on sharing its memory
        try:
            with self._signals:
                while self._workers or self._phase is _Phase.SERVING:
                    self._fill_slots()
                    if not self._announced and all(_is_listening(slot) for slot in self._slots):
                        self._announced = True
                        on_listening()
                    self._wait()
                    self._reap()
                    self._keep_time()
        finally:
            self._end_workers()
            os.close(self._lifeline)
            self._listeners.close()
        if self._failure is not None:
            raise self._failure

    # --- workers ---

    def _fill_slots(self) -> None:
        if self._phase is not _Phase.SERVING:
            return
        for slot in self._slots:
            scoreboard_slot = self._scoreboard.free_slot()
            if slot.worker is None and time.monotonic() >= slot.start_at and scoreboard_slot is not None:
                try:
                    self._start(_Assignment(slot, scoreboard_slot))
                except OSError as error:
                    logger.error("A worker could not be started: %s", error.strerror)  # noqa: TRY400 -- says it all
                    slot.start_at = time.monotonic() + _FORK_SECONDS

    def _start(self, assignment: _Assignment) -> None:
        drain_seconds = self._drain_seconds + _END_SECONDS
        worker = fork(lambda reports, orders: self._be_worker(assignment, reports, orders), drain_seconds=drain_seconds)
        self._scoreboard.take(assignment.scoreboard_slot, worker.pid)
        assignment.slot.worker = worker
        self._workers[worker] = assignment

    def _be_worker(self, assignment: _Assignment, reports: Reports, orders: Orders) -> None:
        """Work, in the forked process."""
        self._signals.leave()
        # What is open here keeps others from noticing that the supervisor is gone, or that a port is free.
        self._end_workers()
        for other in self._workers:
            other.close()
        self._ingestion.close()
        self._reload_requests.close()
        listeners = self._listeners.of(assignment.slot.number)
        self._listeners.close(but=listeners)
        context = WorkerContext(
            listeners=listeners,
            slot=self._scoreboard.take(assignment.scoreboard_slot, os.getpid()),
            lifeline=self._lifeline,
            orders=orders,
            on_listening=reports.listening,
            on_draining=reports.draining,
        )
        self._work(context)

    def _reap(self) -> None:
        for worker, assignment in tuple(self._workers.items()):
            if (exit_code := worker.exit_code()) is None:
                continue
            self._free_slot_of(worker)
            self._scoreboard.release(assignment.scoreboard_slot)
            del self._workers[worker]
            if assignment.slot.worker is worker:
                assignment.slot.worker = None
                if self._phase is _Phase.SERVING:
                    self._on_death(worker, assignment.slot, exit_code)

    def _free_slot_of(self, worker: WorkerProcess) -> None:
        """Let another worker take the slot of one that drains by itself: somebody sent a signal to this one alone."""
        slot = self._workers[worker].slot
        if worker.is_draining and self._phase is _Phase.SERVING and slot.worker is worker:
            slot.worker = None

    def _on_death(self, worker: WorkerProcess, slot: _WorkerSlot, exit_code: int) -> None:
        how = worker.reason or (
            f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"status {exit_code}"
        )
        now = time.monotonic()
        is_early = not worker.is_listening or now - worker.born < _EARLY_SECONDS
        slot.early_deaths = slot.early_deaths + 1 if is_early else 0
        if worker.reason and not self._announced:
            self._fail(worker.reason)
        elif slot.early_deaths == _EARLY_DEATHS:
            self._fail(
                f"a worker ended {_EARLY_DEATHS} times in a row, each time within {_EARLY_SECONDS:g} seconds of its "
                f"start, and is not started again. The last time: {how}."
            )
        else:
            delay = _FIRST_DELAY * 2 ** (slot.early_deaths - 2) if slot.early_deaths > 1 else 0.0
            slot.start_at = now + delay
            when = f"in {delay:g} s" if delay else "now"
            logger.warning("Worker %s ended (%s); another starts %s.", worker.pid, how, when)

    # --- the shutdown ---

    def _fail(self, reason: str) -> None:
        self._failure = ServeError(reason)
        self._begin_next_phase()

    def _begin_next_phase(self) -> None:
        self._phase = _Phase(min(self._phase + 1, _Phase.KILLING))
        now = time.monotonic()
        if self._phase is _Phase.DRAINING:
            self._scoreboard.set_draining()
            self._listeners.close()
            self._send_to_workers(signal.SIGTERM)
            self._next_phase_at = now + self._drain_seconds + _END_SECONDS
        elif self._phase is _Phase.ENDING:
            self._end_workers()
            self._next_phase_at = now + _END_SECONDS
        else:
            self._send_to_workers(signal.SIGKILL)
            self._next_phase_at = math.inf

    def _end_workers(self) -> None:
        """Close this process's end of the lifeline: workers for which nobody else has one open end at once."""
        if self._lifeline_end >= 0:
            os.close(self._lifeline_end)
            self._lifeline_end = -1

    def _send_to_workers(self, signum: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(signum)

    # --- time and signals ---

    def _wait(self) -> None:
        """Wait until there is something to do; take signals, and what workers report."""
        can_start = self._phase is _Phase.SERVING and self._scoreboard.free_slot() is not None
        starts = (slot.start_at for slot in self._slots if can_start and slot.worker is None)
        kills = (worker.kill_at for worker in self._workers)
        until = min(*starts, *kills, self._next_phase_at, self._tend_at)
        with selectors.PollSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            if (requests := self._reload_requests.fileno()) is not None:
                selector.register(requests, selectors.EVENT_READ)
            for worker in self._workers:
                if worker.descriptor is not None:
                    selector.register(worker.descriptor, selectors.EVENT_READ, worker)
            ready = [key for key, _ in selector.select(max(0.0, until - time.monotonic()))]
        if any(key.fileobj is self._signals for key in ready):
            self._signals.clear()
        for _ in range(self._signals.take()):
            self._begin_next_phase()
        # After the signals: a worker that drains because all got one is not replaced.
        for key in ready:
            if isinstance(key.data, WorkerProcess):
                key.data.read_reports()
                self._free_slot_of(key.data)
        if self._signals.take_reload():
            self._reload()
        for connection in self._reload_requests.take():
            answer(connection, self._reload())

    def _reload(self) -> Answer:
        if self._phase is not _Phase.SERVING:
            return Answer(False, "the proxy is about to end")
        return self._reloading.reload([worker for worker in self._workers if not worker.is_draining])

    def _keep_time(self) -> None:
        now = time.monotonic()
        if now >= self._tend_at:
            self._ingestion.tend()
            self._reloading.tend()
            self._tend_at = now + CHECK_SECONDS
        if now >= self._next_phase_at:
            self._begin_next_phase()
        for worker in self._workers:
            if now >= worker.kill_at:
                worker.send(signal.SIGKILL)


def _is_listening(slot: _WorkerSlot) -> bool:
    return slot.worker is not None and slot.worker.is_listening
