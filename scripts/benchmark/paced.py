"""Streams at a model's pace through one worker: how many go on without a stall.

A stream has 64 deltas, 20 ms apart; a piece that comes 200 ms after the one before it is a stall. *Kept* streams are
each followed at once by the next; *burst* ones are all asked for at the same moment. Where the direct ones stall too,
the machine is too busy: only what comes on top of them is the proxy's.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.driver import Plan
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.targets import DIRECT, SERVE, Fleet

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
    plans = {
        KEPT_STREAMS.format(kept): {
            name: Plan(connections=kept, seconds=for_seconds, spread=min(seconds, length), stall=STALL_SECONDS)
            for name, for_seconds in ((DIRECT, min(seconds, length)), (SERVE, seconds))
        },
        BURST_STREAMS.format(burst): dict.fromkeys(
            (DIRECT, SERVE), Plan(connections=burst, count=burst, stall=STALL_SECONDS)
        ),
    }
    for measurement, of_targets in plans.items():
        loads = {name: fleet.get(name).drive(plan, stream=True, query=QUERY) for name, plan in of_targets.items()}
        for name, load in loads.items():
            yield Result(STALLS.format(measurement), name, load.stalls, "")
            yield Result(f"{measurement}, longest gap", name, load.longest_gap * 1000, "ms")
            yield Result(f"{measurement}, longest wait for the first byte", name, load.longest_wait * 1000, "ms")
        added = max(0, loads[SERVE].stalls - loads[DIRECT].stalls)
        yield Result(STALLS.format(measurement), SERVE, added, "", DIRECT)
