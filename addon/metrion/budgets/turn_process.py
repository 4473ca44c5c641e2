"""The process of one count of the budgets. Run as ``python -m metrion.budgets.turn_process HOME [CONFIG]``.

It exits with 0, or with 1 where something could not be read; then it has said what.
"""

from __future__ import annotations

import sys
from contextlib import closing

from metrion import turns
from metrion.budgets.recount import recount, tidy
from metrion.control import ControlStore
from metrion.settings import Settings


def count(settings: Settings) -> None:
    """Count once, unless another process is at it.

    :raises MetrionError: something could not be read.
    """
    with closing(ControlStore.open(settings)) as control:
        budgets = control.budgets()
    if recount(settings, budgets):
        tidy(settings.budgets_dir, budgets)


if __name__ == "__main__":
    sys.exit(turns.take(count, niceness=5, failed="Budgets could not be counted"))
