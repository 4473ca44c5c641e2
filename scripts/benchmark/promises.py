"""What ``--check`` asserts: bounds on figures of one run, nearly all of them ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.benchmark import (
    budgets,
    first_call,
    flows,
    latency,
    memory,
    metering,
    paced,
    sendings,
    streams,
    taps,
    throughput,
)
from scripts.benchmark.others import LITELLM, PORTKEY
from scripts.benchmark.results import Result
from scripts.benchmark.targets import BARE, DIRECT, SCRIPT, SERVE, TWO_WORKERS, UNMETERED

ADDED_MS = 0.5
TAP_US = 5.0
TAP_MEGABYTES = 1.0
BUDGET = 1.2
"""Of the 204 µs that metering a request takes on a quiet machine, 40 more."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound. A figure of several targets (``target`` is empty) is held by its worst."""

    text: str
    measurement: str
    target: str
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def is_kept(self, value: float) -> bool:
        """Whether a figure is within the bound."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and whether this run kept it."""

    promise: str
    value: float
    kept: bool


PROMISES = (
    Promise("serve / bare mitmdump, requests/s", throughput.RATE, SERVE, BARE, at_least=5),
    Promise("serve / Portkey, requests/s", throughput.RATE, SERVE, PORTKEY, at_least=2.5),
    Promise("serve / LiteLLM, requests/s", throughput.RATE, SERVE, LITELLM, at_least=40),
    Promise("serve / serve that does not meter, requests/s", throughput.RATE, SERVE, UNMETERED, at_least=0.45),
    Promise("mitmdump -s / bare mitmdump, requests/s", throughput.RATE, SCRIPT, BARE, at_least=0.9),
    Promise("2 workers / 1 worker, requests/s", throughput.RATE, TWO_WORKERS, SERVE, at_least=1.3),
    Promise("metering by itself, new / old, CPU", metering.COSTS["plain"], metering.NOW, metering.BEFORE, at_most=0.38),
    *(
        Promise(f"bare mitmdump / serve, CPU per stream {how}", streams.COST.format(how), BARE, SERVE, at_least=3.5)
        for how in streams.UPSTREAMS
    ),
    *(
        promise
        for kind in latency.KINDS
        for promise in (
            Promise(f"ms added to the first byte, {kind}", latency.ADDED.format(kind), SERVE, DIRECT, at_most=ADDED_MS),
            Promise(f"the same / bare mitmdump's, {kind}", latency.ADDED.format(kind), SERVE, BARE, at_most=1),
        )
    ),
    Promise(
        "stalls of 512 paced streams",
        paced.STALLS.format(paced.KEPT_STREAMS.format(paced.KEPT)),
        SERVE,
        DIRECT,
        at_most=0,
    ),
    Promise(
        "stalls of 1,000 in a burst",
        paced.STALLS.format(paced.BURST_STREAMS.format(paced.BURST)),
        SERVE,
        DIRECT,
        at_most=0,
    ),
    Promise("first call, cold / direct", first_call.FIRST_CALL, first_call.COLD, DIRECT, at_most=1.15),
    Promise("first call, warm / direct", first_call.FIRST_CALL, first_call.WARM, DIRECT, at_most=0.5),
    Promise("MB of all processes, idle", memory.IDLE, SERVE, at_most=120),
    Promise("MB grown", memory.GROWN, SERVE, memory.FULL_LOAD, at_most=10),
    Promise("MB with 1,000 open streams", memory.STREAMING.format(memory.OPEN), SERVE, at_most=300),
    Promise("µs to read a chunk without usage, slowest format", taps.QUIET, "", at_most=TAP_US),
    Promise("metering with a budget / without", budgets.COST, budgets.TARGET, budgets.WITHOUT, at_most=BUDGET),
    Promise("relay without policies / one that knows none", sendings.COST, sendings.OFF, sendings.PLAIN, at_most=1.1),
    Promise("relay with retries / one that knows none", sendings.COST, sendings.RETRIES, sendings.PLAIN, at_most=1.25),
    Promise("µs for a hit of the cache", sendings.COST, sendings.HIT, at_most=1000),
    Promise("MB of mitmweb, at its most", flows.PEAK, flows.MITMWEB, at_most=flows.MOST_MEGABYTES),
    Promise("MB held of a response of 10 MB", taps.HELD, "", at_most=TAP_MEGABYTES),
)


def check(results: Sequence[Result], promises: Sequence[Promise] = PROMISES) -> list[Check]:
    """Compare the figures with the promises. A promise about a figure that was not measured is left out."""
    checks = []
    for promise in promises:
        values = [one.value for one in results if _is_of(promise, one) and one.value is not None]
        if values:
            worst = max(values) if promise.at_least is None else min(values)
            checks.append(Check(_worded(promise), worst, promise.is_kept(worst)))
    return checks


def _is_of(promise: Promise, result: Result) -> bool:
    return (
        result.measurement == promise.measurement
        and result.against == promise.against
        and promise.target in ("", result.target)
    )


def _worded(promise: Promise) -> str:
    bounds = {"at least": promise.at_least, "at most": promise.at_most}
    return f"{promise.text}: " + ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
