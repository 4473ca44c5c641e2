"""Starts the counts of budgets (:mod:`metrion.budgets.recount`), for as long as a proxy runs. A turn is a count.

A count is due at the start; when a process that used budgets has died; when somebody asks for one (a batch's results
came, prices were changed, a budget's file is missing); and from time to time while something is metered. Where there
are no budgets, nothing is started. Several proxies of one home share their counts by lock.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import closing, suppress

from metrion.budgets import ledger
from metrion.control import ControlStore
from metrion.errors import MetrionError
from metrion.model import Budget
from metrion.settings import Settings
from metrion.turns import Turns

_USUAL_SECONDS = 60.0
"""Between two counts while something is metered."""
_FIRST_SECONDS = 60.0
"""How long a start waits for the first count."""


class Counting(Turns):
    """See the module."""

    module = "metrion.budgets.turn_process"
    first_pause = 1.0
    longest_pause = 300.0
    unattended = "Budgets were not looked after"
    unstarted = "Budgets could not be counted"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._folder = settings.budgets_dir
        self._budgets: tuple[Budget, ...] = ()

    def count_first(self) -> None:
        """Count before the first request, where there are budgets: what a killed proxy held is let go of."""
        with suppress(MetrionError):  # `tend` tries again
            if self._any_work():
                self._begin()
                if self._process is not None:
                    with suppress(subprocess.TimeoutExpired):
                        self._note_end(self._process.wait(_FIRST_SECONDS))

    def _any_work(self) -> bool:
        if not self._settings.control_db.exists():  # nobody but a command makes a new one: an empty one knows no token
            return False
        if (control := self._control_stamp()) != self._control:
            with closing(ControlStore.open(self._settings)) as store:
                self._budgets = store.budgets()
            self._control = control
        return bool(self._budgets)

    def _is_due(self) -> bool:
        if self._is_urgent():
            return time.monotonic() >= self._ended_at + (self._pause if self._failures else 0.0)
        if self._journal_stands() and all(each.per in ("day", "month") for each in self._budgets):
            return False
        return time.monotonic() >= self._ended_at + max(_USUAL_SECONDS, self._pause)

    def _is_urgent(self) -> bool:
        if (self._folder / ledger.RECOUNT).exists() or ledger.the_dead(self._folder):
            return True
        return any(not os.path.exists(ledger.path_of(self._folder, each.id)) for each in self._budgets)  # noqa: PTH110 -- a string
