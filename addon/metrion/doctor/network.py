"""The network: the proxy that runs on this machine, and the providers if they are to be tried."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from metrion import __version__
from metrion.doctor.findings import Finding, Subject, fail, ok, warn
from metrion.errors import SettingsError
from metrion.metrics.otlp import check_installed
from metrion.model import Origin
from metrion.running_proxy import find, local_address

_PROXY_SECONDS = 2.0
_UPSTREAM_SECONDS = 8.0


def proxy(subject: Subject) -> Iterator[Finding]:
    """Report whether Metrion listens where the configuration says, and whether it is well."""
    settings = subject.settings
    where = local_address(settings)
    found = find(settings.listen_host, settings.listen_port, _PROXY_SECONDS)
    if found is None:
        yield warn(
            f"proxy: nothing listens on {where}", "`metrion serve` starts it (one with another --port is not seen here)"
        )
        return
    health = found.health
    if health is None:
        yield fail(
            f"proxy: what listens on {where} is no Metrion ({found.said})",
            "stop that program, or choose another port with `listen` in the configuration or --port",
        )
        return
    if found.serves(settings) is False:
        yield fail(
            f"proxy: the proxy at {found.url} serves another METRION_HOME",
            f"it does not know the tokens and keys of {settings.home}: run `metrion serve` with this home (on another "
            "--port, or once that proxy is stopped), or set METRION_HOME to the other",
        )
        return
    yield ok(f"proxy: Metrion {health.get('version')} answers on {where}, {health['in_flight']} requests in flight")
    if health.get("version") != __version__:
        yield warn(f"proxy: it runs version {health.get('version')}, installed is {__version__}", "restart it")
    if lost := health.get("lost_events"):
        yield fail(
            f"proxy: {lost} events were lost since it started", "the disk took nothing for too long; see its log"
        )
    reasons = health.get("reasons")
    for reason in reasons if isinstance(reasons, list) else ():
        if not str(reason).startswith(("lost events", "ingester")):
            yield warn(f"proxy: it is degraded: {reason}", "docs/requests.md says what each of these means")
    ingester = health.get("ingester")
    if isinstance(ingester, dict) and not ingester.get("alive", True):
        yield fail("proxy: its ingester is not alive", "its log says why; the journal keeps everything until it is")


def collector(subject: Subject) -> Iterator[Finding]:
    """Report where spans and metrics are sent. Never: the value of a header, which is a secret."""
    settings = subject.settings
    if settings.otlp.endpoint is None:
        return
    names = ", ".join(f"{name}: ***" for name in settings.otlp.headers)
    yield ok(f"otlp: spans and metrics go to {settings.otlp.endpoint}{f' with {names}' if names else ''}")
    try:
        check_installed(settings)
    except SettingsError as error:
        yield fail(f"otlp: {error}", "install the extra, or leave `otlp` out of the configuration: no proxy starts so")


def upstreams(subject: Subject) -> Iterator[Finding]:
    """Report whether each provider can be reached. Sends no credential."""
    if not subject.network:
        yield ok("upstreams: not tried", "`metrion doctor --network` does")
        return
    providers = subject.settings.providers
    with ThreadPoolExecutor(len(providers)) as pool:
        outcomes = pool.map(_reached, (provider.upstream for provider in providers.values()))
    for (name, provider), outcome in zip(providers.items(), outcomes, strict=True):
        where = f"{provider.upstream.scheme}://{provider.upstream.authority.decode()}"
        if outcome is None:
            yield ok(f"upstreams: {name}: {where} answers")
        else:
            yield fail(
                f"upstreams: {name}: {where} does not: {outcome}",
                f"look at the network, at its DNS and firewall, and at `providers.{name}.upstream`",
            )


def _reached(origin: Origin) -> str | None:
    """Return why a server does not answer; ``None``: it does, whatever it answers. Sends no credential."""
    try:
        _get(origin, "/", _UPSTREAM_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def _get(origin: Origin, path: str, timeout: float) -> tuple[int, bytes]:
    connection = (
        http.client.HTTPSConnection(origin.host, origin.port, timeout=timeout, context=ssl.create_default_context())
        if origin.scheme == "https"
        else http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
    )
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1 << 16)
