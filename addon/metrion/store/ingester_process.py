"""The process that keeps the journal short. Run as ``python -m metrion.store.ingester_process JOURNAL STORE``.

While awake, it has DuckDB loaded and moves segments into the store (:mod:`metrion.store.ingester`). When there is
nothing to do for a while, it replaces itself with a fresh run of its own program (``exec``). That frees all memory, and
keeps its pid, its standard streams and the signals that it ignores. The fresh run dozes, without DuckDB, until a
segment has waited for a while or the store is gone. Readers see the journal anyway, so nobody waits for it to wake.

One ingester at a time works on a journal; others wait and take over. It lives until its standard input ends, ingests
what is there then, and ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from metrion.errors import StoreError
from metrion.logs.output import configure_ingester
from metrion.store import READY, is_there, locks, schema
from metrion.store.parent_watch import ParentWatch
from metrion.store.segments import any_sealed

_LOOK_SECONDS = 1.0
"""Between two looks at the journal while dozing, or at whether the ingester that is at work has gone."""
_WAKE_SECONDS = 10.0
"""How long a segment waits before the ingester wakes for it: waking takes a quarter of a second of a core."""
_LAST_TURN_SECONDS = 5.0
"""How long to wait for another ingester once the parent is gone."""


def main() -> None:
    """Make the store ready, then ingest and doze in turn until the parent is gone."""
    configure_ingester()
    journal_dir, store_path = map(Path, sys.argv[1:3])
    dozes = sys.argv[3:4] == [schema.version(journal_dir)]
    open_again_at = float(sys.argv[4]) if dozes else 0.0
    if not dozes:
        _make_ready(journal_dir, store_path)
    parent = ParentWatch()
    waiting_since = give_up = math.inf
    while time.monotonic() < give_up:
        with locks.alone(journal_dir / ".ingester.lock") as mine:
            if mine and dozes:
                waiting_since = min(waiting_since, time.monotonic()) if any_sealed(journal_dir) else math.inf
                due = waiting_since if parent.is_gone else max(waiting_since + _WAKE_SECONDS, open_again_at)
                dozes = time.monotonic() < due and is_there(store_path)
            if mine and not dozes:
                from metrion.store import ingester as intake  # here, since it loads DuckDB

                open_again_at = intake.run(intake.Ingester(journal_dir, store_path), parent)
        if parent.is_gone:
            if mine:
                return
            # The ingester that is at work takes this parent's segments too, unless it ends just now.
            give_up = min(give_up, time.monotonic() + _LAST_TURN_SECONDS)
        elif not dozes:
            _start_anew(schema.version(journal_dir), open_again_at)
        parent.wait(_LOOK_SECONDS)


def _make_ready(journal_dir: Path, store_path: Path) -> None:
    # Ctrl-C and a stop go to the whole process group. The proxy drains first; this process ingests once more after it.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.umask(0o077)
    os.nice(10)  # the event loop goes first
    from metrion.store import database

    try:
        database.initialise(journal_dir, store_path)
    except StoreError as error:
        sys.exit(f"metrion: {error}")
    with contextlib.suppress(BrokenPipeError):  # the proxy has ended already: its events are ingested all the same
        os.write(sys.stdout.fileno(), READY)


def _start_anew(ready_for: str, open_again_at: float) -> NoReturn:
    """Replace this process with a fresh run of this program, which dozes unless its view is not ``ready_for``'s."""
    known = [ready_for, str(open_again_at)]
    command = [sys.executable, "-P", "-m", "metrion.store.ingester_process", *sys.argv[1:3], *known]
    os.execv(sys.executable, command)  # noqa: S606 -- as it was started, no shell


if __name__ == "__main__":
    main()
