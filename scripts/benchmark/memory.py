"""The memory of a ``metrion serve`` of its own: all its processes, what they share counted once.

Idle; how much it grows over many requests, every other one streamed, and clients that hang up within a stream: the
most it held towards the end of the load, less the most it held towards its beginning; and with many streams open.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from scripts.benchmark.driver import Plan
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.system import pss_megabytes
from scripts.benchmark.targets import CONCURRENCY, SERVE, Fleet, Target, running

ROUNDS = 20
REQUESTS, FULL_REQUESTS = 4000, 100_000
HANG_UPS, FULL_HANG_UPS = 400, 10_000
OPEN = 1000
LONG_QUERY = "?chunks=1000&pace=500"

LOAD = "itself after {:,} requests, {:,} hang-ups"
FULL_LOAD = LOAD.format(FULL_REQUESTS, FULL_HANG_UPS)

IDLE = "memory, idle"
GROWN = "memory grown"
LOADED = "memory under load"
STREAMING = "memory with {:,} streams open"


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    requests, hang_ups = extent.count(REQUESTS, FULL_REQUESTS), extent.count(HANG_UPS, FULL_HANG_UPS)
    streams = extent.count(OPEN)
    address = f"http://127.0.0.1:{fleet.upstream.clear}"
    with running(fleet.folder, f"{SERVE}, for its memory", SERVE, address, fleet.upstream.certificate) as target:
        yield Result(IDLE, SERVE, _least(target, 30.0 if extent.full else extent.part(0.04)), "MB")
        rounds = extent.count(ROUNDS)
        after_rounds = [_after_round(target, -(-requests // rounds), -(-hang_ups // rounds)) for _ in range(rounds + 1)]
        held = [each for each in after_rounds[1:] if each is not None]  # the first is to warm up
        yield Result(
            GROWN, SERVE, max(held[-3:]) - max(held[:3]) if held else None, "MB", LOAD.format(requests, hang_ups)
        )
        yield Result(LOADED, SERVE, held[-1] if held else None, "MB")
        yield Result(STREAMING.format(streams), SERVE, _while_open(target, streams), "MB")
        target.check(fleet.upstream)


def _least(target: Target, seconds: float) -> float | None:
    """Return the least memory that is in use within so many seconds without a request."""
    held = [pss_megabytes(target.group)]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(min(0.5, seconds))
        held.append(pss_megabytes(target.group))
    return min((each for each in held if each is not None), default=None)


def _after_round(target: Target, requests: int, hang_ups: int) -> float | None:
    for stream in (False, True):
        target.drive(Plan(connections=CONCURRENCY, count=-(-requests // 2)), stream=stream)
    target.drive(Plan(connections=CONCURRENCY, count=hang_ups, hang_up=True), stream=True, query=LONG_QUERY)
    return pss_megabytes(target.group)


def _while_open(target: Target, streams: int) -> float | None:
    held: list[float | None] = []
    plan = Plan(connections=streams, count=streams, all_open=lambda: held.append(pss_megabytes(target.group)))
    target.drive(plan, stream=True, query=LONG_QUERY)
    return held[0]
