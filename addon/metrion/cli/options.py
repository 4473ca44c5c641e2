"""What commands share: the options that several have, and how records are printed."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click


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
        from metrion.control import ControlError, check_name  # imports cryptography

        try:
            return check_name(value)
        except ControlError as error:
            self.fail(str(error), param, ctx)


account_option = click.option(
    "--account",
    type=Name(),
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
