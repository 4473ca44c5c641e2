"""What commands share: the options that several have, and how records are printed."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # cryptography and pydantic, which --help need not load
    from metrion.control import ControlStore
    from metrion.settings import Settings


def settings_option[R](command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--config FILE`` and pass what it configures as the keyword argument ``settings``."""

    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The configuration to use instead of $METRION_CONFIG or metrion.yaml in $METRION_HOME.",
    )
    @functools.wraps(command)
    def run(*args: object, config: Path | None, **kwargs: object) -> R:
        from metrion.settings import load_settings  # pydantic: three times what all of `--help` costs

        return command(*args, settings=load_settings(config, os.environ), **kwargs)

    return run


def format_option[**P, R](*formats: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add ``--format``, passed as ``format_``; the first of ``formats`` is the default."""
    return click.option(
        "--format", "format_", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


def print_records(records: Sequence[Mapping[str, object]], headings: Mapping[str, str], format_: str) -> None:
    """Print ``records`` as one JSON array (``json``) or as a table with the columns of ``headings``.

    JSON has every field: times as ISO 8601 with ``Z``, decimals as strings, ``None`` as null.
    """
    if format_ == "json":
        click.echo(json.dumps(records, indent=2, ensure_ascii=False, default=_as_json))
        return
    from tabulate import tabulate  # 90 ms

    rows = [[_as_cell(record[name]) for name in headings] for record in records]
    click.echo(tabulate(rows, headers=list(headings.values()), tablefmt="simple", disable_numparse=True))


class Name(click.ParamType[str]):
    """The name of an account or a token; one that cannot be used is bad usage."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return ``value`` if it can be a name."""
        from metrion.control import check_name  # imports cryptography
        from metrion.errors import ControlError

        try:
            return check_name(value)
        except ControlError as error:
            self.fail(str(error), param, ctx)


def complete_providers(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a configured provider, or another name for it."""
    from metrion.providers import ALIASES

    settings = _settings_to_complete(context)
    return _beginning(incomplete, (*settings.providers, *ALIASES)) if settings else []


def complete_accounts(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of an account."""
    return _beginning(incomplete, _from_control(context, lambda control: [each.name for each in control.accounts()]))


def complete_tokens(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a token that can be used."""
    return _beginning(
        incomplete,
        _from_control(context, lambda control: [each.name for each in control.tokens() if each.state == "active"]),
    )


def _settings_to_complete(context: click.Context) -> Settings | None:
    from metrion.errors import SettingsError
    from metrion.settings import load_settings

    with suppress(SettingsError):  # nobody is told of mistakes while typing
        return load_settings(context.params.get("config"), os.environ)
    return None


def _from_control(context: click.Context, ask: Callable[[ControlStore], list[str]]) -> list[str]:
    from metrion.control import ControlStore
    from metrion.errors import ControlError

    settings = _settings_to_complete(context)
    if settings is None or not settings.control_db.exists():  # asking would make it
        return []
    with suppress(ControlError), closing(ControlStore.open(settings)) as control:
        return ask(control)
    return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


account_option = click.option(
    "--account",
    type=Name(),
    shell_complete=complete_accounts,
    default="default",
    show_default=True,
    help="The account it belongs to.",
)


def note(text: str) -> None:
    """Tell the person something on standard error: standard output is for what a script reads."""
    click.echo(text, err=True)


def _as_json(value: object) -> str:
    return _utc(value).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _as_cell(value: object) -> str:
    if value is None:
        return ""
    return _utc(value).strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
