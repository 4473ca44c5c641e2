"""Places at a provider key: who has one, whose turn is next, and what another process sees of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from metrion.control.places import Place, Places
from metrion.model.policies import Concurrency

TWO = Concurrency("narrow", at_once=2, queue=4)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["files", "memory"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """``memory``: where the folder cannot be used, each process counts by itself."""
    folder = tmp_path / "places"
    if request.param == "memory":
        folder.write_text("no folder")
    return Places(folder, clock=Clock())


def granted(*asked: Place) -> list[bool]:
    return [place.is_granted for place in asked]


def test_so_many_at_once_and_the_next_when_one_leaves(places: Places) -> None:
    called: list[str] = []
    one, two, three = (places.enter("key", "a", TWO) for _ in range(3))
    three.wait(lambda: called.append("three"))
    assert granted(one, two, three) == [True, True, False]
    one.leave()
    one.leave()
    assert granted(two, three) == [True, True]
    assert called == ["three"]
    other = places.enter("another", "a", TWO)
    assert other.is_granted


def test_tokens_take_turns(places: Places) -> None:
    holding = [places.enter("key", "a", TWO) for _ in range(2)]
    many = [places.enter("key", "a", Concurrency("narrow", 2, 100)) for _ in range(10)]
    few = [places.enter("key", "b", Concurrency("narrow", 2, 100)) for _ in range(2)]
    order: list[str] = []
    for number, place in enumerate(many):
        place.wait(lambda number=number: order.append(f"a{number}"))  # type: ignore[misc]
    for number, place in enumerate(few):
        place.wait(lambda number=number: order.append(f"b{number}"))  # type: ignore[misc]
    for place in (*holding, many[0], few[0], many[1], few[1]):
        place.leave()
    assert order == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_a_line_has_an_end(places: Places) -> None:
    asked = Concurrency("narrow", at_once=1, queue=2)
    one = places.enter("key", "a", asked)
    assert not places.is_full("key", asked)
    waiting = [places.enter("key", who, asked) for who in "ab"]
    assert places.is_full("key", asked)
    waiting[0].leave()
    assert not places.is_full("key", asked)
    none = Concurrency("narrow", at_once=1, queue=0)
    one.leave()
    waiting[1].leave()
    assert not places.is_full("key", none)
    again = places.enter("key", "a", none)
    assert again.is_granted
    assert places.is_full("key", none)


def test_who_leaves_the_line_is_not_called(places: Places) -> None:
    one, two, three = (places.enter("key", "a", Concurrency("narrow", 1, 9)) for _ in range(3))
    two.wait(lambda: pytest.fail("it has left"))
    two.leave()
    one.leave()
    assert three.is_granted


def test_another_process_has_no_more(tmp_path: Path) -> None:
    """Until this one gives its places back, also by its end."""
    program = (
        "import sys; from pathlib import Path; from metrion.control.places import Places\n"
        "from metrion.model.policies import Concurrency\n"
        "places = Places(Path(sys.argv[1])); asked = Concurrency('narrow', 2)\n"
        "both = [places.enter('key', 'a', asked) for _ in range(2)]\n"
        "print(*(each.is_granted for each in both), flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True True\n"
        clock = Clock()
        places = Places(tmp_path, clock=clock)
        mine = places.enter("key", "a", TWO)
        assert not mine.is_granted
        other.kill()
        other.wait()
    clock.now = 1.0
    assert mine.is_granted


def test_a_busy_process_lets_others_have_their_turn(tmp_path: Path) -> None:
    clock = Clock()
    places = Places(tmp_path, clock=clock)
    one = places.enter("key", "a", Concurrency("narrow", 1))
    two = places.enter("key", "a", Concurrency("narrow", 1))
    clock.now = 0.3
    one.leave()
    assert two.is_granted  # nobody else wanted it
