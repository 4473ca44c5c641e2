"""``metrion admin``: the tokens that open the dashboard and the API.

`create` prints a token once, alone on standard output. Nothing else can ever show it again.
"""

from __future__ import annotations

from contextlib import closing

import click

from metrion.cli.options import Name, complete_admins, format_option, note, print_records, settings_option
from metrion.control import AdminScope, ControlStore
from metrion.settings import Settings

_FIELDS = ("name", "shown", "scope", "created_at", "revoked_at", "state")
_HEADINGS = {
    "name": "name",
    "token": "token",
    "scope": "scope",
    "created_at": "created",
    "revoked_at": "revoked",
    "state": "state",
}


@click.group()
def admin() -> None:
    """Make, list and revoke the tokens that open the dashboard and the API, and read `/metrics` from afar."""


@admin.command()
@click.argument("name", type=Name(), required=False)
@click.option(
    "--scope",
    type=click.Choice(["read", "write"]),
    default="write",
    show_default=True,
    help="What it may do: see everything, or change it, too.",
)
@settings_option
def create(name: str | None, scope: AdminScope, settings: Settings) -> None:
    """Make an admin token called NAME, or admin-1, admin-2 ….

    It is printed alone on standard output, this once. Whoever has it sees everything metered, and unless it is made
    with `--scope read` sets keys and makes tokens; no provider is called with it. It is for the dashboard and the API.

    \b
    Examples:
      metrion admin create ann
      metrion admin create grafana --scope read
      TOKEN=$(metrion admin create)
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        made = store.create_admin(name, scope)
    click.echo(made.secret)
    note(
        f"Admin token {made.name}, to {scope}. It cannot be shown again: keep it now. It opens `metrion dashboard` and "
        "`metrion api`."
    )


@admin.command("list")
@format_option("table", "json", "csv")
@settings_option
def list_(format_: str, settings: Settings) -> None:
    """List the admin tokens by name and last four characters.

    \b
    Examples:
      metrion admin list
      metrion admin list --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        admins = store.admins()
    records = [{field: getattr(each, field) for field in _FIELDS} for each in admins]
    print_records([{"token": record.pop("shown"), **record} for record in records], _HEADINGS, format_)
    if not admins and format_ == "table":
        note("There are no admin tokens yet: `metrion admin create` makes one.")


@admin.command()
@click.argument("name", type=Name(), shell_complete=complete_admins)
@settings_option
def revoke(name: str, settings: Settings) -> None:
    """Refuse the admin token NAME from now on, and end what it is logged in to.

    \b
    Examples:
      metrion admin revoke ann
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    with closing(ControlStore.open(settings)) as store:
        store.revoke_admin(name)
    note(f"Admin token {name} is revoked.")
