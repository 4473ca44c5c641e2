"""Starts the counts of budgets (:mod:`metrion.budgets.recount`), for as long as a proxy runs. Each is a process.

A count is due at the start; when a process that used budgets has died; when somebody asks for one (a batch's results
came, prices were changed, a budget's file is missing); and from time to time while something is metered. Where there
are no budgets, nothing is started, and a look at whether there are any is a ``stat`` of two files. Several proxies of
one home share their counts by lock. Never call it on a proxy's event loop.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

from metrion.budgets import ledger
from metrion.control import ControlStore
from metrion.errors import MetrionError
from metrion.faults import log_fault
from metrion.model import Budget
from metrion.settings import Settings

logger = logging.getLogger(__name__)

_USUAL_SECONDS = 60.0
"""Between two counts while something is metered."""
_SHARE = 0.05
"""A count that nothing urges takes at most this share of the time."""
_MOST_SECONDS = 300.0
"""The longest pause after counts that failed."""
_FIRST_SECONDS = 60.0
"""How long a start waits for the first count."""
_END_SECONDS = 2.0


class Counting:
    """See the module."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.budgets_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = self._ended_at = 0.0
        self._pause = 0.0
        self._failures = 0
        self._control: object = None
        self._budgets: tuple[Budget, ...] = ()
        self._seen: object = None
        self._journal: object = None

    def count_first(self) -> None:
        """Count before the first request, where there are budgets: what a killed proxy held is let go of."""
        with suppress(MetrionError):  # `tend` tries again
            if self._any():
                self._begin()
                if self._process is not None:
                    with suppress(subprocess.TimeoutExpired):
                        self._note_end(self._process.wait(_FIRST_SECONDS))

    def tend(self) -> None:
        """Begin a count where one is due; note the end of the last one. Never raises: the proxy is worth more."""
        try:
            self._tend()
        except Exception as error:  # noqa: BLE001 -- see above
            log_fault(logger, "Budgets were not looked after", error)

    def end(self) -> None:
        """End a count that is under way: it changes nothing by half."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)

    def _tend(self) -> None:
        if self._process is not None:
            if (status := self._process.poll()) is None:
                return
            self._note_end(status)
        if not self._any():
            return
        now = time.monotonic()
        if self._is_urgent():
            due = self._ended_at + (self._pause if self._failures else 0.0)
        else:
            journal = _stamp(self._settings.journal_dir)
            is_idle = journal == self._journal and all(each.per in ("day", "month") for each in self._budgets)
            due = float("inf") if is_idle else self._ended_at + max(_USUAL_SECONDS, self._pause)
        if now >= due:
            self._begin()

    def _is_urgent(self) -> bool:
        if (self._folder / ledger.RECOUNT).exists() or ledger.the_dead(self._folder):
            return True
        return any(not os.path.exists(ledger.path_of(self._folder, each.id)) for each in self._budgets)  # noqa: PTH110 -- a string

    def _note_end(self, status: int) -> None:
        self._process = None
        self._ended_at = time.monotonic()
        self._failures = self._failures + 1 if status else 0
        after_failures = 2.0 ** min(self._failures, 9) if self._failures else 0.0
        self._pause = min(max((self._ended_at - self._began_at) / _SHARE, after_failures), _MOST_SECONDS)

    def _any(self) -> bool:
        path = self._settings.control_db
        control = (_stamp(path), _stamp(path.with_name(f"{path.name}-wal")))
        if control != self._control:
            with closing(ControlStore.open(self._settings)) as store:
                self._budgets = store.budgets()
            self._control = control
        return bool(self._budgets)

    def _begin(self) -> None:
        package_parent = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
        config = self._settings.config_path
        command = [sys.executable, "-P", "-m", "metrion.budgets.turn_process", str(self._settings.home)]
        self._began_at = self._ended_at = time.monotonic()
        self._journal = _stamp(self._settings.journal_dir)
        try:
            self._process = subprocess.Popen(
                [*command, *([str(config)] if config else [])],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:  # out of processes or memory, which passes
            logger.error("Budgets could not be counted (%s).", error)  # noqa: TRY400 -- says it all


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
