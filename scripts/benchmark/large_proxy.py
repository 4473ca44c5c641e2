"""What callers of the proxy notice of ten browsers that walk through the dashboard beside it, over many events.

Callers send at an even pace, and a time is from when a request was due. The browsers come and go in turns, so that
whatever else the machine does meets both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmark.browser import admin_token, walking
from scripts.benchmark.driver import Caller
from scripts.benchmark.large_pages import running_dashboard
from scripts.benchmark.results import Result, percentile
from scripts.benchmark.targets import PATH, PLANS, Target
from scripts.benchmark.upstream import running_upstream
from tests.processes import running_serve

BROWSERS = 10
PAUSE = 1.0
"""Seconds between two clicks of one of them."""
_PACE = 0.01
_ROUNDS = 4
_WARM = 100
_ALONE, _BESIDE = "serve", "serve, ten browsers at its dashboard"
MOST_RATIO = 1.1
RATIO = "p99 with browsers / without, median of rounds"
BOUNDS = {RATIO: MOST_RATIO}


def measure(home: Path, seconds: float) -> Iterator[Result]:
    """See the module."""
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    pages: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running_upstream(Path(folder) / "certificate") as upstream:
        config = {"providers": {"openai": {"upstream": f"http://127.0.0.1:{upstream.clear}"}}} | PLANS
        # The dashboard is the process that `metrion serve --dashboard` starts, on a port of its own.
        with running_serve(home, config) as proxy, running_dashboard(home) as (port, _):
            fields = {"authorization": f"Bearer {proxy.token}"}
            target = Target(_ALONE, proxy.port, f"/openai{PATH}", fields, proxy.process.pid)
            caller, requests, token = Caller(proxy.port), target.requests(), admin_token(home)
            for _ in range(_WARM):
                caller.call(next(requests))
            for _ in range(_ROUNDS):
                alone.append(_paced(caller, requests, seconds / _ROUNDS / 2))
                with walking(port, token, BROWSERS, PAUSE) as seen:
                    beside.append(_paced(caller, requests, seconds / _ROUNDS / 2))
                pages += seen
            caller.close()
    late = {name: [percentile(each, 0.99) for each in rounds] for name, rounds in ((_ALONE, alone), (_BESIDE, beside))}
    for name, rounds in ((_ALONE, alone), (_BESIDE, beside)):
        yield Result("request, median", name, statistics.median(one for each in rounds for one in each) * 1000, "ms")
        yield Result("request, p99", name, statistics.median(late[name]) * 1000, "ms")
    yield Result(RATIO, _ALONE, statistics.median(late[_BESIDE]) / statistics.median(late[_ALONE]), "ratio")
    yield Result("page beside a load, median", f"{len(pages)} pages", statistics.median(pages) if pages else 0.0, "s")


def _paced(caller: Caller, requests: Iterator[bytes], seconds: float) -> list[float]:
    """Send at the pace for so long; return what each request took from when it was due."""
    took = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        caller.call(next(requests))
        took.append(time.perf_counter() - due)
        due = max(due + _PACE, time.perf_counter())
    return took
