"""``metrion api``: the admin API on a port of its own, without the dashboard's pages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion.cli.options import listening_tls, note, settings_option, web_options
from metrion.settings import Settings

if TYPE_CHECKING:  # --help need not load it
    from starlette.applications import Starlette

PORT = 8091


@click.command()
@web_options(PORT, "clients")
@settings_option
def api(
    settings: Settings,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
) -> None:
    """Serve the admin API under /admin/v1, on a port of its own.

    `metrion dashboard` serves it, too, beside its pages. `metrion admin create` makes a token for it, and
    /admin/v1/openapi.json describes it. Stop it with Ctrl-C or SIGTERM.

    \b
    Examples:
      metrion api
      metrion api --port 9091
      metrion api --host 0.0.0.0 --allow-host metrion.lan --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.api import PATH, create_app
    from metrion.control import ControlStore
    from metrion.web.run import run

    tls = listening_tls("metrion api", host, (tls_cert, tls_key), insecure=insecure, protocols=("http/1.1",))

    def make(names: Sequence[str], _port: int) -> Starlette:
        return create_app(settings, hosts=names)

    def announce(url: str) -> None:
        click.echo(f"The admin API is at {url}{PATH}")
        sys.stdout.flush()
        with closing(ControlStore.open(settings)) as control:
            if not any(each.state == "active" for each in control.admins()):
                note("Nobody can use it yet: `metrion admin create` makes a token for it.")

    run(make, host=host, port=port, hosts=hosts, tls=tls, on_listening=announce)
