"""``metrion guard``: what looks like a program that runs away, for one token or account; and what happens then."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import click

from metrion.cli.options import (
    Name,
    complete_accounts,
    complete_tokens,
    format_option,
    note,
    note_other_home,
    print_records,
    settings_option,
    together,
)
from metrion.cli.values import Amount
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.model import GuardLimits

_HEADINGS = {
    "scope": "for",
    "name": "name",
    "usd_per_minute": "USD a minute",
    "tokens_per_minute": "tokens a minute",
    "identical_requests": "identical in a row",
    "then": "then",
}

_scope_options = together(
    click.option("--token", type=Name(), shell_complete=complete_tokens, help="This token."),
    click.option("--account", type=Name(), shell_complete=complete_accounts, help="This account, all of its tokens."),
)


@click.group()
def guard() -> None:
    """Bound what a token or an account uses in a minute, and requests that repeat."""


@guard.command("set")
@_scope_options
@click.option("--usd-per-minute", type=Amount(), metavar="N", help="US dollars in any 60 seconds; 0: any number.")
@click.option("--tokens-per-minute", type=click.IntRange(0), metavar="N", help="The same in tokens, in and out.")
@click.option("--identical-requests", type=click.IntRange(0), metavar="N", help="How many with one body pass in a row.")
@click.option(
    "--then",
    type=click.Choice(("refuse", "warn")),
    default="refuse",
    show_default=True,
    help="What happens to requests beyond.",
)
@settings_option
def set_(
    token: str | None,
    account: str | None,
    usd_per_minute: Decimal | None,
    tokens_per_minute: int | None,
    identical_requests: int | None,
    then: str,
    settings: Settings,
) -> None:
    """Guard one token or account against running away, from the next request on.

    What is set here takes the place of `guard` in metrion.yaml for it, and of what was set before. A limit that is
    left out is none.

    \b
    Examples:
      metrion guard set --token agent --usd-per-minute 2 --tokens-per-minute 500000
      metrion guard set --token agent --identical-requests 20 --then warn
      metrion guard set --account evals --identical-requests 0      # not guarded, whatever metrion.yaml says
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.control.guard_store import GuardStore
    from metrion.model import GuardLimits, OwnGuard

    scope, name = _one(token, account)
    if usd_per_minute is None and tokens_per_minute is None and identical_requests is None:
        raise click.UsageError("say what is bounded: --usd-per-minute, --tokens-per-minute or --identical-requests.")
    limits = GuardLimits(usd_per_minute or Decimal(0), tokens_per_minute or 0, identical_requests or 0, then)
    GuardStore.open(settings).set(OwnGuard(scope, name, limits))
    note(f"The {scope} {name} is guarded by: {_words(limits)}.")
    note_other_home(settings)


@guard.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List who has limits of its own. Who has none is bound by `guard` in metrion.yaml.

    \b
    Examples:
      metrion guard list
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.control.guard_store import GuardStore
    from metrion.control.guards import shown

    found = GuardStore.open(settings).all()
    records = [
        {
            "scope": each.scope,
            "name": each.name,
            "usd_per_minute": shown(each.limits.usd_per_minute),
            "tokens_per_minute": each.limits.tokens_per_minute,
            "identical_requests": each.limits.identical_requests,
            "then": each.limits.then,
        }
        for each in found
    ]
    print_records(records, _HEADINGS if format_ == "table" else {name: name for name in _HEADINGS}, format_)
    if not found and format_ == "table":
        note("Nobody has limits of its own: `metrion guard set` sets some.")


@guard.command()
@_scope_options
@settings_option
def remove(token: str | None, account: str | None, settings: Settings) -> None:
    """Have a token or an account bound by `guard` in metrion.yaml again.

    \b
    Examples:
      metrion guard remove --token agent
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.control.guard_store import GuardStore

    scope, name = _one(token, account)
    GuardStore.open(settings).remove(scope, name)
    note(f"The {scope} {name} has no limits of its own any more.")


def _one(token: str | None, account: str | None) -> tuple[str, str]:
    named = [(scope, name) for scope, name in (("token", token), ("account", account)) if name is not None]
    if len(named) != 1:
        raise click.UsageError("say whose: one of --token and --account.")
    return named[0]


def _words(limits: GuardLimits) -> str:
    from metrion.control.guards import shown

    parts = [
        f"{shown(limits.usd_per_minute)} USD a minute" if limits.usd_per_minute else "",
        f"{limits.tokens_per_minute:,} tokens a minute" if limits.tokens_per_minute else "",
        f"{limits.identical_requests:,} identical requests in a row" if limits.identical_requests else "",
    ]
    said = ", ".join(filter(None, parts))
    return (
        f"{said}; then requests {'are refused' if limits.then == 'refuse' else 'carry a warning'}" if said else "none"
    )
