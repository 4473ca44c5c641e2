"""The memory of a mitmweb with the addon while many requests pass through it, with their bodies, as people run it.

Every other one is streamed. What mitmweb keeps is bounded (:mod:`metrion.proxy.old_flows`).
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.benchmark.driver import Plan
from scripts.benchmark.results import Extent, Result
from scripts.benchmark.system import peak_megabytes
from scripts.benchmark.targets import CONCURRENCY, PATH, Fleet, Target
from tests.proxy.mitmweb import running_mitmweb

FLOWS, FULL_FLOWS = 4000, 100_000
_LOTS = 10
_SHORT = "?chunks=10"
MOST_MEGABYTES = 400

MITMWEB = "mitmweb -s"
PEAK = "memory of mitmweb, at its most"
KEPT = "flows that mitmweb keeps"


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    flows = extent.count(FLOWS, FULL_FLOWS)
    address = f"http://127.0.0.1:{fleet.upstream.clear}"
    with running_mitmweb(fleet.folder / "mitmweb", address, "--set", "store_streamed_bodies=true") as web:
        fields = {"authorization": f"Bearer {web.proxy.token}"}
        process = web.proxy.process.pid
        target = Target(MITMWEB, web.proxy.port, f"/openai{PATH}", fields, process, web.proxy)
        for lot in range(_LOTS):
            count = (lot + 1) * flows // _LOTS - lot * flows // _LOTS
            for stream, part in ((False, count - count // 2), (True, count // 2)):
                if part:
                    target.drive(Plan(connections=min(part, CONCURRENCY), count=part), stream=stream, query=_SHORT)
        yield Result(PEAK, MITMWEB, peak_megabytes(process), "MB")
        yield Result(KEPT, MITMWEB, float(len(web.flows())), "flows")
        target.check(fleet.upstream)
