"""``metrion alert``: rules on what is metered, and who gets a message.

Where a message goes may be a secret (Slack's URLs are): ``-`` in its place reads it from a hidden prompt or standard
input. A password comes in no other way. Only masked targets go out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from metrion.cli.options import (
    Name,
    complete_accounts,
    complete_providers,
    complete_tokens,
    format_option,
    note,
    print_records,
    settings_option,
)
from metrion.cli.printable import printable
from metrion.cli.progress import progress
from metrion.cli.values import Label
from metrion.errors import ControlError
from metrion.providers import canonical_name
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.alerts import AlertRule, NewChannel

_MEASURES = (
    "spend",
    "spend-rate",
    "budget",
    "errors",
    "latency",
    "requests",
    "unpriced",
    "model-not-allowed",
    "silence",
)
"""The keys of :data:`metrion.alerts.MEASURES`, which --help need not load."""
_LONGEST = 8192
_RULE = {
    "name": "rule",
    "measure": "measure",
    "limit": "limit",
    "span": "span",
    "filters": "only",
    "channels": "sends to",
    "alerted_at": "last alert",
}
_HISTORY = {"at": "at", "title": "message", "channel": "to", "state": "state", "tries": "tries", "problem": "problem"}


class _Number(click.ParamType[Decimal]):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read ``100``, ``$49.99`` or ``5%``."""
        text = str(value).removeprefix("$").removesuffix("%")
        if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 26:
            self.fail(f"{value!r} is no number. Write 100 or 49.99.", param, ctx)
        return Decimal(text)


@click.group()
def alert() -> None:
    """Watch spend, errors and more; send a message at a limit."""


@alert.command()
@click.argument("name", type=Name())
@click.argument("measure", metavar="MEASURE", type=click.Choice(_MEASURES))
@click.argument("limit", type=_Number())
@click.option("--per", metavar="SPAN", help="day, month, rule (since the rule was made), or a length: 15m, 6h, 7d, 2w.")
@click.option("--provider", shell_complete=complete_providers, help="Only requests to this provider.")
@click.option("--account", type=Name(), shell_complete=complete_accounts, help="Only those of this account.")
@click.option("--token", type=Name(), shell_complete=complete_tokens, help="Only those of this token.")
@click.option("--user", type=Label(), help="Only those with this user label.")
@click.option("--webhook", metavar="URL", multiple=True, help="Post JSON to this URL; - asks for it. Repeatable.")
@click.option("--slack", metavar="URL", multiple=True, help="Post to this webhook of Slack; - asks for it. Repeatable.")
@click.option("--email", metavar="ADDRESS", multiple=True, help="Send e-mail there; needs --smtp. Repeatable.")
@click.option("--smtp", metavar="URL", help="The mail server: smtp://user@host:587; it asks for the password.")
@click.option("--from", "sender", metavar="ADDRESS", help="The sender of e-mail.  [default: the server's user]")
@click.option("--allow-private", is_flag=True, help="It may send to addresses that are not on the public Internet.")
@settings_option
def add(
    name: str,
    measure: str,
    limit: Decimal,
    per: str | None,
    provider: str | None,
    account: str | None,
    token: str | None,
    user: str | None,
    webhook: tuple[str, ...],
    slack: tuple[str, ...],
    email: tuple[str, ...],
    smtp: str | None,
    sender: str | None,
    allow_private: bool,
    settings: Settings,
) -> None:
    """Add the rule NAME: send a message when MEASURE nears LIMIT.

    A warning is sent at 90 % of the limit, an alert at all of it, each at most once in 24 hours. MEASURE is:

    \b
      spend       dollars (of this month)
      spend-rate  dollars a minute (of the last 10 minutes): a runaway agent
      budget      percent of a budget that is spent: name it by one of --token, --account, --user, --provider
      errors      percent of the requests that failed (of the last 15 minutes)
      latency     milliseconds, the 95th percentile (of the last hour)
      requests    how many (of today)
      unpriced    responses of models without a price (of today)
      silence     days without anything taken into the store
      model-not-allowed  responses by a model that the token may not ask for (of today)

    URLs and passwords are stored encrypted. `-` reads a URL from a hidden prompt or standard input; a password comes
    the same way.

    \b
    Examples:
      metrion alert add month spend 500 --slack -
      metrion alert add runaway spend-rate 2 --token agent --webhook https://example.com/hook
      metrion alert add ci-budget budget 100 --token ci --per month --webhook -
      metrion alert add openai-errors errors 10 --provider openai --per 30m --webhook -
      metrion alert add prices unpriced 1 --email ops@example.com --smtp smtp://me@mail.example.com
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import alerts

    provider = provider and canonical_name(provider)
    if provider is not None and provider not in settings.providers:
        raise click.UsageError(f"no provider is called {provider!r}. Known are: {', '.join(settings.providers)}.")
    filters = {"provider": provider, "account": account, "token": token, "user": user}
    given = {key: value for key, value in filters.items() if value is not None}
    try:
        terms = alerts.check_terms(measure, limit, per, given, allow_private=allow_private)
        channels = _channels(webhook, slack, email, smtp, sender)
    except ControlError as error:
        raise click.UsageError(str(error)) from error
    rule = alerts.add_rule(settings, name, terms, channels)
    note(
        f"Rule {rule.name} watches {_words(rule)}. It is looked at while `metrion serve` runs; "
        f"`metrion alert test {rule.name}` sends a test."
    )


@alert.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the rules, with where they send to, masked.

    \b
    Examples:
      metrion alert list
      metrion alert list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import alerts

    rules = alerts.rules(settings)
    records: list[Mapping[str, object]] = [
        {
            "name": rule.name,
            "measure": rule.terms.measure,
            "limit": rule.terms.limit,
            "unit": alerts.MEASURES[rule.terms.measure].unit,
            "span": rule.terms.span,
            "filters": dict(rule.terms.filters),
            "channels": [f"{each.kind}: {each.shown}" for each in rule.channels],
            "allow_private": rule.terms.allow_private,
            "created_at": rule.created_at,
            "warned_at": rule.warned_at,
            "alerted_at": rule.alerted_at,
        }
        for rule in rules
    ]
    if format_ == "table":
        records = [
            {
                **record,
                "limit": f"{record['limit']} {record['unit']}",
                "filters": printable(", ".join(f"{key} {value}" for key, value in rule.terms.filters.items())),
                "channels": ", ".join(each.shown for each in rule.channels),
            }
            for rule, record in zip(rules, records, strict=True)
        ]
    print_records(records, _RULE, format_)
    if not rules and format_ == "table":
        note("There are no rules yet: `metrion alert add` makes one.")


@alert.command()
@click.argument("name", type=Name())
@settings_option
def remove(name: str, settings: Settings) -> None:
    """Remove the rule NAME and where it sends to. What it has sent stays in the history.

    \b
    Examples:
      metrion alert remove month
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import alerts

    alerts.remove_rule(settings, name)
    note(f"Rule {name} is removed.")


@alert.command()
@click.argument("name", type=Name())
@settings_option
def test(name: str, settings: Settings) -> None:
    """Send a test by every channel of the rule NAME, and say what became of it.

    \b
    Examples:
      metrion alert test month
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import alerts

    with progress("Sending the test"):
        records = alerts.try_rule(settings, name)
    for record in records:
        if record.problem is None:
            note(f"{record.shown} has taken the test.")
    if problems := [f"{record.shown}: {record.problem}." for record in records if record.problem is not None]:
        raise click.ClickException("\n".join(problems))


@alert.command()
@click.argument("name", type=Name(), required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, latest first.")
@format_option("table", "json", "csv")
@settings_option
def history(name: str | None, limit: int, format_: str, settings: Settings) -> None:
    """List what was sent, by the rule NAME or by all, and what became of it.

    \b
    Examples:
      metrion alert history
      metrion alert history month --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import alerts

    records = alerts.history(settings, name, limit)
    print_records(
        [
            {
                "at": record.at,
                "rule": record.rule,
                "kind": record.kind,
                "title": record.title,
                "channel": record.shown,
                "state": record.state,
                "tries": record.tries,
                "next_at": record.next_at,
                "ended_at": record.ended_at,
                "problem": record.problem,
            }
            for record in records
        ],
        _HISTORY,
        format_,
    )
    if not records and format_ == "table":
        note("Nothing has been sent yet.")


def _channels(
    webhook: Sequence[str], slack: Sequence[str], email: Sequence[str], smtp: str | None, sender: str | None
) -> list[NewChannel]:
    """Return the channels that the options name.

    :raises ControlError: one cannot be used, or there is none.
    """
    from metrion import alerts

    if bool(email) != bool(smtp) or (sender and not email):
        raise ControlError("--email and --smtp go together: who gets it, and which server sends it.")
    if not (webhook or slack or email):
        raise ControlError("say where messages go: --webhook URL, --slack URL, or --email ADDRESS with --smtp URL.")
    hooks = [("webhook", url) for url in webhook] + [("slack", url) for url in slack]
    channels = [alerts.webhook(_secret("URL") if url == "-" else url, kind) for kind, url in hooks]
    if smtp is not None:
        password = _secret("password") if "@" in smtp else ""
        channels += [alerts.email(address, smtp, password, sender) for address in email]
    return channels


def _secret(what: str) -> str:
    """Return the next line that was typed without an echo, or piped in."""
    if sys.stdin is not None and sys.stdin.isatty():
        typed: str = click.prompt(what, hide_input=True, err=True)
        return typed
    line = "" if sys.stdin is None else sys.stdin.readline(_LONGEST)
    if not line.strip():
        raise ControlError(f"no {what} came in: pipe one line for each, URLs first.")
    return line.strip()


def _words(rule: AlertRule) -> str:
    from metrion import alerts

    chosen = "".join(f", {key} {printable(value)}" for key, value in rule.terms.filters.items())
    places: Sequence[str] = [each.shown for each in rule.channels]
    unit = alerts.MEASURES[rule.terms.measure].unit
    return f"{rule.terms.measure}{chosen} (limit {rule.terms.limit} {unit}) and sends to {', '.join(places)}"
