"""When a batch is due, who is in it, and who sees to it when somebody leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metrion.model.policies import Batching
from metrion.relay.batch import MOST_BYTES, MOST_TOKENS, Alone, Gathering, Seat
from metrion.relay.batch_bodies import Inputs

ASKED = Batching("b", milliseconds=5, inputs=4)
MANY = Batching("b", milliseconds=5, inputs=100)


def inputs(count: int = 1, *, size: int = 3, tokens: int = 0) -> Inputs:
    return Inputs(b"x" * size, count, tokens or size, bool(tokens), b"", (0, size))


class Room:
    """Where requests join, and what they are told."""

    def __init__(self, asked: Batching = ASKED) -> None:
        self.gathering, self.asked = Gathering(), asked
        self.turns: list[int] = []
        self.came = 0

    def __call__(self, at: float, what: Inputs | None = None) -> Seat:
        self.came += 1
        return self.gathering.join(b"key", what or inputs(), self.asked, at, self._turn(self.came))

    def _turn(self, number: int) -> Callable[[], None]:
        return lambda: self.turns.append(number)


@pytest.mark.parametrize(
    ("times", "due"),
    [
        ([0.0], 0.005),
        ([0.0, 0.004], 0.004 + 0.0055),
        ([0.0, 0.004, 0.008], 0.008 + 0.006),
        ([0.001 * n for n in range(91)], 0.09 + 0.05),
        ([0.003 * n for n in range(90)], 0.25),
    ],
)
def test_when_it_is_due(times: list[float], due: float) -> None:
    room = Room(MANY)
    batches = {room(at).batch for at in times}
    assert [batch.due for batch in batches] == [pytest.approx(due)]


def test_who_comes_after_many_waits_longer() -> None:
    room = Room(MANY)
    seats = [room(0.0) for _ in range(41)]
    batch = seats[0].batch
    batch.lead(seats[0], "one", 0.1)
    batch.finish([Alone("")] * 40)
    soon = room(0.2)
    assert soon.batch.due == pytest.approx(0.2 + 0.025)
    soon.leave()
    assert Gathering().join(b"key", inputs(), MANY, 0.2, lambda: None).batch.due == pytest.approx(0.205)
    assert room(5.0).batch.due == pytest.approx(5.005)


def test_one_that_is_full_is_due() -> None:
    room = Room()
    first, last = room(0.0, inputs(2)), room(0.001, inputs(2))
    assert first.batch is last.batch
    assert last.batch.due == 0.001
    first.batch.lead(last, "r", 0.001)
    assert (last.words, first.words) == ("r: 1 of 2", "r: 2 of 2")
    assert room(0.002).batch is not first.batch


@pytest.mark.parametrize(
    ("before", "more"),
    [
        (inputs(3), inputs(2)),
        (inputs(size=MOST_BYTES), inputs()),
        (inputs(tokens=MOST_TOKENS), inputs(tokens=1)),
    ],
)
def test_who_has_no_room_is_the_first_of_another(before: Inputs, more: Inputs) -> None:
    room = Room()
    first, second = room(0.0, before), room(0.001, more)
    assert first.batch is not second.batch
    assert (room.turns, first.batch.due) == ([1], 0.001)


def test_who_leaves_before_it_goes_out() -> None:
    room = Room()
    first, second, third = room(0.0), room(0.0), room(0.0)
    second.leave()
    assert room.turns == []
    first.leave()
    first.leave()
    assert (room.turns, first.batch.seats) == ([3], [third])
    third.leave()
    assert room(0.0).batch is not third.batch


def test_who_leaves_after_it_has_gone_out() -> None:
    room = Room()
    first, second, third = room(0.0), room(0.0), room(0.0)
    batch = first.batch
    batch.lead(first, "one", 1.0)
    second.leave()
    assert (room.turns, batch.is_led, len(batch.seats)) == ([], True, 3)
    first.leave()
    assert (room.turns, batch.is_led, batch.seats) == ([3], False, [third])
    assert room(1.0).batch is not batch


def test_what_comes_of_it() -> None:
    room = Room()
    first, second, third = room(0.0), room(0.0), room(0.0)
    first.batch.lead(second, "two", 1.0)
    first.leave()
    second.batch.finish([Alone("a"), Alone("b")])
    second.leave()
    assert (room.turns, third.outcome, first.outcome) == ([3], Alone("b"), Alone("a"))
