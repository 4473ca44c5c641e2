"""The supervisor alone: who is started, replaced and ended. Its workers are forked processes that serve nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from metrion.errors import ServeError
from metrion.gateway.ingestion import Ingestion
from metrion.gateway.scoreboard import Scoreboard
from metrion.serving import supervisor, worker_process
from metrion.serving.configuration import Configuration
from metrion.serving.listening import Listeners
from metrion.serving.reload_requests import ReloadRequests
from metrion.serving.reloading import Reloading
from metrion.serving.stop_signals import STOP_SIGNALS
from metrion.serving.supervisor import Supervisor
from metrion.serving.worker_context import WorkerContext
from metrion.settings import Settings
from tests.processes import accepts, eventually

# They are the idle ones of libraries: none holds a lock that the forked process needs.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

type Work = Callable[[WorkerContext], None]


class Ingesting:
    """An ingestion that has nothing to do."""

    def tend(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Supervised:
    """A supervisor in a process of its own."""

    folder: Path
    scoreboard: Scoreboard
    port: int
    pid: int = 0
    _status: int | None = field(default=None, repr=False)

    def workers(self) -> set[int]:
        """Whoever has a slot on the scoreboard."""
        reported = self.scoreboard.report("")["workers"]
        return {worker["pid"] for worker in cast("list[dict[str, int]]", reported)}

    @property
    def has_announced(self) -> bool:
        return (self.folder / "announced").exists()

    def listening(self, count: int) -> set[int]:
        """The workers, once there are so many and all have been announced."""
        eventually(lambda: self.has_announced)
        return eventually(self.workers, until=lambda pids: len(pids) == count)

    def status(self) -> int:
        """Wait for its end; its exit status."""
        if self._status is None:
            _, status = eventually(lambda: os.waitpid(self.pid, os.WNOHANG), until=lambda ended: ended[0])
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    @property
    def failure(self) -> str:
        return (self.folder / "failure").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._status is None:
            os.waitpid(self.pid, 0)


@contextlib.contextmanager
def supervising(work: Work, folder: Path, *, workers: int = 1, drain_seconds: float = 20) -> Iterator[Supervised]:
    scoreboard = Scoreboard(2 * workers)
    listeners = Listeners("127.0.0.1", 0, workers)
    listeners.listen()
    running = Supervised(folder, scoreboard, listeners.port)
    if (pid := os.fork()) == 0:
        status = 2
        try:
            os.setsid()
            logging.basicConfig(filename=folder / "log", level=logging.WARNING, format="%(message)s", force=True)
            own = Supervisor(
                work,
                listeners,
                scoreboard,
                cast("Ingestion", Ingesting()),
                Reloading(Configuration(Settings(home=folder), ())),
                ReloadRequests(folder),
                workers=workers,
                drain_seconds=drain_seconds,
            )
            own.run(lambda: (folder / "announced").open("x").close())
            status = 0
        except ServeError as error:
            (folder / "failure").write_text(str(error))
            status = 1
        finally:
            os._exit(status)
    listeners.close()
    running.pid = pid
    try:
        yield running
    finally:
        running.kill()


def comes_to_its_end(context: WorkerContext) -> bool:
    """Wait for a signal, which is ``True``, or for the end of the supervisor."""
    context.on_listening()
    while signal.sigtimedwait(STOP_SIGNALS, 0.01) is None:
        if select.select([context.lifeline], [], [], 0)[0]:
            return False
    context.on_draining()
    for listener in context.listeners:
        listener.close()
    return True


def works_well(context: WorkerContext) -> None:
    comes_to_its_end(context)


def drains_until_its_supervisor_is_gone(context: WorkerContext) -> None:
    if comes_to_its_end(context):
        select.select([context.lifeline], [], [])


def is_stuck(context: WorkerContext) -> None:
    """Heeds nobody."""
    context.on_listening()
    while True:
        time.sleep(60)


def crashes(context: WorkerContext) -> None:
    context.on_listening()
    os._exit(3)


def never_listens(context: WorkerContext) -> None:
    select.select([context.lifeline], [], [])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


# --- at work ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", STOP_SIGNALS)
@pytest.mark.parametrize("workers", [1, 3])
def test_all_workers_drain_when_it_is_stopped(workers: int, signum: signal.Signals, tmp_path: Path) -> None:
    with supervising(works_well, tmp_path, workers=workers) as running:
        pids = running.listening(workers)
        assert accepts(running.port)
        os.kill(running.pid, signum)
        assert running.status() == 0
        assert running.workers() == set()
        assert running.scoreboard.report("")["status"] == "draining"
        assert all(map(is_gone, pids))
        assert not accepts(running.port)
        assert running.log == ""


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with supervising(works_well, tmp_path, workers=2) as running:
        before = running.listening(2)
        os.kill(min(before), signal.SIGKILL)
        after = eventually(running.workers, until=lambda pids: len(pids - before) == 1 and len(pids) == 2)
        assert after & before == {max(before)}
        os.kill(running.pid, signal.SIGTERM)
        assert running.status() == 0
        assert f"Worker {min(before)} ended (killed by SIGKILL); another starts now." in running.log


def test_a_worker_that_drains_by_itself_gives_up_its_slot(tmp_path: Path) -> None:
    with supervising(drains_until_its_supervisor_is_gone, tmp_path) as running:
        (first,) = running.listening(1)
        os.kill(first, signal.SIGTERM)
        both = eventually(running.workers, until=lambda pids: len(pids) == 2)
        (second,) = both - {first}
        # There are two slots on the scoreboard: a third worker starts when one of the two is free.
        os.kill(second, signal.SIGTERM)
        os.kill(first, signal.SIGKILL)
        eventually(running.workers, until=lambda pids: first not in pids and len(pids) == 2)
        os.kill(running.pid, signal.SIGKILL)
        eventually(lambda: is_gone(second))
        assert running.log == ""


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_crash_loop_ends_it_and_the_other_workers_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.01)
    first = tmp_path / "first"

    def work(context: WorkerContext) -> None:
        with contextlib.suppress(FileExistsError):
            first.open("x").close()
            return works_well(context)
        return crashes(context)

    with supervising(work, tmp_path, workers=2) as running:
        assert running.status() == 1
        assert running.failure == (
            "a worker ended 5 times in a row, each time within 30 seconds of its start, and is not started again. "
            "The last time: status 3."
        )
        assert [line.rpartition("another starts ")[2] for line in running.log.splitlines()] == [
            "now.", "in 0.01 s.", "in 0.02 s.", "in 0.04 s.",
        ]  # fmt: skip
        assert running.workers() == set()


def test_a_worker_that_cannot_work_says_why_and_no_other_is_tried(tmp_path: Path) -> None:
    def work(_: WorkerContext) -> None:
        raise OSError("the prices\ncannot be read")

    with supervising(work, tmp_path) as running:
        assert running.status() == 1
        assert running.failure == "the prices cannot be read"
        assert not running.has_announced


def test_an_error_of_others_is_not_quoted(tmp_path: Path) -> None:
    def work(_: WorkerContext) -> None:
        raise ValueError("sk-proj-secret")

    with supervising(work, tmp_path) as running:
        assert running.status() == 1
        assert running.failure == "unexpected ValueError (METRION_DEBUG=1 shows where)"


def test_a_worker_that_does_not_come_to_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "_START_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "_FIRST_DELAY", 0.01)
    with supervising(never_listens, tmp_path) as running:
        assert running.status() == 1
        assert running.failure.endswith("The last time: killed by SIGKILL.")


def test_a_fork_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork, there_is_room = os.fork, iter([True, False, False])  # the first is the supervisor itself

    def sometimes() -> int:
        if next(there_is_room, True):
            return fork()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", sometimes)
    monkeypatch.setattr(supervisor, "_FORK_SECONDS", 0.01)
    with supervising(works_well, tmp_path, workers=2) as running:
        running.listening(2)
        os.kill(running.pid, signal.SIGTERM)
        assert running.status() == 0
        assert running.log.splitlines() == ["A worker could not be started: Resource temporarily unavailable"] * 2


# --- the shutdown -----------------------------------------------------------------------------------------------------


def test_a_second_signal_ends_workers_that_still_drain(tmp_path: Path) -> None:
    with supervising(drains_until_its_supervisor_is_gone, tmp_path, workers=2) as running:
        running.listening(2)
        os.kill(running.pid, signal.SIGTERM)
        eventually(lambda: not accepts(running.port))
        assert len(running.workers()) == 2
        os.kill(running.pid, signal.SIGTERM)
        assert running.status() == 0


@pytest.mark.parametrize("work", [drains_until_its_supervisor_is_gone, is_stuck], ids=lambda work: work.__name__)
def test_workers_that_take_too_long_are_ended_and_then_killed(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_END_SECONDS", 0.05)
    with supervising(work, tmp_path, drain_seconds=0.05) as running:
        pids = running.listening(1)
        os.kill(running.pid, signal.SIGTERM)
        assert running.status() == 0
        assert all(map(is_gone, pids))


def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with supervising(works_well, tmp_path, workers=2) as running:
        pids = running.listening(2)
        os.kill(running.pid, signal.SIGKILL)
        eventually(lambda: all(map(is_gone, pids)))
        assert not accepts(running.port)
