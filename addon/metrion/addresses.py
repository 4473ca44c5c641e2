"""Addresses as text: what they are, and which are on the public Internet. Pure, and resolves no name.

Whoever connects must connect to an address that was checked here, and not resolve its name again.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

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


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own."""
    parsed = parsed_address(address or "")
    return parsed is not None and parsed.is_loopback


def parsed_address(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address; one of IPv4 that is written as one of IPv6 is the former. ``None``: it is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
