"""Turns of some work beside a proxy: each is a process, one comes after the other, and they take a small share of time.

:class:`Turns` is for whoever owns the ingester, and not for the ingester: it has to hear of one that is dead. Where
there is nothing to do, no process is started, and a look at whether there is anything is a ``stat`` of two files. Never
call it on a proxy's event loop. :func:`take` is what such a process does.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from metrion.errors import MetrionError
from metrion.faults import log_fault
from metrion.logs.output import configure_ingester
from metrion.settings import Settings, load_settings

logger = logging.getLogger(__name__)

_SHARE = 0.05
"""A turn that nothing urges takes at most this share of the time."""
_END_SECONDS = 2.0
_LONGEST_SECONDS = 120
"""However it goes, a turn ends after this: what hangs leaves nothing behind."""


class Turns(ABC):
    """See the module."""

    module: ClassVar[str]
    """What a turn runs, as ``python -m MODULE HOME [CONFIG]``."""
    first_pause: ClassVar[float]
    """Half of the pause in seconds after the first turn that failed; it doubles with each one after it."""
    longest_pause: ClassVar[float]
    """The longest pause in seconds after turns that failed or took long."""
    unattended: ClassVar[str]
    """What a log says of a fault here."""
    unstarted: ClassVar[str]
    """What it says where no process can be started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = self._ended_at = 0.0
        self._pause = 0.0
        """How long to wait at least after the last turn, by how it went."""
        self._failures = 0
        self._control: object = None
        """The stamp of the control database that was looked at last."""
        self._journal: object = None

    @abstractmethod
    def _any_work(self) -> bool:
        """Whether there is anything to do, looked at anew only where :meth:`_control_stamp` is another."""

    @abstractmethod
    def _is_due(self) -> bool:
        """Whether a turn is to begin now."""

    def tend(self) -> None:
        """Begin a turn where one is due; note the end of the last one. Never raises: the proxy is worth more."""
        try:
            self._tend()
        except Exception as error:  # noqa: BLE001 -- see above
            log_fault(logger, self.unattended, error)

    def end(self) -> None:
        """End a turn that is under way: it leaves nothing half done."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)

    def _tend(self) -> None:
        if self._process is not None:
            if (status := self._process.poll()) is None:
                return
            self._note_end(status)
        if self._any_work() and self._is_due():
            self._begin()

    def _note_end(self, status: int) -> None:
        self._process = None
        self._ended_at = time.monotonic()
        self._failures = self._failures + 1 if status else 0
        after_failures = self.first_pause * 2 ** min(self._failures, 9) if self._failures else 0.0
        took = self._ended_at - self._began_at
        self._pause = min(max(took / _SHARE, after_failures), self.longest_pause)

    def _control_stamp(self) -> object:
        """Return what tells a state of the control database from another."""
        path = self._settings.control_db
        return _stamp(path), _stamp(path.with_name(f"{path.name}-wal"))

    def _journal_stands(self) -> bool:
        """Whether nothing was metered since the last turn began."""
        return _stamp(self._settings.journal_dir) == self._journal

    def _begin(self) -> None:
        package_parent = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
        config = self._settings.config_path
        command = [sys.executable, "-P", "-m", self.module, str(self._settings.home)]
        self._began_at = self._ended_at = time.monotonic()
        self._journal = _stamp(self._settings.journal_dir)
        try:
            self._process = subprocess.Popen(
                [*command, *([str(config)] if config else [])],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:  # out of processes or memory, which passes
            logger.error("%s (%s).", self.unstarted, error)  # noqa: TRY400 -- says it all


def take(work: Callable[[Settings], object], *, niceness: int, failed: str) -> int:
    """Do the work of one turn, in its process; return its exit status. ``failed``: how the word of an error begins."""
    signal.alarm(_LONGEST_SECONDS)  # unhandled, it ends the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to the whole group: an end without a traceback
    configure_ingester()
    os.umask(0o077)
    os.nice(niceness)  # traffic goes first
    home, *config = sys.argv[1:3]
    try:
        work(load_settings(Path(config[0]) if config else None, {**os.environ, "METRION_HOME": home}))
    except MetrionError as error:
        logger.error("%s: %s", failed, error)  # noqa: TRY400 -- says it all
        return 1
    return 0


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
