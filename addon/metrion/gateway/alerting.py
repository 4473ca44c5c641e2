"""Starts the turns of the alerter, for as long as a proxy runs. A turn looks at the rules once.

Where there are no rules, nothing is started. Several proxies of one home share their turns: a turn that begins too soon
after another's ends at once, and what one that is ended has not sent is pending, and goes out at a later one.
"""

from __future__ import annotations

import time

from metrion.control.alerts import has_rules
from metrion.settings import Settings
from metrion.turns import Turns

_BUSY_SECONDS = 20.0
"""Between two turns, while something is metered."""
_IDLE_SECONDS = 60.0
"""Between two turns, while nothing is: messages may wait to be tried again, and silence is watched, too."""


class Alerting(Turns):
    """See the module."""

    module = "metrion.alerts.turn_process"
    first_pause = _BUSY_SECONDS
    longest_pause = 600.0
    unattended = "The alerter was not looked after"
    unstarted = "The alerter could not be started"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._has_rules = False

    def _any_work(self) -> bool:
        if (control := self._control_stamp()) != self._control:
            had_rules = self._has_rules
            self._control, self._has_rules = control, has_rules(self._settings)
            if self._has_rules and not had_rules:
                self._ended_at = 0.0  # the first rule is looked at at once
        return self._has_rules

    def _is_due(self) -> bool:
        usual = _IDLE_SECONDS if self._journal_stands() else _BUSY_SECONDS
        return self._ended_at == 0.0 or time.monotonic() >= self._ended_at + max(usual, self._pause)
