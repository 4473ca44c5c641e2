"""What the pages of a dashboard need over a store of many events: the first view of a fresh process, then each click.

The store changes between two looks at a page, as it does under traffic, so that no answer is given twice.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmark.browser import FIRST_VIEW, PAGES, Browser, admin_token
from scripts.benchmark.results import Result
from scripts.benchmark.store_events import environment
from scripts.benchmark.system import BenchError, cpu_seconds, peak_megabytes
from tests.processes import METRION

MOST_FIRST_CPU = 2.0
"""Seconds of all threads: two cores need half as long."""
MOST_TAB_CPU = 0.6
MOST_MEGABYTES = 400
BOUNDS = {"first view, CPU": MOST_FIRST_CPU, "page, CPU": MOST_TAB_CPU, "dashboard, memory": MOST_MEGABYTES}

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_FRESH_SECONDS = 1.0
"""So long a dashboard gives the same answer again, whatever happens to the store."""


def measure(home: Path, rounds: int) -> Iterator[Result]:
    """See the module."""
    token = admin_token(home)
    firsts: list[tuple[float, float]] = []
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    most = 0.0
    for _ in range(rounds):
        with running_dashboard(home) as (port, process):
            browser = Browser(port, token)
            firsts.append(_taken(process, browser, FIRST_VIEW))
            for page in PAGES[1:]:
                os.utime(home / "usage.duckdb")
                took[page].append(_taken(process, browser, (page,)))
            time.sleep(_FRESH_SECONDS)
            os.utime(home / "usage.duckdb")
            took[PAGES[0]].append(_taken(process, browser, PAGES[:1]))
            browser.close()
            most = max(most, peak_megabytes(process.pid) or 0.0)
    for what, target, pairs in (("first view", "/", firsts), *(("page", page, took[page]) for page in PAGES)):
        yield Result(f"{what}, median", target, statistics.median(seconds for seconds, _ in pairs), "s")
        yield Result(f"{what}, CPU", target, min(cpu for _, cpu in pairs), "s")
    yield Result("dashboard, memory", "after every page", most, "MB")


def _taken(process: subprocess.Popen[str], browser: Browser, paths: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds until all of these were answered, and the CPU seconds of the dashboard meanwhile."""
    began, cpu = time.perf_counter(), cpu_seconds(process.pid) or 0.0
    for path in paths:
        browser.get(path)
    return time.perf_counter() - began, (cpu_seconds(process.pid) or 0.0) - cpu


@contextmanager
def running_dashboard(home: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run ``metrion dashboard`` for the length of the block; give its port and its process."""
    with subprocess.Popen(
        [*METRION, "dashboard", "--port", "0"],
        env=environment(home) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = _ADDRESS.search(line)
            if found is None:
                raise BenchError(f"the dashboard did not start: {line!r}")
            yield int(found[1]), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
