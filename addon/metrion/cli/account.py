"""``metrion account``: whom tokens and provider keys belong to, and which plan they have."""

from __future__ import annotations

from contextlib import closing
from typing import get_args

import click

from metrion.cli.options import Name, complete_accounts, format_option, note, print_records, settings_option
from metrion.control import DEFAULT_ACCOUNT, Account, ControlStore
from metrion.settings import Plan, PlanName, Settings

_PLANS = get_args(PlanName)
_HEADINGS = {
    "name": "name",
    "plan": "plan",
    "requests_per_minute": "per minute",
    "requests_per_month": "per month",
    "timeout": "timeout",
    "created_at": "created",
}


@click.group()
def account() -> None:
    """Make, list, change and remove accounts."""


@account.command()
@click.argument("name", type=Name())
@click.option(
    "--plan", type=click.Choice(_PLANS), default="pro", show_default=True, help="The limits that its tokens have."
)
@settings_option
def create(name: str, plan: str, settings: Settings) -> None:
    """Make the account NAME.

    \b
    Examples:
      metrion account create team
      metrion account create guests --plan free
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.create_account(name, plan)
    note(
        f"Account {name} has the plan {plan}. `metrion token create --account {name}` makes a token for it.\n"
        f"{_limits(settings, plan)}"
    )


@account.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the accounts, with what their plans limit each token to.

    \b
    Examples:
      metrion account list
      metrion account list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        accounts = store.accounts()
    records = [_record(each, settings.plans[each.plan]) for each in accounts]
    if format_ == "table":
        records = [record | _shown(settings.plans[each.plan]) for record, each in zip(records, accounts, strict=True)]
    print_records(records, _HEADINGS, format_)


@account.command("set")
@click.argument("name", type=Name(), shell_complete=complete_accounts)
@click.option("--plan", type=click.Choice(_PLANS), required=True, help="The limits that its tokens have from now on.")
@settings_option
def set_(name: str, plan: str, settings: Settings) -> None:
    """Change the account NAME.

    \b
    Examples:
      metrion account set team --plan pro
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.set_plan(name, plan)
    note(f"Account {name} has the plan {plan}. {_limits(settings, plan)}")


@account.command()
@click.argument("name", type=Name(), shell_complete=complete_accounts)
@settings_option
def remove(name: str, settings: Settings) -> None:
    """Remove the account NAME and its provider keys.

    An account that has tokens stays: revoke or move them first. What it used stays in `events`.

    \b
    Examples:
      metrion account remove team
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    if name == settings.intercept.account != DEFAULT_ACCOUNT:
        raise click.ClickException(
            f"intercepted traffic belongs to the account {name}: name another one as `intercept.account` in "
            f"{settings.config_path} first."
        )
    with closing(ControlStore.open(settings)) as store:
        keys = store.remove_account(name)
    gone = f", with its {'key' if len(keys) == 1 else 'keys'} of {', '.join(keys)}" if keys else ""
    note(f"Account {name} is removed{gone}.")


def _record(account: Account, plan: Plan) -> dict[str, object]:
    return {
        "name": account.name,
        "plan": account.plan,
        "requests_per_minute": plan.requests_per_minute or None,
        "requests_per_month": plan.requests_per_month or None,
        "timeout": plan.timeout or None,
        "created_at": account.created_at,
    }


def _shown(plan: Plan) -> dict[str, object]:
    """Return the limits of a plan as a table has them."""
    return {
        "requests_per_minute": f"{plan.requests_per_minute:,}" if plan.requests_per_minute else "-",
        "requests_per_month": f"{plan.requests_per_month:,}" if plan.requests_per_month else "-",
        "timeout": f"{plan.timeout:g} s" if plan.timeout else "-",
    }


def _limits(settings: Settings, plan: str) -> str:
    """Say what a plan limits each token to."""
    of = settings.plans[plan]
    minute = f"{of.requests_per_minute:,} requests" if of.requests_per_minute else "any number of requests"
    month = f"{of.requests_per_month:,}" if of.requests_per_month else "any number"
    timeout = f"a timeout of {of.timeout:g} s" if of.timeout else "no timeout"
    return f"Each of its tokens may send {minute} in 60 seconds and {month} a month, with {timeout}."
