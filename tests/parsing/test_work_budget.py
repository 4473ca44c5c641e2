"""What a body may cost those who read it."""

import pytest

from metrion.parsing.work_budget import EARNED, START, WorkBudget, WorkBudgetError


def test_what_is_left_can_be_spent_and_no_more() -> None:
    budget = WorkBudget()
    budget.spend(START)
    with pytest.raises(WorkBudgetError, match="the body takes too much work to read"):
        budget.spend(1)


def test_bytes_on_the_wire_earn_units() -> None:
    budget = WorkBudget(0)
    budget.earn(3)
    budget.spend(3 * EARNED)
    assert budget.left == 0
