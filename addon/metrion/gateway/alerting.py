"""Starts the turns of the alerter, for as long as a proxy runs. A turn is a process that looks at the rules once.

Owned by whoever owns the ingester, and not by the ingester: it has to hear of one that is dead. Where there are no
rules, nothing is started, and a look at whether there are any is a ``stat`` of two files. Several proxies of one home
share their turns: a turn that begins too soon after another's ends at once. Never call it on a proxy's event loop.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from metrion.control.alerts import has_rules
from metrion.faults import log_fault
from metrion.settings import Settings

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 20.0
"""Between two turns, while something is metered."""
_IDLE_SECONDS = 60.0
"""Between two turns, while nothing is: messages may wait to be tried again, and silence is watched, too."""
_SHARE = 0.05
"""A turn takes at most this share of the time."""
_MOST_SECONDS = 600.0
"""The longest pause after turns that failed or took long."""
_END_SECONDS = 2.0


class Alerting:
    """See the module."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = self._ended_at = 0.0
        self._pause = 0.0
        """How long to wait at least after the last turn, by how it went."""
        self._failures = 0
        self._control: object = None
        self._journal: object = None
        self._has_rules = False

    def tend(self) -> None:
        """Begin a turn where one is due; note the end of the last one. Never raises: the proxy is worth more."""
        try:
            self._tend()
        except Exception as error:  # noqa: BLE001 -- see above
            log_fault(logger, "The alerter was not looked after", error)

    def _tend(self) -> None:
        if self._process is not None:
            if (status := self._process.poll()) is None:
                return
            self._process = None
            self._note_end(status)
        if not self._any_rules():
            return
        journal = _stamp(self._settings.journal_dir)
        usual = _IDLE_SECONDS if journal == self._journal else _BUSY_SECONDS
        if self._ended_at == 0.0 or time.monotonic() >= self._ended_at + max(usual, self._pause):
            self._journal = journal
            self._begin()

    def _note_end(self, status: int) -> None:
        self._ended_at = time.monotonic()
        self._failures = self._failures + 1 if status else 0
        after_failures = _BUSY_SECONDS * 2 ** min(self._failures, 8) if self._failures else 0.0
        took = self._ended_at - self._began_at
        self._pause = min(max(took / _SHARE, after_failures), _MOST_SECONDS)

    def end(self) -> None:
        """End a turn that is under way: what it has not sent is pending, and goes out at a later one."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)

    def _any_rules(self) -> bool:
        path = self._settings.control_db
        control = (_stamp(path), _stamp(path.with_name(f"{path.name}-wal")))
        if control != self._control:
            had_rules = self._has_rules
            self._control, self._has_rules = control, has_rules(self._settings)
            if self._has_rules and not had_rules:
                self._ended_at = 0.0  # the first rule is looked at at once
        return self._has_rules

    def _begin(self) -> None:
        package_parent = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
        config = self._settings.config_path
        command = [sys.executable, "-P", "-m", "metrion.alerts.turn_process", str(self._settings.home)]
        self._began_at = self._ended_at = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [*command, *([str(config)] if config else [])],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:  # out of processes or memory, which passes
            logger.error("The alerter could not be started (%s).", error)  # noqa: TRY400 -- says it all


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
