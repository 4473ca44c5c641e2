"""Time to the first byte with one request in flight, on kept connections. The targets take turns at every request."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scripts.benchmark.driver import Caller
from scripts.benchmark.results import Extent, Result, median, percentile
from scripts.benchmark.targets import BARE, DIRECT, OTHER_ROAD, SCRIPT, SERVE, Fleet

DIRECTLY = "time to first byte, {}, median"
ADDED = "added time to first byte, {}, median"
ADDED_LATE = "added time to first byte, {}, p99"
KINDS = {"plain": False, "streamed": True}
"""Whether the requests of a kind are for streams."""
WARM = 20


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    targets = [fleet.get(name) for name in (DIRECT, SERVE, OTHER_ROAD, SCRIPT, BARE)]
    for kind, stream in KINDS.items():
        callers = {target.name: (Caller(target.port), target.requests(stream=stream)) for target in targets}
        samples: dict[str, list[float]] = {target.name: [] for target in targets}
        for caller, requests in callers.values():
            for _ in range(WARM):
                caller.call(next(requests))
        end = time.perf_counter() + extent.part(0.12) / len(KINDS)
        while time.perf_counter() < end or len(samples[DIRECT]) < WARM:
            for name, (caller, requests) in callers.items():
                samples[name].append(caller.call(next(requests))[0] * 1000)
        for caller, _ in callers.values():
            caller.close()
        direct = samples.pop(DIRECT)
        yield Result(DIRECTLY.format(kind), DIRECT, median(direct), "ms")
        added = {}
        for name, own in samples.items():
            pairs = [through - straight for through, straight in zip(own, direct, strict=True)]
            added[name] = median(pairs) or 0.0
            yield Result(ADDED.format(kind), name, added[name], "ms", DIRECT)
            late = percentile(own, 0.99) - percentile(direct, 0.99)
            yield Result(ADDED_LATE.format(kind), name, late, "ms", DIRECT)
        yield Result(ADDED.format(kind), SERVE, added[SERVE] / added[BARE], "ratio", BARE)
