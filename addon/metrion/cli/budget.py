"""``metrion budget``: how much may be spent by a token, an account, a user or at a provider, and what happens then."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from metrion.cli.options import (
    Name,
    complete_accounts,
    complete_providers,
    complete_tokens,
    format_option,
    note,
    note_other_home,
    print_records,
    settings_option,
    together,
)
from metrion.cli.printable import printable
from metrion.cli.values import Amount, Label
from metrion.errors import ControlError, StoreError
from metrion.providers import canonical_name
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.budgets.standing import Standing
    from metrion.control import ControlStore
    from metrion.model import Budget

_HEADINGS = {
    "scope": "for",
    "name": "name",
    "usd": "USD",
    "per": "per",
    "spent": "spent",
    "held": "held",
    "left": "left",
    "turns_at": "turns",
    "then": "then",
}


_THEN = {
    "refuse": "then requests are refused",
    "warn": "then answers carry a warning",
    "cheaper": "then requests go out as what is cheaper, or are refused",
}

_scope_options = together(
    click.option("--token", type=Name(), shell_complete=complete_tokens, help="What this token spends."),
    click.option("--account", type=Name(), shell_complete=complete_accounts, help="What this account spends."),
    click.option("--user", type=Label(), metavar="LABEL", help="What is spent under this user label."),
    click.option("--provider", shell_complete=complete_providers, help="What is spent at this provider."),
)
"""The options that say what a budget is for."""


@click.group()
def budget() -> None:
    """Set, list and remove budgets."""


@budget.command("set")
@_scope_options
@click.option("--usd", type=Amount(), required=True, metavar="N", help="How much; 0: nothing may be spent.")
@click.option("--per", required=True, metavar="SPAN", help="day, month, or a span that ends now: 24h, 30d, 4w.")
@click.option("--timezone", metavar="ZONE", help="Whose days and months.  [default: `timezone` of the configuration]")
@click.option(
    "--then",
    type=click.Choice(("refuse", "warn", "cheaper")),
    default="refuse",
    show_default=True,
    help="What happens to requests that have no room; cheaper: they go out as a policy's `fallback` says.",
)
@settings_option
def set_(
    token: str | None,
    account: str | None,
    user: str | None,
    provider: str | None,
    usd: Decimal,
    per: str,
    timezone: str | None,
    then: str,
    settings: Settings,
) -> None:
    """Set how much may be spent, from the next request on.

    There may be several budgets for one thing, one for each kind of span; to set one again changes it. What is spent
    already counts.

    \b
    Examples:
      metrion budget set --token ci --usd 20 --per month
      metrion budget set --account team --usd 50 --per day --timezone Europe/Berlin
      metrion budget set --provider openai --usd 500 --per 30d --then warn
      metrion budget set --token ci --usd 5 --per day --then cheaper
      metrion budget set --user ann --usd 5 --per day
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.budgets.changing import open_control
    from metrion.doctor.policies import goes_cheaper
    from metrion.model import Budget, picodollars

    scope, name = _one(settings, token=token, account=account, user=user, provider=provider)
    with open_control(settings) as control:
        made = control.set_budget(Budget(0, scope, name, picodollars(usd), per, timezone, then))
        warning = _loose(control) if scope == "user" else None
    (standing,) = _standings(settings, [made])
    note(_described(standing))
    if warning:
        note(warning)
    if then == "cheaper" and not goes_cheaper(settings, made):
        note(
            "Note: no policy says what is cheaper, so requests are refused. Write a `fallback` into metrion.yaml "
            "(docs/policies.md)."
        )
    note_other_home(settings)


@budget.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the budgets: what is spent, what is held for requests under way, what is left, and when each turns.

    \b
    Examples:
      metrion budget list
      metrion budget list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.budgets.recount import recount
    from metrion.control import ControlStore

    with closing(ControlStore.open(settings)) as control:
        budgets = control.budgets()
    if budgets:
        try:
            recount(settings, budgets)
        except StoreError as error:
            note(f"Note: the events could not be counted just now ({error}).")
    standings = _standings(settings, budgets)
    records = [_row(each, settings.timezone) if format_ == "table" else _record(each) for each in standings]
    headings = _HEADINGS if format_ == "table" else {name: name for name in (*_HEADINGS, "timezone")}
    print_records(records, headings, format_)
    if not budgets and format_ == "table":
        note("There are no budgets yet: `metrion budget set` makes one.")


@budget.command()
@_scope_options
@click.option("--per", metavar="SPAN", help="Only the one for this kind of span.  [default: all of them]")
@settings_option
def remove(
    token: str | None,
    account: str | None,
    user: str | None,
    provider: str | None,
    per: str | None,
    settings: Settings,
) -> None:
    """Remove the budgets of a token, an account, a user or a provider.

    \b
    Examples:
      metrion budget remove --token ci
      metrion budget remove --account team --per day
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.admission.budgets import shown
    from metrion.control import ControlStore

    scope, name = _one(settings, token=token, account=account, user=user, provider=provider, exists=False)
    with closing(ControlStore.open(settings)) as control:
        gone = control.remove_budget(scope, name, per)
    note("\n".join(f"Removed: the budget of {printable(shown(each))}." for each in gone))


def _one(settings: Settings, *, exists: bool = True, **given: str | None) -> tuple[str, str]:
    """Return what a budget is for."""
    named = [(scope, name) for scope, name in given.items() if name is not None]
    if len(named) != 1:
        raise click.UsageError("say what it is for: one of --token, --account, --user and --provider.")
    ((scope, name),) = named
    if scope == "provider":
        name = canonical_name(name)
        if exists and name not in settings.providers:
            raise ControlError(
                f"there is no provider {name!r} here. The providers are {', '.join(settings.providers)}."
            )
    return scope, name


def _loose(control: ControlStore) -> str | None:
    """Say so where requests may choose their label."""
    loose = [each.name for each in control.tokens() if each.state == "active" and not each.labels.fixed]
    if not loose:
        return None
    those = ", ".join(loose[:5]) + (", …" if len(loose) > 5 else "")
    return (
        f"Note: this holds only for tokens whose label is fixed. Requests of {those} may send another label, or none, "
        f"and count for another budget. `metrion token set {loose[0]} --user LABEL --label-fixed` fixes it."
    )


def _standings(settings: Settings, budgets: list[Budget] | tuple[Budget, ...]) -> list[Standing]:
    from metrion.budgets.standing import standings

    return list(standings(settings.budgets_dir, budgets, settings.timezone, time.time()))


def _described(standing: Standing) -> str:
    """Say in a sentence how a budget stands."""
    from metrion.admission.budgets import shown, usd

    spent = "nothing is known to be spent" if standing.spent is None else f"{usd(standing.spent)} USD are spent"
    return f"The budget of {printable(shown(standing.budget))}: {spent}; {_THEN[standing.budget.then]}."


def _row(standing: Standing, timezone: str) -> dict[str, object]:
    from metrion.admission.budgets import usd

    own = standing.budget
    amounts = {"spent": standing.spent, "held": standing.held, "left": standing.left}
    return {
        "scope": own.scope,
        "name": printable(own.name),
        "usd": usd(own.limit),
        "per": own.per,
        **{name: "?" if amount is None else usd(amount) for name, amount in amounts.items()},
        "turns_at": _turns(standing, timezone),
        "then": own.then,
    }


def _turns(standing: Standing, timezone: str) -> str:
    from metrion.settings.timezones import zone

    if standing.turns_at is None:
        return "-"
    at = datetime.fromtimestamp(standing.turns_at, UTC)
    return f"{at.astimezone(zone(standing.budget.timezone or timezone)):%Y-%m-%d %H:%M %Z}"


def _record(standing: Standing) -> dict[str, object]:
    from metrion.budgets.standing import exact

    own = standing.budget
    return {
        "scope": own.scope,
        "name": own.name,
        "usd": exact(own.limit),
        "per": own.per,
        "spent": None if standing.spent is None else exact(standing.spent),
        "held": exact(standing.held),
        "left": None if standing.left is None else exact(standing.left),
        "turns_at": None if standing.turns_at is None else datetime.fromtimestamp(standing.turns_at, UTC),
        "then": own.then,
        "timezone": own.timezone,
    }
