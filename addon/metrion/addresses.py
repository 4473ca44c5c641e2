"""Addresses as text: which are on the public Internet, and which is a client's behind proxies. Resolves no name.

Whoever connects must connect to an address that was checked here, and not resolve its name again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from metrion.model import Inbound

type Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        # https://www.iana.org/assignments/iana-ipv4-special-registry, and multicast
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # https://www.iana.org/assignments/iana-ipv6-special-registry: those within 2000::/3, and what is outside of it
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
        "::/3", "4000::/2", "8000::/1",
    )
)  # fmt: skip
"""Loopback, private, link-local, shared, multicast, unspecified and reserved networks, and those whose addresses hold
an IPv4 address that could be one of these (mapped, NAT64, 6to4, Teredo)."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not any(parsed in network for network in _NOT_PUBLIC if network.version == parsed.version)


def address_of(peer: object) -> str | None:
    """Return the address of a socket's peer, as the system names it: a pair or more; ``None`` for anything else."""
    return str(peer[0]) if isinstance(peer, tuple) and peer else None


def client_address(inbound: Inbound, trusted: Networks) -> str | None:
    """Return the address that a request comes from: its peer's, or the one that proxies which are trusted saw.

    Each proxy adds its peer at the end of ``X-Forwarded-For``, so what counts is the rightmost address that is none of
    theirs; what stands before it is a client's word. At what is no address, the look ends with the proxy that sent it.
    """
    peer = address_of(inbound.peer)
    if not trusted or not is_within(peer, trusted):
        return peer
    seen = peer
    lines = [value for name, value in inbound.headers if name.lower() == b"x-forwarded-for"]
    for part in reversed(b",".join(lines).split(b",")):
        found = _parsed(_without_port(part.strip().decode("latin-1")))
        if found is None:
            return seen
        seen = str(found)
        if not is_within(seen, trusted):
            return seen
    return seen


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own."""
    parsed = _parsed(address or "")
    return parsed is not None and parsed.is_loopback


def is_within(address: str | None, networks: Networks) -> bool:
    """Whether an address is in one of these networks."""
    parsed = _parsed(address or "")
    return parsed is not None and any(parsed in each for each in networks if each.version == parsed.version)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; one of IPv4 that is written as one of IPv6 is the former."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def _without_port(text: str) -> str:
    """Leave out the port that some proxies add, and the brackets of IPv6."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, _ = text.partition(":")
    return host if text.count(":") == 1 and colon else text
