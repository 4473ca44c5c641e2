"""``metrion serve``: the proxy on one port, and what a newcomer needs to use it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion import __version__
from metrion.cli.options import settings_option
from metrion.providers import base_segment
from metrion.running import TOKEN_PREFIX

if TYPE_CHECKING:  # these import cryptography and mitmproxy, which `serve --help` does not need
    from metrion.control import ControlStore, KeyRecord
    from metrion.serving.listening import Listening
    from metrion.settings import Settings

_DRAIN_SECONDS = 30.0
_MOST_WORKERS = 256


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, or `listen` in metrion.yaml]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.  [default: 8080, or `listen` in metrion.yaml]",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, _MOST_WORKERS),
    default=1,
    show_default=True,
    help="Processes that serve requests on the port. One keeps one core busy; for more traffic, give as many as there "
    "are cores. One that dies is replaced.",
)
@click.option(
    "--drain",
    "drain_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=_DRAIN_SECONDS,
    show_default=True,
    help="How long requests in flight may take to end after SIGTERM.",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Serve HTTPS with this certificate chain (PEM). Needs --tls-key.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The certificate's private key (PEM, not encrypted).",
)
@settings_option
def serve(
    settings: Settings,
    host: str | None,
    port: int | None,
    workers: int,
    drain_seconds: float,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Run the proxy: one port, every provider by its path.

    On a first start it makes a token and prints it, once. Stop it with Ctrl-C or SIGTERM.

    \b
    Examples:
      metrion serve
      metrion serve --port 9000 --workers 2
      metrion serve --config /etc/metrion.yaml
      metrion serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.control import ControlStore
    from metrion.serving.listening import tls_context
    from metrion.serving.serve import run

    def announce(listening: Listening) -> None:
        with closing(ControlStore.open(settings)) as control:
            click.echo(_greeting(settings, control, listening))

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together; give both.")
    ControlStore.open(settings).close()  # a home that cannot be used is reported before anything starts
    run(
        settings,
        host=host or settings.listen_host,
        port=settings.listen_port if port is None else port,
        workers=workers,
        drain_seconds=drain_seconds,
        on_listening=announce,
        tls=tls_context(tls_cert, tls_key) if tls_cert and tls_key else None,
    )


def _greeting(settings: Settings, control: ControlStore, listening: Listening) -> str:
    """Say where everything is; make the first token when there is none."""
    from tabulate import tabulate

    from metrion.control import DEFAULT_ACCOUNT

    lines = [f"Metrion {__version__} listens on {listening.url}", ""]
    if all(token.name.startswith(TOKEN_PREFIX) for token in control.tokens()):
        secret = control.create_token().secret
        lines += [f"Your token, shown this once: {secret}", ""]
    records = control.keys()
    keys = {record.provider: record for record in records if record.account == DEFAULT_ACCOUNT and record.in_use}
    rows = [
        (
            name,
            f"{listening.url}/{base_segment(name)}",
            _key_state(name, keys.get(name)) if provider.needs_key else "needs none",
        )
        for name, provider in settings.providers.items()
    ]
    lines.append(tabulate(rows, headers=("provider", "base URL", "key"), disable_numparse=True))
    lines += ["", "What was spent: metrion report costs, or metrion sql 'SELECT * FROM events'"]
    return "\n".join(lines)


def _key_state(provider: str, record: KeyRecord | None) -> str:
    if record is None:
        return f"none: metrion key set {provider}"
    return "stored" if record.source == "stored" else "from the environment"
