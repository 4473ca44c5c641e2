"""The files of budgets: room, holding and settling, between processes, through kills, turns and removed files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metrion.budgets import ledger as module
from metrion.budgets.ledger import Bound, File, Held, Ledger, Short, is_dead, read, the_dead
from metrion.budgets.page import MOST, MOST_PROCESSES, PAGE_BYTES, Page
from metrion.model import Budget
from tests.control.homes import run_together

OCTOBER, NOVEMBER, DECEMBER = 1_790_812_800, 1_793_491_200, 1_796_083_200


def bound(number: int = 1, limit: int = 100, key: int = NOVEMBER, then: str = "refuse") -> Bound:
    return Bound(Budget(number, "token", "ci", limit, "month", then=then), key)


def counted(folder: Path, number: int = 1, key: int = NOVEMBER, spent: int = 0) -> None:
    """Do what a count does with a new budget."""
    with closing(File(folder, number)) as file:
        file.page.set_spent(file.page.make(key), spent)


def state(folder: Path, number: int = 1, key: int = NOVEMBER) -> tuple[int | None, int]:
    """What is spent and held."""
    page = read(folder, number)
    assert page is not None
    at = page.find(key)
    return None if at is None else page.spent(at), page.held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "budgets"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with closing(Ledger(folder, 7)) as made:
        counted(folder)
        yield made


def test_what_is_held_has_room_only_once_and_is_settled_at_its_cost(folder: Path, ledger: Ledger) -> None:
    assert [isinstance(ledger.hold([bound()], 40), Held) for _ in range(4)] == [True, True, False, False]
    assert state(folder) == (0, 80)
    ledger.settle([bound()], 55, 1, [1], 40)
    assert state(folder) == (55, 40)
    assert isinstance(ledger.hold([bound()], 6), Short), "5 are left"
    ledger.settle([bound()], 0, 2, [1], 40)
    assert state(folder) == (55, 0)
    assert ledger.hold([bound()], 45) == Held(0)


@pytest.mark.parametrize(
    ("limit", "spent", "amount", "passes"),
    [
        pytest.param(0, 0, 0, False, id="nothing may be spent, not even nothing"),
        pytest.param(10, 10, 0, False, id="all is spent"),
        pytest.param(10, 9, 0, True, id="a request of unknown cost, while something is left"),
        pytest.param(10, 9, 1, True, id="the last of it"),
        pytest.param(10, 9, 2, False, id="more than is left"),
        pytest.param(10, 50, 1, False, id="it was lowered below what is spent"),
        pytest.param(9 * 10**18, 8 * 10**18, 10**17, True, id="as large as one can be"),
    ],
)
def test_room(limit: int, spent: int, amount: int, passes: bool, folder: Path, ledger: Ledger) -> None:
    counted(folder, spent=spent)
    assert isinstance(ledger.hold([bound(limit=limit)], amount), Held) is passes
    assert state(folder) == (spent, amount if passes else 0)


def test_a_request_holds_all_of_its_budgets_or_none(folder: Path, ledger: Ledger) -> None:
    counted(folder, 2)
    short = ledger.hold([bound(1), bound(2, limit=10)], 40)
    assert isinstance(short, Short)
    assert short.budget.id == 2
    assert (state(folder, 1), state(folder, 2)) == ((0, 0), (0, 0))
    assert ledger.hold([bound(1), bound(2, limit=50)], 40) == Held(10)
    ledger.settle([bound(2)], 30, 1, [1, 2], 40)
    assert (state(folder, 1), state(folder, 2)) == ((0, 0), (30, 0))


def test_one_that_warns_lets_go_on_and_says_once_that_it_is_over(ledger: Ledger) -> None:
    warning = bound(limit=10, then="warn")
    found = [ledger.hold([warning], 6) for _ in range(3)]
    assert [isinstance(each, Held) and (bool(each.over), each.is_new) for each in found] == [
        (False, False),
        (True, True),
        (True, False),
    ]


def test_a_span_that_nobody_has_counted_is_not_known(folder: Path) -> None:
    with closing(Ledger(folder, 7)) as ledger:
        short = ledger.hold([bound()], 1)
    assert isinstance(short, Short)
    assert short.state.spent is None


def test_the_month_turns_and_a_clock_that_is_set_over_the_turn_and_back_finds_both(
    folder: Path, ledger: Ledger
) -> None:
    ledger.hold([bound()], 60)
    assert ledger.hold([bound(key=DECEMBER)], 40) == Held(0), "what is under way is still held"
    ledger.settle([bound()], 70, 1, [1], 60)
    ledger.settle([bound(key=DECEMBER)], 30, 2, [1], 40)
    assert (state(folder, key=NOVEMBER), state(folder, key=DECEMBER)) == ((70, 0), (30, 0))
    assert isinstance(ledger.hold([bound()], 31), Short)
    assert isinstance(ledger.hold([bound(key=DECEMBER)], 31), Held)
    earlier = ledger.hold([bound(key=OCTOBER)], 1)
    assert isinstance(earlier, Short)
    assert earlier.state.spent is None, "nothing passes in a span of which nothing is known"


def test_an_event_that_a_count_has_counted_is_not_counted_again(folder: Path, ledger: Ledger) -> None:
    ledger.hold([bound()], 10)
    with closing(File(folder, 1)) as file:
        (slot,) = file.page.slots()
        file.page.set_counted(slot.place, 5)
        file.page.set_spent(file.page.make(NOVEMBER), 50)
    ledger.settle([bound()], 9, 5, [1], 10)
    assert state(folder) == (50, 0)
    ledger.settle([bound()], 9, 6)
    assert state(folder) == (59, 0)


def test_processes_hold_together_what_there_is_and_no_more(folder: Path) -> None:
    counted(folder)
    counted(folder, 2)
    code = """
import sys
from pathlib import Path
from metrion.budgets.ledger import Bound, Held, Ledger
from metrion.model import Budget
ledger = Ledger(Path(sys.argv[1]), int(sys.argv[2]))
bounds = [Bound(Budget(number, "token", "ci", 1_000 * number, "month"), int(sys.argv[3])) for number in (1, 2)]
GATE
passed = 0
for number in range(1_000):
    if isinstance(ledger.hold(bounds, 2), Held):
        passed += 1
        ledger.settle(bounds, 1, number + 1, [1, 2], 2)
print(passed)
"""
    done = run_together(code, [[str(folder), str(number), str(NOVEMBER)] for number in range(1, 5)])
    assert sum(map(int, done)) == 999, "the last one would not fit: it may cost 2"
    assert (state(folder, 1), state(folder, 2)) == ((999, 0), (999, 0))
    assert sorted(the_dead(folder)) == [1, 2, 3, 4]


def test_a_killed_process_leaves_what_it_held_in_its_slot_and_is_seen_to_be_dead(folder: Path) -> None:
    counted(folder)
    code = """
import sys, time
from pathlib import Path
from metrion.budgets.ledger import Bound, Ledger
from metrion.model import Budget
ledger = Ledger(Path(sys.argv[1]), 9)
ledger.hold([Bound(Budget(1, "token", "ci", 100, "month"), int(sys.argv[2]))], 30)
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(NOVEMBER)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert not is_dead(folder, 9)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_dead(folder, 9)
    page = read(folder, 1)
    assert page is not None
    assert [(slot.process, slot.held) for slot in page.slots()] == [(9, 30)]


def test_files_that_are_removed_while_they_are_used_are_made_anew(
    folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECK_SECONDS", 0)
    ledger.hold([bound()], 10)
    (folder / "1").unlink()
    assert isinstance(ledger.hold([bound()], 10), Short), "nothing is known of what is spent"
    counted(folder, spent=20)
    ledger.settle([bound()], 5, 1, [1], 10)
    assert state(folder) == (25, 0)


def test_a_file_of_anything_else_becomes_an_empty_one(folder: Path) -> None:
    folder.mkdir()
    (folder / "1").write_bytes(os.urandom(9_000))
    with closing(Ledger(folder, 7)) as ledger:
        assert isinstance(ledger.hold([bound()], 1), Short)
    assert read(folder, 1) is not None


def test_more_processes_than_a_file_has_room_for_are_an_error_and_hold_nothing(folder: Path) -> None:
    page = Page(bytearray(PAGE_BYTES))
    for number in range(1, MOST_PROCESSES + 1):
        page.hold(page.slot(number), number)
    assert page.held == sum(range(1, MOST_PROCESSES + 1))
    with pytest.raises(OSError, match="processes"):
        page.slot(10_000)
    page.free(page.slot(5))
    page.add_up()
    assert page.held == sum(range(1, MOST_PROCESSES + 1)) - 5
    assert page.slot(10_000) == page.slot(10_000)


def test_what_no_number_can_hold_is_as_much_as_one_can(folder: Path, ledger: Ledger) -> None:
    ledger.settle([bound()], MOST - 1, 1)
    ledger.settle([bound()], MOST - 1, 2)
    assert state(folder) == (MOST, 0)
    assert isinstance(ledger.hold([bound(limit=9 * 10**18)], 1), Short)
