"""Streams at a model's pace through one worker: how many go on without a stall.

A stream has 64 deltas, 20 ms apart; a piece that comes 200 ms after the one before it is a stall. *Kept* streams are
each followed at once by the next; *burst* ones are all asked for at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.driver import Load, Plan
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.targets import DIRECT, SERVE, Fleet, Target

PACE_MS = 20
DELTAS = 64
STALL_SECONDS = 10 * PACE_MS / 1000
KEPT, BURST = 512, 1000
QUERY = f"?chunks={DELTAS + 3}&pace={PACE_MS}"
"""Beside the deltas there are the opening chunk, the one that says why it ended, and the usage."""

KEPT_STREAMS = "{:,} paced streams kept"
BURST_STREAMS = "{:,} paced streams in a burst"
STALLS = "{}, stalls"


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    kept, burst = extent.count(KEPT), extent.count(BURST)
    length = PACE_MS * DELTAS / 1000
    seconds = 30.0 if extent.full else extent.part(0.08)
    for name, for_seconds in ((DIRECT, min(seconds, length)), (SERVE, seconds)):
        target = fleet.get(name)
        load = target.drive(
            Plan(connections=kept, seconds=for_seconds, spread=min(seconds, length), stall=STALL_SECONDS),
            stream=True,
            query=QUERY,
        )
        yield from _results(KEPT_STREAMS.format(kept), target, load)
    for name in (DIRECT, SERVE):
        target = fleet.get(name)
        load = target.drive(Plan(connections=burst, count=burst, stall=STALL_SECONDS), stream=True, query=QUERY)
        yield from _results(BURST_STREAMS.format(burst), target, load)


def _results(measurement: str, target: Target, load: Load) -> Iterator[Result]:
    yield Result(STALLS.format(measurement), target.name, load.stalls, "")
    yield Result(f"{measurement}, longest gap", target.name, load.longest_gap * 1000, "ms")
    yield Result(f"{measurement}, longest wait for the first byte", target.name, load.longest_wait * 1000, "ms")
