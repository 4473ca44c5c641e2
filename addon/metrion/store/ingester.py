"""The ingester: the process that keeps the journal short. Run as ``python -m metrion.store.ingester JOURNAL STORE``.

Awake, it has DuckDB loaded and moves segments into the store (:mod:`metrion.store.intake`). With nothing to do for now
it runs its own program anew in its place, which frees all memory and keeps its pid, its standard streams and the
signals that it ignores. That one dozes without DuckDB until a segment has waited for a while. Readers see the journal
anyway, so nobody waits for it to wake.

One ingester at a time works on a journal, others wait and take over. It lives until its standard input ends, ingests
what is there then, and ends.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from metrion.errors import StoreError
from metrion.store import READY, locks, schema
from metrion.store.parent_watch import Parent
from metrion.store.segments import any_sealed

LOOK = 1.0
"""Seconds between two looks at the journal while dozing, or whether the ingester that is at work has gone."""
PATIENCE = 10.0
"""Seconds that a segment may wait before it is worth waking for: with a request every now and then, each time takes a
quarter of a second of a core."""
LAST_TURN = 5.0
"""Seconds to wait for another ingester once the parent is gone."""


def main() -> None:
    """Make the store ready, then ingest and doze in turn until the parent is gone."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    journal_dir, store_path = map(Path, sys.argv[1:3])
    dozes = sys.argv[3:4] == [schema.version(journal_dir)]
    open_again_at = float(sys.argv[4]) if dozes else 0.0
    if not dozes:
        _make_ready(journal_dir, store_path)
    parent = Parent()
    waiting_since = give_up = math.inf
    while time.monotonic() < give_up:
        with locks.alone(journal_dir / ".ingester.lock") as mine:
            if mine and dozes:
                waiting_since = min(waiting_since, time.monotonic()) if any_sealed(journal_dir) else math.inf
                due = waiting_since if parent.is_gone else max(waiting_since + PATIENCE, open_again_at)
                dozes = time.monotonic() < due
            if mine and not dozes:
                from metrion.store import intake  # here, since it loads DuckDB

                open_again_at = intake.run(intake.Ingester(journal_dir, store_path), parent)
        if parent.is_gone:
            if mine:
                return
            # The one that is at work has this parent's segments to take, too; or it ends now, and leaves them.
            give_up = min(give_up, time.monotonic() + LAST_TURN)
        elif not dozes:
            _start_anew(schema.version(journal_dir), open_again_at)
        parent.wait(LOOK)


def _make_ready(journal_dir: Path, store_path: Path) -> None:
    # A Ctrl-C or a stop goes to the whole group; the proxy drains first and this process outlives it by one ingest.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(10)  # the event loop goes first
    from metrion.store import database

    try:
        database.initialise(journal_dir, store_path)
    except StoreError as error:
        sys.exit(f"metrion: {error}")
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def _start_anew(ready_for: str, open_again_at: float) -> NoReturn:
    """Run this program in this process's place. It dozes at once, unless it knows another view than ``ready_for``."""
    known = [ready_for, str(open_again_at)]
    command = [sys.executable, "-P", "-m", "metrion.store.ingester", *sys.argv[1:3], *known]
    os.execv(sys.executable, command)  # noqa: S606 -- as it was started, no shell


if __name__ == "__main__":
    main()
