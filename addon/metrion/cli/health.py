"""``metrion health``: whether the proxies of this home serve, for a container or a service that has to know."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import click

from metrion.cli.options import settings_option
from metrion.errors import ServeError
from metrion.settings import Settings

_SECONDS = 4.0


@click.command()
@settings_option
def health(settings: Settings) -> None:
    """Say whether a proxy of this home serves. The exit status is 1 if none does.

    It asks `GET /health` of each `metrion serve` of the home, and needs no token. One that is degraded serves.

    \b
    Examples:
      metrion health
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.running.proxies import addresses
    from metrion.running_proxy import find

    serving = False
    for url in addresses(settings.home):
        address = urlsplit(url)
        found = find(address.hostname or "", address.port or 80, _SECONDS)
        if found is None or found.health is None:
            click.echo(f"{url}: does not answer")
            continue
        serving = serving or bool(found.health.get("ready"))
        click.echo(f"{url}: {_words(found.health)}")
    if not serving:
        raise ServeError(f"no proxy of {settings.home} serves; start one with `metrion serve`")


def _words(health: Mapping[str, object]) -> str:
    reasons = health.get("reasons")
    return "; ".join([str(health.get("status")), *(map(str, reasons) if isinstance(reasons, list) else ())])
