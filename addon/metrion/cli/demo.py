"""``metrion demo``: everything within seconds, with no key and no network. Leaves nothing behind."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from metrion.demo.sandbox import Sandbox

_LONGEST_TEXT = 52
_QUERY = """\
SELECT user_label, provider, coalesce(model, model_requested) AS model, status,
       sum(input_tokens) AS input, sum(cache_read_tokens) AS cached,
       sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning, round(sum(cost_usd), 7) AS usd
FROM events GROUP BY ALL ORDER BY usd DESC, 1"""

_NEXT = """\
Now with your own keys:
  metrion key set openai     stores a key; anthropic, google, mistral and xai go the same way
  metrion serve              runs the proxy, and prints a token and the base URLs on its first start
  OpenAI(base_url="http://127.0.0.1:8080/openai", api_key="sk-metrion-…")     is all that changes in your code"""


@click.command()
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Use the prices of this configuration. Nothing else in it can matter here.",
)
def demo(config: Path | None) -> None:
    """Try everything with no key and no network.

    Runs the real proxy before a simulator of the providers, calls it with the official SDKs and asks SQL what was
    spent. All of it happens in a temporary home; yours is neither read nor changed.

    \b
    Examples:
      metrion demo
    """  # noqa: D301 (\b is click's mark for text that keeps its lines)
    from metrion.demo.calls import SDKS

    if missing := [sdk for sdk in SDKS if importlib.util.find_spec(sdk) is None]:
        raise click.ClickException(
            f"the demo makes its calls with the official SDKs, and here is no {' and no '.join(missing)}. "
            f"This installs them: {sys.executable} -m pip install 'metrion[demo]'"
        )
    from metrion.demo.sandbox import running_sandbox
    from metrion.errors import DemoError
    from metrion.settings import load_settings

    pricing = load_settings(config, {}).pricing if config else ()
    click.echo("The proxy and the SDKs are real, the providers are simulated. Nothing leaves this machine.\n")
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
        with running_sandbox(click.echo, pricing) as sandbox:
            _make_calls(sandbox)
            click.echo(f"\n$ metrion sql '{_QUERY}'\n")
            click.echo(sandbox.metrion("sql", _QUERY))
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    click.echo(_NEXT)


def _make_calls(sandbox: Sandbox) -> None:
    from metrion.demo.calls import CALLS, make
    from metrion.errors import DemoError

    for call in CALLS:
        outcome = make(call, sandbox.url, sandbox.token)
        how = "streamed" if call.streamed else "whole"
        text = outcome.text if len(outcome.text) <= _LONGEST_TEXT else f"{outcome.text[: _LONGEST_TEXT - 1].rstrip()}…"
        click.echo(f"  {call.user}  {call.segment:<10}{call.model:<27}{how:<10}{text}")
        if outcome.failed is not call.should_fail:
            raise DemoError(f"that call should have {'failed' if call.should_fail else 'succeeded'}")
