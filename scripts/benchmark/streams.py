"""What the proxy's processes compute for a stream of 202 chunks, 16 streams in flight, the upstream in clear or TLS.

The upstream writes each chunk by itself, as providers do; the ratio says how many times less the first computes.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.driver import Plan
from scripts.benchmark.messages import STREAM_CHUNKS
from scripts.benchmark.results import Extent, Result, median, ratios
from scripts.benchmark.system import cpu_seconds
from scripts.benchmark.targets import BARE, CONCURRENCY, OTHER_ROAD, SCRIPT, SERVE, Fleet

COST = f"CPU per stream of {STREAM_CHUNKS} chunks, {{}}"
RATE = f"streams of {STREAM_CHUNKS} chunks/s, {{}}"
UPSTREAMS = {"in clear": ("", (SERVE, OTHER_ROAD, SCRIPT, BARE)), "over TLS": (" over TLS", (SERVE, BARE))}
"""How the upstream is spoken to: what the targets' names end with, and who is compared."""


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    rounds = max(1, min(5, round(extent.seconds / 20)))
    for how, (suffix, names) in UPSTREAMS.items():
        targets = {name: fleet.get(name + suffix) for name in names}
        costs: dict[str, list[float]] = {name: [] for name in names}
        rates: dict[str, list[float]] = {name: [] for name in names}
        slice_seconds = extent.part(0.09) / rounds / len(names)
        for target in targets.values():
            target.drive(Plan(connections=CONCURRENCY, count=CONCURRENCY), stream=True)
        for _ in range(rounds):
            for name, target in targets.items():
                before = cpu_seconds(target.group)
                load = target.drive(Plan(connections=CONCURRENCY, seconds=slice_seconds), stream=True)
                after = cpu_seconds(target.group)
                rates[name].append(load.rate)
                if before is not None and after is not None:
                    costs[name].append((after - before) / load.answered * 1000)
        for name in names:
            yield Result(COST.format(how), name, median(costs[name]), "ms")
            yield Result(RATE.format(how), name, median(rates[name]), "1/s")
        yield from ratios(COST.format(how), costs, [(BARE, SERVE), (BARE, OTHER_ROAD), (BARE, SCRIPT)])
