"""Asks whatever listens where a proxy would: whether it is Metrion, and which home it serves.

In: an address. Out: what its ``GET /health`` says, or that it is something else, or that nobody is there. Sends no
credential, waits a moment only, and never raises for what the other side does.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from metrion.control import serves_home
from metrion.settings import Settings

_MOMENT = 0.5
"""Seconds: for commands that have something else to do."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not listened on


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """What listens at an address."""

    url: str
    health: Mapping[str, object] | None
    """What it reports; ``None``: it is not Metrion."""
    said: str = ""
    """What it did instead."""

    def serves(self, settings: Settings) -> bool | None:
        """Whether it serves this home; ``None``: it does not say."""
        return None if self.health is None else serves_home(self.health, settings)


def find(host: str, port: int, timeout: float = _MOMENT) -> RunningProxy | None:
    """Ask what listens at an address; ``None``: nothing does."""
    host = _EVERYWHERE.get(host, host)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    said = ""
    for scheme in ("http", "https"):
        try:
            status, body = _health(scheme, host, port, timeout)
        except ConnectionRefusedError:
            return None
        except TimeoutError:
            return RunningProxy(f"http://{authority}", None, "it does not answer")
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = said or type(error).__name__
            continue
        health = None
        with suppress(ValueError):
            health = json.loads(body) if status == 200 else None
        if isinstance(health, dict) and "in_flight" in health:
            return RunningProxy(f"{scheme}://{authority}", health)
        said = f"it said {status}"
    return RunningProxy(f"http://{authority}", None, said)


def local_address(settings: Settings) -> str:
    """Return where, on this machine, the proxy is to be found that the configuration names."""
    return f"{_EVERYWHERE.get(settings.listen_host, settings.listen_host)}:{settings.listen_port}"


def other_home(settings: Settings) -> str | None:
    """Return a sentence where the proxy that the configuration names serves another home than this one."""
    found = find(settings.listen_host, settings.listen_port)
    return words_of_other_home(found, settings) if found is not None and found.serves(settings) is False else None


def words_of_other_home(found: RunningProxy, settings: Settings) -> str:
    """Say that a proxy serves another home, and what follows from it."""
    return (
        f"the proxy at {found.url} serves another METRION_HOME: it does not know the tokens and keys of "
        f"{settings.home}. Run `metrion serve` with this home, or set METRION_HOME to the other."
    )


def words_of_holder(host: str, port: int, settings: Settings) -> str:
    """Say who holds a port, in the words that begin a sentence."""
    found = find(host, port)
    if found is None or found.health is None:
        return "Another program holds the port"
    match found.serves(settings):
        case True:
            return f"A Metrion proxy of this METRION_HOME holds the port: {found.url} can be used as it is"
        case False:
            return "A Metrion proxy of another METRION_HOME holds the port"
    return "A Metrion proxy holds the port"


def _health(scheme: str, host: str, port: int, timeout: float) -> tuple[int, bytes]:
    connection = (
        # Its certificate is not checked: nothing secret is sent, and it may be anybody's own.
        http.client.HTTPSConnection(host, port, timeout=timeout, context=_unchecked())
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=timeout)
    )
    with closing(connection):
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, response.read(1 << 16)


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
