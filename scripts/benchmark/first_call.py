"""The first call of a fresh client to a provider that is 40 ms and TLS away, from before it connects to its last byte.

Called directly, through a proxy that has no connection to the provider (*cold*), and through one that has (*warm*).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

from scripts.benchmark.driver import Caller
from scripts.benchmark.results import Extent, Result, median, ratios
from scripts.benchmark.targets import DIRECT, PATH, ROUND_TRIP, SERVE, Fleet, Target

FIRST_CALL = f"first call over {ROUND_TRIP * 1000:g} ms and TLS"
COLD, WARM = f"{SERVE}, cold", f"{SERVE}, warm"


def measure(fleet: Fleet, extent: Extent) -> Iterator[Result]:
    """See the module."""
    proxy = fleet.get(f"{SERVE} over a link")
    direct = Target(f"{DIRECT} over a link", fleet.link.port, PATH)
    certificate = ssl.create_default_context(cafile=str(fleet.upstream.certificate))
    took: dict[str, list[float]] = {DIRECT: [], COLD: [], WARM: []}
    _first_call(proxy)
    end = time.perf_counter() + extent.part(0.08)
    while time.perf_counter() < end or not took[WARM]:
        took[DIRECT].append(_first_call(direct, certificate))
        fleet.link.cut()
        took[COLD].append(_first_call(proxy))
        took[WARM].append(_first_call(proxy))
    for name, seconds in took.items():
        value = median(seconds)
        yield Result(FIRST_CALL, name, value * 1000 if value else None, "ms")
    yield from ratios(FIRST_CALL, took, [(COLD, DIRECT), (WARM, DIRECT)])


def _first_call(target: Target, tls: ssl.SSLContext | None = None) -> float:
    request = next(target.requests())
    started = time.perf_counter()
    caller = Caller(target.port, tls)
    caller.call(request)
    took = time.perf_counter() - started
    caller.close()
    return took
