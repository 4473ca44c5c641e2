"""Where a request comes from: its head in, an address out. What rules about networks go by."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from metrion.model import Inbound


def client_address(inbound: Inbound) -> IPv4Address | IPv6Address | None:
    """Return the address of whoever sent a request: the other end of its connection. ``None``: it has none."""
    peer = inbound.peer
    host = peer[0] if isinstance(peer, tuple) and peer else None
    if not isinstance(host, str):
        return None
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
