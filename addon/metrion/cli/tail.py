"""``metrion tail``: events on standard output, one a line, as they are metered. Changes nothing."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from metrion.cli.event_lines import Layout, columns_that_fit
from metrion.cli.options import (
    Completion,
    complete_accounts,
    complete_providers,
    complete_tokens,
    format_option,
    settings_option,
)
from metrion.cli.progress import progress
from metrion.cli.tail_foot import Foot
from metrion.providers import canonical_name

if TYPE_CHECKING:  # it imports pydantic, which --help need not load
    from metrion.settings import Settings

_FILTERS: Mapping[str, tuple[str, ...]] = {
    "provider": ("provider",),
    "user": ("user_label",),
    "token": ("token_name",),
    "account": ("account",),
    "model": ("model", "model_requested"),
    "status": ("status",),
    "session": ("session_id",),
    "client": ("client",),
}
"""The columns by option; one of them has to be like one of the option's values. Tags are columns of their own."""

_COMPLETIONS: Mapping[str, Completion] = {
    "provider": complete_providers,
    "token": complete_tokens,
    "account": complete_accounts,
}


class _Wanted(NamedTuple):
    """What ``column``, or the entry ``key`` of the map that it is, has to be like."""

    column: str
    glob: str
    key: str | None = None


def _filter[R](name: str, metavar: str, help_: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    return click.option(f"--{name}", metavar=metavar, multiple=True, help=help_, shell_complete=_COMPLETIONS.get(name))


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="How many past ones."
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with new ones until Ctrl-C.")
@_filter("provider", "NAME", "Only this provider's.")
@_filter("user", "LABEL", "Only this user's (the header x-metrion-user).")
@_filter("token", "NAME", "Only what this token was used for.")
@_filter("account", "NAME", "Only this account's.")
@_filter("tag", "NAME=VALUE", "Only with this tag (the header x-metrion-tag-NAME); without a value: with any.")
@_filter("session", "ID", "Only this session, as the client names it.")
@_filter("client", "NAME", "Only this program: claude-cli, or claude-cli/2.1.197.")
@_filter("model", "NAME", "Only this model, requested or served.")
@_filter("status", "STATUS", "Only this status: 200, 429, 4xx.")
@format_option("text", "json")
@settings_option
def tail(settings: Settings, count: int, follow: bool, format_: str, **filters: Sequence[str]) -> None:
    """Show requests as they are metered, one a line, within a second.

    A filter may be given several times, then any of them will do; * in it is anything. A cost that is not known is
    `unpriced` (no price for the model) or `unknown` (no usage), or what it is at least, marked ≥; ~ marks an estimate.
    In a terminal there are as many columns as fit, and a long text is cut. `json` is one object a line with all columns
    of `events`.

    \b
    Examples:
      metrion tail
      metrion tail --user alice --status '4*' --status '5*'
      metrion tail --token 'run-*' --client claude-cli
      metrion tail --account team --tag feature=search
      metrion tail -n 100 --no-follow --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.cli.tables import as_json_lines, terminal_width
    from metrion.store import schema
    from metrion.store.follow import LOOK_SECONDS, Follower, Row
    from metrion.store.query import Table

    columns = tuple(schema.COLUMN_TYPES)
    wanted = [_alternatives(name, values) for name, values in filters.items() if values]
    layout = columns_that_fit(terminal_width())

    def show(rows: list[Row]) -> None:
        if format_ == "json":
            click.echo(as_json_lines(Table(columns, tuple(schema.COLUMN_TYPES.values()), rows)), nl=False)
            return
        for row in rows:
            click.echo(_line(dict(zip(columns, row, strict=True)), layout), color=_coloured())

    foot = None
    try:
        with Follower(settings.journal_dir, settings.store_path) as follower:
            with progress("Reading the last requests"):
                history = follower.history(count, *_condition(wanted))
            foot = Foot() if format_ == "text" and follow and sys.stdout.isatty() else None
            if format_ == "text":
                click.echo(click.style(layout.heading(), dim=True), color=_coloured())
            show(history)
            while follow:
                if fresh := [
                    row for row in follower.news() if _is_wanted(dict(zip(columns, row, strict=True)), wanted)
                ]:
                    if foot:
                        click.echo(foot.cleared(), nl=False)
                    show(fresh)
                if foot:
                    foot.add([dict(zip(columns, row, strict=True)) for row in fresh])
                    click.echo(foot.drawn(terminal_width() or 80), nl=False, color=_coloured())
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        if foot:
            click.echo()
        return  # this is how one stops it


def _alternatives(name: str, values: Sequence[str]) -> list[_Wanted]:
    """Return what an option asks for: any of these will do."""
    if name == "tag":
        return [_Wanted("tags", glob if equals else "*", key.lower()) for key, equals, glob in map(_split_tag, values)]
    return [_Wanted(column, glob) for column in _FILTERS[name] for value in values for glob in _globs(name, value)]


def _split_tag(value: str) -> tuple[str, str, str]:
    return value.partition("=")


def _globs(name: str, value: str) -> list[str]:
    match name:
        case "provider":
            return [canonical_name(value)]
        case "status":
            return [_status(value)]
        case "client":  # a version stands behind its slash
            return [value, f"{value}/*"]
        case _:
            return [value]


def _status(value: str) -> str:
    if not re.fullmatch(r"[1-5*?][0-9x*?]{0,2}", value, re.IGNORECASE):
        raise click.BadParameter(f"{value!r} is no status: write 429, 4xx or 4*", param_hint="--status")
    return value.lower().replace("x", "?")


def _condition(wanted: Sequence[Sequence[_Wanted]]) -> tuple[str, dict[str, str]]:
    """Return the filters as SQL with its parameters; :func:`_is_wanted` says the same."""
    parameters: dict[str, str] = {}

    def parameter(value: str) -> str:
        name = f"filter_{len(parameters)}"
        parameters[name] = value
        return f"${name}"

    def sql(each: _Wanted) -> str:
        value = each.column if each.key is None else f"{each.column}[{parameter(each.key)}]"
        return f"CAST({value} AS VARCHAR) GLOB {parameter(each.glob)}"

    conditions = [f"({' OR '.join(map(sql, alternatives))})" for alternatives in wanted]
    return " AND ".join(conditions) or "true", parameters


def _is_wanted(event: Mapping[str, Any], wanted: Sequence[Sequence[_Wanted]]) -> bool:
    return all(any(_is_like(event, each) for each in alternatives) for alternatives in wanted)


def _is_like(event: Mapping[str, Any], each: _Wanted) -> bool:
    value = event[each.column]
    if each.key is not None:
        value = (value or {}).get(each.key)
    return value is not None and fnmatchcase(str(value), each.glob)


def _coloured() -> bool | None:
    """Return False where the environment forbids colours; else click colours terminals only."""
    return False if os.environ.get("NO_COLOR") else None


def _line(event: Mapping[str, Any], layout: Layout) -> str:
    status, end = event["status"], event["end_reason"]
    failed = status is None or status >= 400
    return click.style(layout.line(event), fg="red" if failed else "yellow" if end != "complete" else None)
