"""``metrion dashboard``: pages over everything metered, for whoever has an admin token."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion.cli.options import listening_tls, note, settings_option, web_options
from metrion.settings import Settings

if TYPE_CHECKING:  # --help need not load it
    from starlette.applications import Starlette

    from metrion.web.site import AskSql

PORT = 8090
_SQL_SECONDS = 30.0
_APART = "The proxy runs without its dashboard; `metrion dashboard --port PORT` starts it on another port."
_NICENESS = 10
"""A proxy on the same machine goes first, as it does before the ingester."""


@click.command()
@web_options(PORT, "browsers")
@click.option("--proxy-url", metavar="URL", default="", help="The proxy's address, as Integrate shows it.")
@click.option(
    "--until-stdin-ends", is_flag=True, hidden=True, help="End with standard input, as `metrion serve` has it."
)
@settings_option
def dashboard(
    settings: Settings,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    proxy_url: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    until_stdin_ends: bool,
) -> None:
    """Show everything metered as pages, on a port of its own.

    `metrion admin create` makes a token to log in with. The admin API is there, too, at /admin/v1. Stop it with Ctrl-C
    or SIGTERM.

    \b
    Examples:
      metrion dashboard
      metrion dashboard --port 9090
      metrion dashboard --host 0.0.0.0 --allow-host metrion.lan --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import api
    from metrion.control import ControlStore
    from metrion.web.app import create_app
    from metrion.web.run import ANOTHER_PORT, run

    os.nice(_NICENESS)
    files = (tls_cert, tls_key)
    tls = listening_tls("metrion dashboard", host, files, insecure=insecure, protocols=("http/1.1",))

    def announce(url: str) -> None:
        click.echo(f"The dashboard is at {url}")
        sys.stdout.flush()
        with closing(ControlStore.open(settings)) as control:
            if not any(each.state == "active" for each in control.admins()):
                note("Nobody can log in yet: `metrion admin create` makes a token for it.")

    def make(names: Sequence[str], port: int) -> Starlette:
        beside = [api.mount(settings)]
        return create_app(settings, _asking(settings), hosts=names, port=port, proxy_url=proxy_url, beside=beside)

    run(
        make,
        host=host,
        port=port,
        hosts=hosts,
        tls=tls,
        on_listening=announce,
        lifeline=sys.stdin.fileno() if until_stdin_ends else None,
        way_out=_APART if until_stdin_ends else ANOTHER_PORT,
    )


def _asking(settings: Settings) -> AskSql:
    """Return what answers a query within the bounds of ``metrion sql``."""
    from metrion.cli import bounded

    def ask(query: str, format_: str) -> Generator[bytes]:
        job = {
            "journal_dir": str(settings.journal_dir),
            "store_path": str(settings.store_path),
            "query": query,
            "format": format_,
        }
        return bounded.answer(job, _SQL_SECONDS, bounded.usual_memory())

    return ask
