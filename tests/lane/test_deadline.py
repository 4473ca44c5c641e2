"""A deadline that is set again and again, and rings once."""

from __future__ import annotations

import asyncio

from metrion.lane.deadline import Deadline


async def rung(deadline: Deadline, rings: list[float], *settings: float | None) -> int:
    """Set it so, one after the other; return how often it has rung once the loop has come to all of it."""
    for seconds in settings:
        deadline.set(seconds)
    await asyncio.sleep(0.05)
    return len(rings)


def run(*settings: float | None) -> int:
    async def within() -> int:
        rings: list[float] = []
        deadline = Deadline(lambda: rings.append(1))
        count = await rung(deadline, rings, *settings)
        deadline.close()
        return count

    return asyncio.run(within())


def test_it_rings_once_when_it_is_due() -> None:
    assert run(0.0) == 1
    assert run(0.0, 0.01, 0.0) == 1


def test_it_does_not_ring_before_it_is_due_or_when_it_is_taken_back() -> None:
    assert run(10.0) == 0
    assert run(0.0, None) == 0
    assert run(0.0, 10.0) == 0
    assert run(10.0, 0.0) == 1


def test_a_closed_one_holds_nothing() -> None:
    async def within() -> None:
        rings: list[float] = []
        deadline = Deadline(lambda: rings.append(1))
        deadline.set(0.0)
        deadline.close()
        assert not deadline.is_set
        await asyncio.sleep(0.02)
        assert rings == []

    asyncio.run(within())
