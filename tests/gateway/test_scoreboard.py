"""UsageReader that processes share: who writes what, what is said of all, and how many strangers are admitted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from metrion.gateway.scoreboard import STRANGERS_EVENTS_PER_MINUTE, Scoreboard, Slot

# pytest-xdist has threads; these children write a few figures and are gone.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def in_child(work: Callable[[], None]) -> None:
    """Do it in a process that is forked off, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # a figure needs no orderly end to be seen
    os.waitpid(pid, 0)


def note(slot: Slot, *, in_flight: int, lost: int, waiting: int = 0) -> None:
    slot.note_requests(in_flight)
    slot.note_events(lost, waiting)


def test_fresh_board_knows_of_nothing() -> None:
    assert Scoreboard(2).report("1.0") == {
        "status": "ok",
        "version": "1.0",
        "in_flight": 0,
        "unrecorded_refusals": 0,
        "unknown_addresses": 0,
        "lost_events": 0,
        "workers": [],
        "ingester": {"pid": None, "alive": False},
        "journal": {"segments": None, "bytes": None},
    }


def test_figures_of_all_workers_are_added_up() -> None:
    scoreboard = Scoreboard(3)
    scoreboard.set_ingester(99)
    scoreboard.set_backlog(2, 3_000_000_000)
    in_child(lambda: note(scoreboard.take(0, 10), in_flight=3, lost=1))
    in_child(lambda: note(scoreboard.take(2, 12), in_flight=4, lost=0))
    report = scoreboard.report("1.0")
    assert report["workers"] == [{"pid": 10, "in_flight": 3}, {"pid": 12, "in_flight": 4}]
    assert (report["in_flight"], report["lost_events"]) == (7, 1)
    assert report["ingester"] == {"pid": 99, "alive": True}
    assert report["journal"] == {"segments": 2, "bytes": 3_000_000_000}
    scoreboard.set_draining()
    assert scoreboard.report("1.0")["status"] == "draining"


def test_what_a_worker_counted_outlives_it() -> None:
    scoreboard = Scoreboard(1)
    for _ in range(2):
        slot = scoreboard.take(0, 10)
        note(slot, in_flight=3, lost=2)
        slot.count_unknown_address()
        assert scoreboard.free_slot() is None
        scoreboard.release(0)
        assert scoreboard.free_slot() == 0
    report = scoreboard.report("1.0")
    assert (report["workers"], report["in_flight"], report["lost_events"]) == ([], 0, 4)
    assert report["unknown_addresses"] == 2


def test_events_that_wait_in_memory_are_lost_with_their_worker() -> None:
    scoreboard = Scoreboard(2)
    note(scoreboard.take(0, 10), in_flight=0, lost=1, waiting=5)
    note(scoreboard.take(1, 11), in_flight=0, lost=0, waiting=7)
    assert scoreboard.lost_events == 1
    scoreboard.release(0)
    assert scoreboard.lost_events == 6
    note(scoreboard.take(1, 11), in_flight=0, lost=0, waiting=0)
    scoreboard.release(1)
    assert scoreboard.lost_events == 6


def test_strangers_are_admitted_sixty_times_in_any_minute_by_all_workers_together() -> None:
    now = 1000.0
    scoreboard = Scoreboard(3, clock=lambda: now)
    slots = [scoreboard.take(number, 10 + number) for number in range(3)]
    admitted: list[float] = []
    for step in range(3000):
        now = 1000.0 + step / 10  # ten a second, for five minutes
        if slots[step * step % 3].admit_stranger():
            admitted.append(now)
    for start in admitted:
        assert sum(start <= time < start + 60 for time in admitted) <= STRANGERS_EVENTS_PER_MINUTE
    assert len(admitted) == 5 * STRANGERS_EVENTS_PER_MINUTE
    assert scoreboard.report("1.0")["unrecorded_refusals"] == 3000 - len(admitted)


def test_strangers_of_a_worker_that_died_count_for_the_one_after_it() -> None:
    scoreboard = Scoreboard(1)
    first = scoreboard.take(0, 10)
    assert all(first.admit_stranger() for _ in range(STRANGERS_EVENTS_PER_MINUTE))
    scoreboard.release(0)
    assert not scoreboard.take(0, 11).admit_stranger()


def test_workers_that_admit_at_the_same_time_admit_no_more_than_sixty() -> None:
    scoreboard = Scoreboard(4)
    started = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            slot = scoreboard.take(number, os.getpid())
            admitted = sum(slot.admit_stranger() for _ in range(100))
            slot.note_requests(admitted)
            os.kill(os.getpid(), signal.SIGKILL)
        started.append(pid)
    for pid in started:
        os.waitpid(pid, 0)
    report = scoreboard.report("1.0")
    # Two that come at once may both be refused, so it may be a few less.
    assert STRANGERS_EVENTS_PER_MINUTE / 2 < report["in_flight"] <= STRANGERS_EVENTS_PER_MINUTE  # type: ignore[operator]
    assert report["in_flight"] + report["unrecorded_refusals"] == 400  # type: ignore[operator]
