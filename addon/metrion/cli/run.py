"""``metrion run``: a command in, its exit status out; its calls are metered, and what they cost is on standard error.

What never happens: a word on the command's standard streams while it runs, or the run's token in a command line.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metrion.cli.options import Name, complete_accounts, note
from metrion.running import TOKEN_PREFIX
from metrion.running.certificates import AUTHORITY

if TYPE_CHECKING:  # it imports pydantic, which --help need not load
    from metrion.control import NewToken
    from metrion.settings import Settings
    from metrion.store.recent import Spent

_TOKEN_DAYS = 30
"""A run that is killed cannot revoke its token; it ends by itself then."""
_CANNOT_RUN, _NOT_FOUND = 126, 127
"""Exit statuses of a command that cannot be started, as shells have them."""
_LAST_EVENT_SECONDS = 0.3
"""How long the proxy may take to notice that a command, ended by a signal, has hung up."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--intercept",
    is_flag=True,
    help="Set HTTPS_PROXY too, and a file of the authorities to trust, for programs that read no base URL. Requests to "
    "hosts of no provider are refused.",
)
@click.option(
    "--own-keys",
    is_flag=True,
    help="Leave the program's own keys and logins alone: they go out, and Metrion only meters.",
)
@click.option(
    "--account",
    metavar="NAME",
    type=Name(),
    shell_complete=complete_accounts,
    default="default",
    show_default=True,
    help="Whose keys and limits hold.",
)
@click.option("--name", type=Name(), help="What the run's token is called.  [default: run- and the time]")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing at the end.")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration to use instead of $METRION_CONFIG or metrion.yaml in $METRION_HOME.",
)
def run(
    command: Sequence[str],
    intercept: bool,
    own_keys: bool,
    account: str,
    name: str | None,
    quiet: bool,
    config: Path | None,
) -> None:
    """Run a command so that its calls are metered, and say at the end what they cost.

    The variables that SDKs and tools read name the proxy, and the keys in them are a token of this run's own, which is
    revoked at the end. A proxy of this home that runs is used; where there is none, one runs as long as COMMAND does.
    The exit status is that of COMMAND.

    \b
    Examples:
      metrion run -- python script.py
      metrion run -- claude
      metrion run -- codex exec "Explain this repository"
      metrion run --own-keys -- claude        with your own login
      metrion run --intercept -- node app.js  where the code names no base URL
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.settings import load_settings

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleaned up
    settings = load_settings(config, os.environ)
    began = datetime.now(UTC)
    with ExitStack() as stack:
        token = stack.enter_context(_token(settings, name, account))
        with ExitStack() as running:
            url = _proxy_url(settings, config, running)
            bundle = _bundle(settings, stack) if intercept else None
            status = _run(command, url, token, bundle, own_keys=own_keys)
            if status > 128:
                time.sleep(_LAST_EVENT_SECONDS)
        if not quiet and status not in (_CANNOT_RUN, _NOT_FOUND):
            from metrion.cli.spent import of_a_run

            note(of_a_run(_spent(settings, began, token.name), token.name, intercepted=intercept))
    sys.exit(status)


@contextmanager
def _token(settings: Settings, name: str | None, account: str) -> Iterator[NewToken]:
    """Make the run's token, and revoke it at the end."""
    from metrion.control import ControlStore
    from metrion.errors import ControlError

    now = datetime.now(UTC)
    name = name or f"{TOKEN_PREFIX}{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    with closing(ControlStore.open(settings)) as control:
        made = control.create_token(name, account=account, expires_at=now + timedelta(days=_TOKEN_DAYS))
        try:
            yield made
        finally:
            try:
                control.revoke_token(made.name)
            except ControlError as error:  # somebody else did, most likely
                note(f"metrion: the token {made.name} could not be revoked: {error}")


def _proxy_url(settings: Settings, config: Path | None, stack: ExitStack) -> str:
    from metrion.cli.private_proxy import private_proxy
    from metrion.running import proxies

    return proxies.running(settings.home) or stack.enter_context(private_proxy(config))


def _bundle(settings: Settings, stack: ExitStack) -> Path:
    from metrion.running.certificates import bundle

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="metrion-run-"))
    path = Path(folder, "authorities.pem")
    path.write_bytes(bundle(os.environ, settings.home / AUTHORITY))
    return path


def _run(command: Sequence[str], url: str, token: NewToken, bundle: Path | None, *, own_keys: bool) -> int:
    from metrion.running import environment
    from metrion.running.child import Child

    proxy = environment.Proxy(url, token.secret, bundle)
    try:
        child = Child(
            environment.command(command, proxy, own_keys=own_keys),
            environment.environment(environment.program_of(command), os.environ, proxy, own_keys=own_keys),
        )
    except OSError as error:
        note(f"metrion: {command[0]}: {error.strerror}")
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_RUN
    from metrion.store import recent  # noqa: F401 -- while the command runs, nobody waits for it

    return child.wait()


def _spent(settings: Settings, began: datetime, token: str) -> Spent:
    from metrion.store import recent

    since = began.replace(minute=began.minute // 15 * 15, second=0, microsecond=0, tzinfo=None)
    return recent.spent(settings.journal_dir, settings.store_path, since, token=token, patience=10)
