"""Decides on blind tunnels to hosts that are no provider's: the head of a CONNECT in; a tunnel or a refusal out.

There are none unless ``intercept.others`` is ``tunnel``. A tunnel needs a valid token, a listed port, a host that is no
provider's in any spelling, and an address on the public Internet that no provider's host has. Whoever connects must
connect to an address that was checked here, and not resolve the name again. Pure: names are resolved elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from metrion.admission.access_snapshot import AccessSnapshot
from metrion.admission.authentication import tunnel_identity
from metrion.admission.codes import NOT_A_PROVIDER, PROXY_TOKEN_INVALID, PROXY_TOKEN_MISSING
from metrion.model import Inbound, Origin, Refusal
from metrion.providers import PROVIDERS

_CHALLENGE = ((b"proxy-authenticate", b'Basic realm="Metrion"'),)


@dataclass(frozen=True, slots=True)
class BlindTunnel:
    """A CONNECT that may become a blind tunnel, if its host has an address for one."""

    host: str
    port: int


def admit_blind(
    inbound: Inbound, origin: Origin, access: AccessSnapshot, ports: Collection[int], hosts: Iterable[str]
) -> BlindTunnel | Refusal:
    """Decide on a CONNECT to an origin that is no provider's as it is written. ``hosts`` are those of the providers."""
    wrong = tunnel_identity(inbound, access)
    if wrong is not None:
        kind = PROXY_TOKEN_INVALID if wrong else PROXY_TOKEN_MISSING
        message = wrong or "No Metrion token for this tunnel: set HTTPS_PROXY to http://TOKEN@HOST:PORT of this proxy."
        return Refusal(kind, message, headers=_CHALLENGE)
    if is_providers(origin.host, hosts):
        message = f"{origin.host} is a provider's host, and no request to it passes unmetered. Write it as it is known."
        return Refusal(NOT_A_PROVIDER, message)
    if origin.port not in ports:
        listed = ", ".join(map(str, ports))
        message = f"No tunnel to port {origin.port}: `intercept.ports` in metrion.yaml lists {listed or 'none'}."
        return Refusal(NOT_A_PROVIDER, message)
    return BlindTunnel(origin.host, origin.port)


def no_address(tunnel: BlindTunnel, why: str) -> Refusal:
    """Refuse a tunnel whose host has no address to connect to."""
    return Refusal(NOT_A_PROVIDER, f"No tunnel to {tunnel.host}: {why}.")


def is_providers(host: str, hosts: Iterable[str]) -> bool:
    """Whether a host is one of these, or an endpoint of a provider's that keeps to one region, however it is spelt."""
    name = _plain(host)
    if any(entry.regional_hosts and entry.regional_hosts.fullmatch(name) for entry in PROVIDERS.values()):
        return True
    return name in {_plain(each) for each in hosts}


def _plain(host: str) -> str:
    """Return a name in lower case, without the dot of the root, as it is looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii").rstrip(".")
    except UnicodeError:
        return name
