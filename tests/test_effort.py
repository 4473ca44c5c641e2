"""What a body may cost those who read it."""

import pytest

from metrion.effort import EARNED, START, Effort, OverworkError


def test_what_is_left_can_be_spent_and_no_more() -> None:
    effort = Effort()
    effort.spend(START)
    with pytest.raises(OverworkError, match="the body takes too much work to read"):
        effort.spend(1)


def test_bytes_on_the_wire_earn_effort() -> None:
    effort = Effort(0)
    effort.earn(3)
    effort.spend(3 * EARNED)
    assert effort.left == 0
