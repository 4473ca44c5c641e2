"""Requests/s with 16 in flight, and what the proxy's processes compute for one of them. The targets take turns."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.driver import Plan
from scripts.benchmark.others import LITELLM, NGINX, PORTKEY
from scripts.benchmark.results import Extent, Result, median, ratios
from scripts.benchmark.system import cpu_seconds
from scripts.benchmark.targets import (
    BARE,
    CONCURRENCY,
    DIRECT,
    OTHER_ROAD,
    SCRIPT,
    SERVE,
    TWO_WORKERS,
    UNMETERED,
    Fleet,
)

RATE = f"requests/s, {CONCURRENCY} in flight"
COST = "CPU per request"
BUSY = "cores at work"

TARGETS = (DIRECT, SERVE, OTHER_ROAD, UNMETERED, TWO_WORKERS, SCRIPT, BARE, NGINX, PORTKEY, LITELLM)
RATE_PAIRS = (
    (SERVE, BARE),
    (OTHER_ROAD, BARE),
    (SCRIPT, BARE),
    (SERVE, PORTKEY),
    (SERVE, LITELLM),
    (SERVE, NGINX),
    (SERVE, UNMETERED),
    (TWO_WORKERS, SERVE),
)
COST_PAIRS = ((SERVE, BARE), (OTHER_ROAD, BARE), (SCRIPT, BARE), (SERVE, UNMETERED))


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    targets = [target for name in TARGETS if (target := fleet.find(name))]
    seconds, rounds = extent.part(0.35), max(1, min(7, round(extent.seconds / 15)))
    rates: dict[str, list[float]] = {target.name: [] for target in targets}
    costs: dict[str, list[float]] = {target.name: [] for target in targets}
    busy: dict[str, list[float]] = {target.name: [] for target in targets}
    for target in targets:
        target.drive(Plan(connections=CONCURRENCY, seconds=seconds / rounds / len(targets) / 4))
    for _ in range(rounds):
        for target in targets:
            before = cpu_seconds(target.group)
            load = target.drive(Plan(connections=CONCURRENCY, seconds=seconds / rounds / len(targets)))
            after = cpu_seconds(target.group)
            rates[target.name].append(load.rate)
            if before is not None and after is not None:
                costs[target.name].append((after - before) / load.answered * 1000)
                busy[target.name].append((after - before) / load.seconds)
    for target in targets:
        yield Result(RATE, target.name, median(rates[target.name]), "1/s")
    yield from ratios(RATE, rates, RATE_PAIRS)
    for target in targets[1:]:
        yield Result(COST, target.name, median(costs[target.name]), "ms")
        yield Result(BUSY, target.name, median(busy[target.name]), "")
    yield from ratios(COST, costs, COST_PAIRS)
