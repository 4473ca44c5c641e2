"""What starts the counts of budgets, beside a proxy."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.control import ControlStore
from metrion.gateway.counting import Counting
from metrion.model import Budget, picodollars
from metrion.settings import Settings


@pytest.mark.parametrize("had_budgets", [False, True])
def test_a_control_database_that_vanished_is_not_made_anew(had_budgets: bool, tmp_path: Path) -> None:
    """An empty one knows no token: its place is for the one that comes back."""
    settings = Settings(home=tmp_path)
    with closing(ControlStore.open(settings)) as control:
        if had_budgets:
            control.set_budget(Budget(0, "account", "default", picodollars(Decimal(5)), "day"))
    counting = Counting(settings)
    assert counting._any_work() == had_budgets
    for file in tmp_path.glob("control.db*"):
        file.rename(file.with_name(f"{file.name}.away"))
    counting.tend()
    assert counting._process is None
    assert list(tmp_path.glob("control.db")) == []
    counting.end()
