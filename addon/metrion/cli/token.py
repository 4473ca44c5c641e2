"""``metrion token``: what callers identify themselves with.

`create` and `rotate` print a token once, alone on standard output. Nothing else can ever show it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import click

from metrion.admission.labels import MOST_TAGS
from metrion.cli.options import (
    Decorator,
    Name,
    account_option,
    complete_accounts,
    complete_tokens,
    format_option,
    note,
    note_other_home,
    print_records,
    settings_option,
    together,
)
from metrion.cli.token_budgets import UNPRICED, open_for
from metrion.cli.token_rules import FLAGS, OPPOSITES, changed_rules, described_rules, rules_options, shown_rules
from metrion.cli.values import COUNT, Dollars, Expiry, Label, Or, Seconds, Tag, Until
from metrion.control import ControlStore, TokenRecord, TokenTerms
from metrion.running import TOKEN_PREFIX
from metrion.settings import Plan, Settings

_PLAN, _NEVER = "plan", "never"
_LIMITS = {
    "rate": "requests_per_minute",
    "monthly_requests": "requests_per_month",
    "monthly_budget": "monthly_budget_usd",
    "timeout": "timeout",
}
"""Which limit an option is."""
_OPPOSITES = (
    ("user", "no_user", "--user and --no-user"),
    ("tag", "no_tags", "--tag and --no-tags"),
    ("allow_user", "allow_any_user", "--allow-user and --allow-any-user"),
    *OPPOSITES,
)
_FIELDS: Mapping[str, Callable[[TokenRecord], object]] = {
    "name": lambda token: token.name,
    "account": lambda token: token.account,
    "plan": lambda token: token.plan,
    "token": lambda token: token.shown,
    "requests_per_minute": lambda token: token.limits.requests_per_minute,
    "requests_per_month": lambda token: token.limits.requests_per_month,
    "monthly_budget_usd": lambda token: _exact(token.limits.monthly_budget_usd),
    "timeout": lambda token: token.limits.timeout,
    "created_at": lambda token: token.created_at,
    "expires_at": lambda token: token.expires_at,
    "revoked_at": lambda token: token.revoked_at,
    "state": lambda token: token.state,
    "user_label": lambda token: token.labels.user,
    "tags": lambda token: dict(token.labels.tags) or None,
    "label_fixed": lambda token: token.labels.fixed,
    "allowed_labels": lambda token: list(token.labels.allowed) or None,
    "last_used_at": lambda token: token.last_used_at,
    "allowed_providers": lambda token: list(token.rules.providers) or None,
    "allowed_models": lambda token: list(token.rules.models) or None,
    "allowed_operations": lambda token: list(token.rules.operations) or None,
    "allowed_networks": lambda token: list(token.rules.networks) or None,
    "key": lambda token: token.key,
    "takes_unpriced": lambda token: token.takes_unpriced,
}
"""What JSON and CSV say of a token. A limit that is null is the plan's."""
_HEADINGS = {
    "name": "name",
    "account": "account",
    "token": "token",
    "rate": "rate",
    "requests": "per month",
    "budget": "budget",
    "timeout": "timeout",
    "expires": "expires",
    "label": "label",
    "rules": "may use only",
    "used": "last used",
    "state": "state",
}


def _terms_options(*, changing: bool) -> Decorator:
    """Add the options for everything about a token that can be changed, but its account."""

    def of_plan[T](kind: click.ParamType[T]) -> click.ParamType[Any]:
        return Or(_PLAN, kind) if changing else kind

    count = "N|plan" if changing else "N"
    options = [
        click.option("--rate", type=of_plan(COUNT), metavar=count, help="Requests in any 60 seconds."),
        click.option(
            "--monthly-requests", type=of_plan(COUNT), metavar=count, help="Requests in a calendar month (UTC)."
        ),
        click.option(
            "--monthly-budget",
            type=of_plan(Dollars()),
            metavar="USD",
            help="What it may cost in a calendar month: a budget as `metrion budget set` makes it.",
        ),
        click.option(
            "--timeout", type=of_plan(Seconds()), metavar="SECONDS", help="Wait for the first byte and between bytes."
        ),
        click.option(
            "--expires",
            type=Or(_NEVER, Expiry()),
            metavar="WHEN",
            help="When it ends: 12h, 30d, 2w, 3mo, 1y, 2027-01-31, 2027-01-31T12:00 (UTC), never.",
        ),
        click.option("--user", type=Label(), metavar="LABEL", help="The user's label of a request that sends none."),
        click.option(
            "--tag", type=Tag(), multiple=True, metavar="NAME=VALUE", help="A tag of every request. May be repeated."
        ),
        click.option(
            "--label-fixed/--no-label-fixed",
            default=None,
            help="Whether the token's label and tags hold whatever a request sends.",
        ),
        UNPRICED,
        click.option(
            "--allow-user",
            type=Label(),
            multiple=True,
            metavar="LABEL",
            help="A label that requests may send; * stands for any text. May be repeated. Others get the token's own.",
        ),
    ]
    if changing:
        options += [
            click.option("--no-user", is_flag=True, help="Take its label away."),
            click.option("--no-tags", is_flag=True, help="Take its tags away."),
            click.option("--allow-any-user", is_flag=True, help="Let requests send every label again."),
        ]
    return together(*options)


@click.group()
def token() -> None:
    """Make, list, change, rotate and revoke callers' tokens."""


@token.command()
@click.argument("name", type=Name(), required=False)
@account_option
@_terms_options(changing=False)
@rules_options(changing=False)
@settings_option
def create(name: str | None, account: str, settings: Settings, **given: Any) -> None:
    """Make a token called NAME, or token-1, token-2 ….

    It is printed alone on standard output, this once. A limit that is not given is the plan's; 0 means no limit.

    \b
    Examples:
      metrion token create laptop
      metrion token create ci --account team --rate 20 --monthly-requests 5000 --expires 30d
      metrion token create ann --user ann --label-fixed --tag team=search
      metrion token create gateway --allow-user 'team-*' --allow-user ops
      metrion token create agent --allow-provider anthropic --allow-model 'claude-*' --from 10.0.0.0/8
      TOKEN=$(metrion token create script)
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    terms = _changed(TokenTerms(account=account), given, settings)
    with open_for(settings, given) as store:
        made = store.create_token(
            name,
            account=account,
            limits=terms.limits,
            labels=terms.labels,
            expires_at=terms.expires_at,
            rules=terms.rules,
            key=terms.key,
            takes_unpriced=terms.takes_unpriced,
        )
    click.echo(made.secret)
    note(f"Token {made.name} for account {made.account}. It cannot be shown again: keep it now.")
    note_other_home(settings)


@token.command("set")
@click.argument("name", type=Name(), shell_complete=complete_tokens)
@click.option("--account", type=Name(), shell_complete=complete_accounts, help="The account it belongs to from now on.")
@_terms_options(changing=True)
@rules_options(changing=True)
@settings_option
def set_(name: str, settings: Settings, **given: Any) -> None:
    """Change the token NAME, from the next request on.

    Options that are not given change nothing. A limit of 0 means no limit, one of `plan` is the plan's again. Tags and
    whatever is allowed replace all that there were of their kind.

    \b
    Examples:
      metrion token set laptop --rate 20 --monthly-requests plan
      metrion token set ci --expires 3mo --account team
      metrion token set ann --user ann --label-fixed
      metrion token set gateway --allow-user 'team-*' --allow-user ops
      metrion token set gateway --allow-any-user --expires never
      metrion token set agent --allow-model 'claude-*' --allow-model gpt-4o --from-anywhere
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    is_given = {option: value is not None and value != () for option, value in given.items()}
    is_given |= {flag: given[flag] for flag in ("no_user", "no_tags", "allow_any_user", *FLAGS)}
    if not any(is_given.values()):
        raise click.UsageError(
            f"there is nothing to change: say what, as in `metrion token set {name} --rate 20`. "
            "`metrion token set --help` lists what can be changed."
        )
    with open_for(settings, given) as store:
        changed = store.change_token(name, lambda terms: _changed(terms, given, settings))
    note(_described(changed, settings.plans[changed.plan]))
    note_other_home(settings)


@token.command()
@click.argument("name", type=Name(), shell_complete=complete_tokens)
@click.option(
    "--keep",
    type=Until(),
    default="0",
    metavar="DURATION",
    help="How long the old one stays valid: 90s, 30m, 12h, 7d, 2w, 1mo. Without it, it ends at once.",
)
@settings_option
def rotate(name: str, keep: datetime, settings: Settings) -> None:
    """Put a new token in the place of the one called NAME.

    The new one is printed alone on standard output, this once. Name, account, limits, labels and counters stay.

    \b
    Examples:
      metrion token rotate laptop
      metrion token rotate ci --keep 7d
      TOKEN=$(metrion token rotate script --keep 10m)
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        made = store.rotate_token(name, keep)
    click.echo(made.secret)
    ends = "is refused from now on" if keep <= datetime.now(UTC) else f"is valid until {keep:%Y-%m-%d %H:%M:%S} UTC"
    note(f"Token {made.name} is a new one; the old one {ends}. It cannot be shown again: keep it now.")
    note_other_home(settings)


@token.command("list")
@click.option("--all", "all_", is_flag=True, help="Also the tokens of `metrion run` whose command has ended.")
@format_option("table", "json", "csv")
@settings_option
def list_(all_: bool, format_: str, settings: Settings) -> None:
    """List the tokens, with the limits that hold for them.

    \b
    Examples:
      metrion token list
      metrion token list --all
      metrion token list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        every = store.tokens()
    tokens = [each for each in every if all_ or each.state == "active" or not each.name.startswith(TOKEN_PREFIX)]
    if format_ == "table":
        print_records([_row(each, settings.plans[each.plan]) for each in tokens], _HEADINGS, format_)
    else:
        records = [{field: read(each) for field, read in _FIELDS.items()} for each in tokens]
        print_records(records, {field: field for field in _FIELDS}, format_)
    if not every and format_ == "table":
        note("There are no tokens yet: `metrion token create` makes one.")
    elif len(tokens) < len(every) and format_ == "table":
        note(f"{len(every) - len(tokens)} of `metrion run` have ended: `metrion token list --all` shows them.")


@token.command()
@click.argument("name", type=Name(), shell_complete=complete_tokens)
@settings_option
def revoke(name: str, settings: Settings) -> None:
    """Refuse the token NAME from now on.

    \b
    Examples:
      metrion token revoke laptop
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.revoke_token(name)
    note(f"Token {name} is revoked.")


def _changed(terms: TokenTerms, given: Mapping[str, Any], settings: Settings) -> TokenTerms:
    """Return the terms with the options that were given in the place of what was there."""
    for option, opposite, both in _OPPOSITES:
        if given[option] and given.get(opposite):
            raise click.UsageError(f"{both} contradict each other: leave one of them out.")
    tags = dict(given["tag"])
    if len(tags) > MOST_TAGS:
        raise click.BadParameter(f"{len(tags)} tags are more than the {MOST_TAGS} of an event.", param_hint="'--tag'")
    limits = {
        limit: None if given[option] == _PLAN else given[option]
        for option, limit in _LIMITS.items()
        if given[option] is not None
    }
    labels: dict[str, Any] = {}
    if given["user"] or given.get("no_user"):
        labels["user"] = given["user"]
    if tags or given.get("no_tags"):
        labels["tags"] = tags
    if given["allow_user"] or given.get("allow_any_user"):
        labels["allowed"] = tuple(dict.fromkeys(given["allow_user"]))
    if given["label_fixed"] is not None:
        labels["fixed"] = given["label_fixed"]
    expires = given["expires"]
    return replace(
        terms,
        account=given.get("account") or terms.account,
        limits=replace(terms.limits, **limits),
        labels=replace(terms.labels, **labels),
        expires_at=terms.expires_at if expires is None else None if expires == _NEVER else expires,
        rules=changed_rules(terms.rules, given, settings),
        key=given["key"] or (None if given.get("no_key") else terms.key),
        takes_unpriced=terms.takes_unpriced if given["unpriced"] is None else given["unpriced"] == "allow",
    )


def _row(token: TokenRecord, plan: Plan) -> dict[str, object]:
    limits = token.limits
    return {
        "name": token.name,
        "account": token.account,
        "token": token.shown,
        "rate": _limit(limits.requests_per_minute, plan.requests_per_minute, "/min"),
        "requests": _limit(limits.requests_per_month, plan.requests_per_month),
        "budget": _limit(limits.monthly_budget_usd, None, " USD"),
        "timeout": _limit(limits.timeout, plan.timeout, " s"),
        "expires": _expiry(token.expires_at),
        "label": _label(token),
        "rules": shown_rules(token),
        "used": _ago(token.last_used_at),
        "state": token.state,
    }


def _described(token: TokenRecord, plan: Plan) -> str:
    """Say in a sentence what holds for a token."""
    row, labels = _row(token, plan), token.labels
    said = {"rate": "rate", "requests": "requests a month", "budget": "budget", "timeout": "timeout", "label": "label"}
    parts = [f"{name} {'none' if row[column] == '-' else row[column]}" for column, name in said.items()]
    parts.append(f"expires {'never' if token.expires_at is None else f'{token.expires_at:%Y-%m-%d %H:%M} UTC'}")
    if labels.tags:
        parts.append("tags " + " ".join(f"{name}={value}" for name, value in labels.tags.items()))
    if labels.allowed:
        parts.append("may send " + " ".join(labels.allowed))
    parts += described_rules(token)
    return f"Token {token.name} of account {token.account}: {', '.join(parts)}."


def _limit(own: float | Decimal | None, plan: float | None, unit: str = "") -> str:
    """Show the limit that holds: the token's own, else the plan's; 0 and ``None`` are none."""
    holds = plan if own is None else own
    return f"{holds:,}{unit}".replace(".0 s", " s") if holds else "-"


def _exact(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _label(token: TokenRecord) -> str:
    labels = token.labels
    return f"{labels.user or 'none'} (fixed)" if labels.fixed else labels.user or "-"


def _expiry(moment: datetime | None) -> str:
    """Show the day, and the time where the day is near."""
    if moment is None:
        return "-"
    near = abs(moment - datetime.now(UTC)) < timedelta(days=2)
    return f"{moment:%Y-%m-%d %H:%M}" if near else f"{moment:%Y-%m-%d}"


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"
