"""Where a request comes from: its head in, an address out. What rules about networks and the access log go by."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from metrion.addresses import address_of, parsed_address
from metrion.model import Inbound

type _Address = IPv4Address | IPv6Address


def client_address(inbound: Inbound) -> _Address | None:
    """Return the address of whoever sent a request: the other end of its connection, or whom trusted proxies saw.

    Each proxy adds its peer at the end of ``X-Forwarded-For``, so what counts is the rightmost address that is none of
    theirs; what stands before it is a client's word. At what is no address, the look ends with the proxy that sent it.
    ``None``: it has none.
    """
    seen = parsed_address(address_of(inbound.peer) or "")
    if not inbound.trusted_proxies or seen is None or not _is_trusted(seen, inbound):
        return seen
    lines = [value for name, value in inbound.headers if name.lower() == b"x-forwarded-for"]
    for part in reversed(b",".join(lines).split(b",")):
        before = parsed_address(_without_port(part.strip().decode("latin-1")))
        if before is None:
            return seen
        seen = before
        if not _is_trusted(seen, inbound):
            return seen
    return seen


def _is_trusted(address: _Address, inbound: Inbound) -> bool:
    return any(address in each for each in inbound.trusted_proxies if each.version == address.version)


def _without_port(text: str) -> str:
    """Leave out the port that some proxies add, and the brackets of IPv6."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, _ = text.partition(":")
    return host if text.count(":") == 1 and colon else text
