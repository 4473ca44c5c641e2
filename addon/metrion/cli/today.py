"""``metrion today``: what was spent since midnight, in one line for a prompt or a status line. Changes no event.

A shell runs it at every prompt. So it reads what it needs of the configuration without pydantic, and the figures
without DuckDB (:mod:`metrion.store.recent`).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from metrion.cli.options import complete_accounts, complete_tokens, format_option
from metrion.cli.spent import of_today

if TYPE_CHECKING:
    from datetime import tzinfo


class Place(NamedTuple):
    """What is needed of the settings: the names are theirs."""

    journal_dir: Path
    store_path: Path
    timezone: str


@click.command()
@click.option("--token", metavar="NAME", shell_complete=complete_tokens, help="Only what this token was used for.")
@click.option("--account", metavar="NAME", shell_complete=complete_accounts, help="Only what this account used.")
@format_option("text", "json")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration to use instead of $METRION_CONFIG or metrion.yaml in $METRION_HOME.",
)
def today(token: str | None, account: str | None, format_: str, config: Path | None) -> None:
    """Say in one line what was spent today, for a prompt or a status line.

    The day is that of `timezone` in the configuration. Requests without a cost are those whose model has no price and
    those whose usage is not known; they are in no sum. `$?`: there are only such.

    \b
    Examples:
      metrion today
      metrion today --token laptop
      PS1='$(metrion today) \\$ '
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.store import recent

    place = place_of(config)
    since = _midnight(place.timezone)
    spent = recent.spent(place.journal_dir, place.store_path, since, account=account, token=token)
    if format_ == "json":
        amount = None if spent.cost_usd is None else format(spent.cost_usd, "f")
        figures = {"requests": spent.requests, "unpriced": spent.unpriced, "unknown": spent.unknown}
        tokens = {"input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens}
        click.echo(json.dumps({"since": f"{since.isoformat()}Z", "cost_usd": amount, **figures, **tokens}))
    else:
        click.echo(of_today(spent))


def place_of(config: Path | None) -> Place:
    """Read what is needed of the settings, as :func:`metrion.settings.load_settings` does.

    :raises SettingsError: a setting cannot be used.
    """
    home = Path(os.environ.get("METRION_HOME") or "~/.metrion").expanduser().absolute()
    named = config or os.environ.get("METRION_CONFIG")
    path = Path(named).expanduser() if named else home / "metrion.yaml"
    if not named and not path.exists():
        return Place(home / "journal", home / "usage.duckdb", "UTC")
    import yaml

    with suppress(OSError, ValueError, yaml.YAMLError):
        file = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 -- both are safe
        if isinstance(file, dict):
            store, timezone = file.get("store") or "usage.duckdb", file.get("timezone") or "UTC"
            if isinstance(store, str) and isinstance(timezone, str) and ":" not in store:
                return Place(home / "journal", home / Path(store).expanduser(), timezone)
    from metrion.settings import load_settings  # it says what is wrong

    settings = load_settings(config, os.environ)
    return Place(settings.journal_dir, settings.store_path, settings.timezone)


def _midnight(timezone: str) -> datetime:
    """Return when today began, in naive UTC."""
    zone: tzinfo = UTC
    if timezone != "UTC":
        from zoneinfo import ZoneInfo

        try:
            zone = ZoneInfo(timezone)
        except (LookupError, ValueError, OSError):
            raise click.ClickException(f"timezone: {timezone!r} is no time zone here") from None
    now = datetime.now(zone)
    return now.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC).replace(tzinfo=None)
