"""The control store for whoever changes budgets: new ones are counted before anybody goes by them, and after.

Between the two counts every process has learnt of the budget, so nothing is missing in it from its first request on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from metrion.budgets.recount import recount
from metrion.control import ControlStore
from metrion.errors import StoreError
from metrion.model import Budget
from metrion.settings import Settings

_PATIENCE = 20.0
_POLL_SECONDS = 0.05


@contextmanager
def open_control(settings: Settings) -> Iterator[ControlStore]:
    """Open the control store for a block that may set budgets.

    :raises ControlError: it cannot be used.
    :raises StoreError: what is spent of a new budget cannot be counted; then it is not set.
    """
    new: list[Budget] = []

    def count(budgets: Sequence[Budget]) -> None:
        recount_patiently(settings, budgets)
        new.extend(budgets)

    with closing(ControlStore.open(settings)) as control:
        control.count = count
        yield control
    if new:
        recount_patiently(settings, new)


def recount_patiently(settings: Settings, budgets: Sequence[Budget]) -> None:
    """Count, once nobody else does.

    :raises StoreError: the store cannot be read, or somebody else counts for unusually long.
    """
    deadline = time.monotonic() + _PATIENCE
    while not recount(settings, budgets):
        if time.monotonic() > deadline:
            raise StoreError("another process has counted budgets for unusually long; try again")
        time.sleep(_POLL_SECONDS)
