"""``metrion serve``: the proxy on one port, and what a newcomer needs to use it."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from metrion import __version__
from metrion.cli import dashboard_process
from metrion.cli.options import listening_tls, settings_option, tls_options
from metrion.logs.output import LEVELS, LogFormat, LogOptions
from metrion.providers import base_segment
from metrion.running import TOKEN_PREFIX

if TYPE_CHECKING:  # these import cryptography and mitmproxy, which `serve --help` does not need
    from metrion.control import ControlStore, KeyRecord
    from metrion.serving.listening import Listening
    from metrion.settings import Settings

_DRAIN_SECONDS = 30.0
_MOST_WORKERS = 256

LAST_REQUESTS = """SELECT started_at::TIMESTAMP_S AS time, token_name AS token, model,
    input_tokens AS input, output_tokens AS output, cost_usd
    FROM events ORDER BY started_at DESC LIMIT 10"""
_PLAIN_HTTP = """\
This is plain HTTP: the tokens, keys and prompts that clients send can be read on the way. Put
TLS in front, give --tls-cert and --tls-key, or listen on 127.0.0.1."""


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
@tls_options
@click.option(
    "--log-format",
    type=click.Choice([each.value for each in LogFormat]),
    default=LogFormat.TEXT.value,
    show_default=True,
    help="How to write what is said on standard error; json is one object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice([*LEVELS]),
    default="info",
    show_default=True,
    help="What to say: debug says of each request what was decided, and why.",
)
@click.option(
    "--dashboard", "with_dashboard", is_flag=True, help="Show everything metered as pages, too: on 127.0.0.1:8090."
)
@click.option(
    "--env",
    "environment",
    type=click.Choice(["mistral-proxy"]),
    help="Also read the variables that such a proxy is run with, such as MISTRAL_KEY and PORT, and serve its paths.",
)
@click.option("--access-log", is_flag=True, help="Write one line of JSON a request to standard error.")
@settings_option
def serve(
    settings: Settings,
    host: str | None,
    port: int | None,
    workers: int,
    drain_seconds: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
    log_format: str,
    log_level: str,
    access_log: bool,
    with_dashboard: bool,
    environment: str | None,
) -> None:
    """Run the proxy: one port, every provider by its path.

    On a first start it makes a token and prints it, once. Stop it with Ctrl-C or SIGTERM.

    \b
    Examples:
      metrion serve
      metrion serve --port 9000 --workers 2
      metrion serve --dashboard
      metrion serve --config /etc/metrion.yaml
      metrion serve --log-format json --access-log 2>> metrion.log
      metrion serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.control import ControlStore
    from metrion.metrics.otlp import check_installed
    from metrion.serving.serve import run

    def announce(listening: Listening) -> None:
        with closing(ControlStore.open(settings)) as control:
            click.echo(_greeting(settings, control, listening))
        if with_dashboard:
            beside.append(dashboard_process.start(settings, listening.local_url))

    settings, log_level = _with_environment(settings, environment, log_level)
    host = host or settings.listen_host
    files = (tls_cert, tls_key)
    tls = listening_tls("metrion serve", host, files, insecure=insecure, protocols=("h2", "http/1.1"))
    check_installed(settings)
    beside: list[subprocess.Popen[bytes]] = []
    ControlStore.open(settings).close()  # a home that cannot be used is reported before anything starts
    try:
        run(
            settings,
            host=host,
            port=settings.listen_port if port is None else port,
            workers=workers,
            drain_seconds=drain_seconds,
            on_listening=announce,
            tls=tls,
            log=LogOptions(log_level, LogFormat(log_format), access_log),
        )
    finally:
        for process in beside:
            dashboard_process.end(process)


def _with_environment(settings: Settings, environment: str | None, log_level: str) -> tuple[Settings, str]:
    """Read what another proxy is run with, too, where one is named; what an option says wins over it."""
    if environment is None:
        return settings, log_level
    from metrion.settings.environments import load_environment

    settings, level = load_environment(settings.config_path)
    is_said = click.get_current_context().get_parameter_source("log_level") is not ParameterSource.DEFAULT
    return settings, log_level if is_said or level is None else level


def _greeting(settings: Settings, control: ControlStore, listening: Listening) -> str:
    """Say where everything is; make the first token when there is none."""
    from tabulate import tabulate

    from metrion.control import ALL_ACCOUNTS, DEFAULT_ACCOUNT

    here = f" (on all addresses; here also {listening.local_url})" if listening.is_everywhere else ""
    lines = [f"Metrion {__version__} listens on {listening.url}{here}", ""]
    if all(token.name.startswith(TOKEN_PREFIX) for token in control.tokens()):
        secret = control.create_token().secret
        lines += [f"Your token, shown this once: {secret}", ""]
    records = control.keys()
    whose = (ALL_ACCOUNTS, DEFAULT_ACCOUNT)  # shared ones come first, and an own one replaces them
    keys = {
        record.provider: record
        for record in records
        if record.account in whose and record.in_use and record.name is None
    }
    rows = [
        (
            name,
            f"{listening.url}/{base_segment(name)}",
            _key_state(name, keys.get(name)) if provider.needs_key else "needs none",
        )
        for name, provider in settings.providers.items()
    ]
    lines.append(tabulate(rows, headers=("provider", "base URL", "key"), disable_numparse=True))
    if listening.is_readable:
        lines += ["", _PLAIN_HTTP]
    lines += ["", "What was spent: metrion report costs", "The last requests:", f'  metrion sql "{LAST_REQUESTS}"']
    return "\n".join(lines)


def _key_state(provider: str, record: KeyRecord | None) -> str:
    if record is None:
        return f"none: metrion key set {provider}"
    return "stored" if record.source == "stored" else "from the environment"
