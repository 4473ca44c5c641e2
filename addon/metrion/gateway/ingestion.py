"""The one ingester of a proxy, kept alive by the process that owns it.

Owned by the supervisor of ``metrion serve``, or by the addon under any other mitmproxy. Puts on the scoreboard which
process ingests and how much of the journal waits, and begins the turns of the alerter and the counts of the budgets.
Everything here may take a moment: never call it on a proxy's event loop.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from metrion.errors import StoreError
from metrion.gateway.alerting import Alerting
from metrion.gateway.counting import Counting
from metrion.gateway.scoreboard import Scoreboard
from metrion.settings import Settings
from metrion.store import schema, spawn_ingester, wait_until_ready

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
"""How often the owner calls :meth:`Ingestion.tend`."""
_EARLY_SECONDS = 30.0
"""An ingester that ends sooner than this after its start has ended early, as one does that cannot read the store."""
_MOST_DELAY_SECONDS = 60.0
"""The longest time until the next ingester starts."""
_STORE_SECONDS = 600.0
"""How long the store may take to be ready: another process may be ingesting into it."""
_LAST_ROUND_SECONDS = 10.0
"""How long the end of the proxy waits for the ingester's: twice what that gives itself."""


class Ingestion:
    """See the module. Starts the ingester at once."""

    def __init__(self, settings: Settings, scoreboard: Scoreboard) -> None:
        self._settings = settings
        self._scoreboard = scoreboard
        self._alerting = Alerting(settings)
        self._counting = Counting(settings)
        self._deaths = 0
        """How many ingesters in a row ended within :data:`_EARLY_SECONDS`."""
        self._started_at = self._start_at = 0.0
        self._process = self._start()

    def wait_until_ready(self) -> None:
        """Wait until the store is there, with its view, and until budgets are counted where there are any.

        :raises StoreError: it cannot be made, or takes too long.
        """
        if self._process is None:
            raise StoreError("the ingester could not be started; see the message above")
        wait_until_ready(self._process, _STORE_SECONDS)
        self._counting.count_first()

    def tend(self) -> None:
        """Replace an ingester that has ended, one that ends early after a growing delay; count what waits for it."""
        process = self._process
        if process is not None and (status := process.poll()) is not None:
            self._scoreboard.set_ingester(None)
            self.close()
            self._process = None
            now = time.monotonic()
            self._deaths = self._deaths + 1 if now - self._started_at < _EARLY_SECONDS else 0
            delay = min(CHECK_SECONDS * 2**self._deaths, _MOST_DELAY_SECONDS) if self._deaths else 0.0
            self._start_at = now + delay
            self._scoreboard.set_ingester_deaths(self._deaths)
            when = f"in {delay:g} s" if delay else "now"
            logger.warning("The ingester ended with status %s; another starts %s.", status, when)
        if self._process is None and time.monotonic() >= self._start_at:
            self._process = self._start()
        elif self._process is not None and self._deaths and time.monotonic() - self._started_at >= _EARLY_SECONDS:
            self._deaths = 0
            self._scoreboard.set_ingester_deaths(0)
        self._scoreboard.set_backlog(*backlog(self._settings.journal_dir))
        self._alerting.tend()
        self._counting.tend()

    def close(self) -> None:
        """Let the ingester end by itself, after a last round."""
        for pipe in self._pipes():
            pipe.close()

    def end(self) -> None:
        """Wait for the ingester's last round, for as long as that may take; one that is stuck is left to itself."""
        self.close()
        self._alerting.end()
        self._counting.end()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_ROUND_SECONDS)

    def _pipes(self) -> Iterator[IO[bytes]]:
        process = self._process
        if process is not None:
            yield from (pipe for pipe in (process.stdin, process.stdout) if pipe is not None and not pipe.closed)

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            process = spawn_ingester(self._settings.journal_dir, self._settings.store_path)
        except OSError as error:  # out of processes or memory, which passes
            logger.error("The ingester could not be started (%s); the journal keeps everything until it can.", error)  # noqa: TRY400 -- says it all
            return None
        self._started_at = time.monotonic()
        self._scoreboard.set_ingester(process.pid)
        return process


def backlog(journal_dir: Path) -> tuple[int, int, float | None]:
    """Return how many segments wait in the journal, their bytes, and when the oldest was written to last."""
    waiting = _waiting(journal_dir)
    oldest = min((segment.st_mtime for segment in waiting), default=None)
    return len(waiting), sum(segment.st_size for segment in waiting), oldest


def _waiting(journal_dir: Path) -> list[os.stat_result]:
    found = []
    for segment in journal_dir.glob(schema.SEGMENTS):
        if segment.name != schema.SENTINEL:
            with suppress(FileNotFoundError):  # it has been ingested meanwhile
                found.append(segment.stat())
    return found
