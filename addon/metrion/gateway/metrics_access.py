"""Decides who may read ``GET /metrics``: a request head in, a refusal out, or ``None`` for one that may. Fails closed.

Whoever is on this machine may. A request that came through another proxy is not from this machine, whatever address it
came from.
"""

from __future__ import annotations

import ipaddress

from metrion.admission.codes import INVALID_TOKEN, MISSING_TOKEN
from metrion.logs.access import address_of
from metrion.model import Inbound, Refusal

_WAY_OUT = "/metrics answers to this machine itself, not through another proxy; from elsewhere it needs an admin token."


def refusal_of_metrics(inbound: Inbound) -> Refusal | None:
    """Refuse a request for the metrics, unless it is from this machine."""
    names = {name.lower() for name, _ in inbound.headers}
    if _is_loopback(address_of(inbound.peer)) and not any(map(_is_of_a_proxy, names)):
        return None
    return Refusal(INVALID_TOKEN if b"authorization" in names else MISSING_TOKEN, _WAY_OUT)


def _is_of_a_proxy(name: bytes) -> bool:
    return name in (b"forwarded", b"via") or name.startswith(b"x-forwarded-")


def _is_loopback(address: str | None) -> bool:
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
