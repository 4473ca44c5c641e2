"""``metrion account``: whom tokens and provider keys belong to, and which plan they have."""

from __future__ import annotations

from contextlib import closing
from typing import get_args

import click

from metrion.cli.options import Name, complete_accounts, format_option, note, print_records, settings_option
from metrion.control import ControlStore
from metrion.settings import PlanName, Settings

_PLANS = get_args(PlanName)


@click.group()
def account() -> None:
    """Make, list and change accounts."""


@account.command()
@click.argument("name", type=Name())
@click.option(
    "--plan", type=click.Choice(_PLANS), default="free", show_default=True, help="The limits that its tokens have."
)
@settings_option
def create(name: str, plan: str, settings: Settings) -> None:
    """Make the account NAME.

    \b
    Examples:
      metrion account create team
      metrion account create team --plan pro
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.create_account(name, plan)
    note(f"Account {name} has the plan {plan}. `metrion token create --account {name}` makes a token for it.")


@account.command("list")
@format_option("table", "json")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the accounts.

    \b
    Examples:
      metrion account list
      metrion account list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        accounts = store.accounts()
    print_records(
        [{"name": each.name, "plan": each.plan, "created_at": each.created_at} for each in accounts],
        {"name": "name", "plan": "plan", "created_at": "created"},
        format_,
    )


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
    note(f"Account {name} has the plan {plan}.")
