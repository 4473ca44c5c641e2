"""``metrion tail``: events on standard output, one a line, as they are metered. Changes nothing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from metrion.cli.options import complete_providers, format_option, settings_option
from metrion.providers import canonical_name

if TYPE_CHECKING:  # it imports pydantic, which --help need not load
    from metrion.settings import Settings

_FILTERS: Mapping[str, tuple[str, ...]] = {
    "provider": ("provider",),
    "user": ("user_label",),
    "model": ("model", "model_requested"),
    "status": ("status",),
}
"""The columns by option; one of them has to be like the option's value."""

_HEADING = ("time (UTC)", "user", "provider", "model", "status", "in", "out", "cached", "cost", "took", "end")
_WIDTHS = (19, -12, -9, -28, 6, 9, 9, 9, 12, 9, -8)
"""How wide each column is, in characters; a negative one is aligned to the left. A longer text is not cut."""


def _filter[R](name: str, metavar: str, help_: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    complete = complete_providers if name == "provider" else None
    return click.option(f"--{name}", metavar=metavar, multiple=True, help=help_, shell_complete=complete)


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="How many past ones."
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with new ones until Ctrl-C.")
@_filter("provider", "NAME", "Only this provider's.")
@_filter("user", "LABEL", "Only this user's (the header x-metrion-user).")
@_filter("model", "NAME", "Only this model, requested or served.")
@_filter("status", "STATUS", "Only this status: 200, 429, 4xx.")
@format_option("text", "json")
@settings_option
def tail(settings: Settings, count: int, follow: bool, format_: str, **filters: Sequence[str]) -> None:
    """Show requests as they are metered, one a line, within a second.

    A filter may be given several times, then any of them will do; * in it is anything. A cost that is not known is
    `unpriced` (no price for the model) or `unknown` (no usage), or what it is at least, marked ≥; ~ marks an estimate.
    `json` is one object a line with all columns of `events`.

    \b
    Examples:
      metrion tail
      metrion tail --user alice --status '4*' --status '5*'
      metrion tail -n 100 --no-follow --format json
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.cli.tables import as_json_lines
    from metrion.store import schema
    from metrion.store.follow import LOOK_SECONDS, Follower, Row
    from metrion.store.query import Table

    columns = tuple(schema.COLUMN_TYPES)
    wanted = {name: _globs(name, values) for name, values in filters.items() if values}

    def show(rows: list[Row]) -> None:
        if format_ == "json":
            click.echo(as_json_lines(Table(columns, tuple(schema.COLUMN_TYPES.values()), rows)), nl=False)
            return
        for row in rows:
            click.echo(_line(dict(zip(columns, row, strict=True))), color=_coloured())

    try:
        with Follower(settings.journal_dir, settings.store_path) as follower:
            history = follower.history(count, *_condition(wanted))
            if format_ == "text":
                click.echo(click.style(_columns(_HEADING), dim=True), color=_coloured())
            show(history)
            while follow:
                if fresh := [
                    row for row in follower.news() if _is_wanted(dict(zip(columns, row, strict=True)), wanted)
                ]:
                    show(fresh)
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        return  # this is how one stops it


def _globs(name: str, values: Sequence[str]) -> list[str]:
    match name:
        case "provider":
            return [canonical_name(value) for value in values]
        case "status":
            return [_status(value) for value in values]
        case _:
            return list(values)


def _status(value: str) -> str:
    if not re.fullmatch(r"[1-5*?][0-9x*?]{0,2}", value, re.IGNORECASE):
        raise click.BadParameter(f"{value!r} is no status: write 429, 4xx or 4*", param_hint="--status")
    return value.lower().replace("x", "?")


def _condition(wanted: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]]:
    """Return the filters as SQL with its parameters; :func:`_is_wanted` says the same."""
    parameters = {f"{name}_{number}": glob for name, globs in wanted.items() for number, glob in enumerate(globs)}
    alternatives = [
        " OR ".join(
            f"CAST({column} AS VARCHAR) GLOB ${name}_{n}" for column in _FILTERS[name] for n in range(len(globs))
        )
        for name, globs in wanted.items()
    ]
    return " AND ".join(f"({each})" for each in alternatives) or "true", parameters


def _is_wanted(event: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(
        any(
            event[column] is not None and fnmatchcase(str(event[column]), glob)
            for column in _FILTERS[name]
            for glob in globs
        )
        for name, globs in wanted.items()
    )


def _coloured() -> bool | None:
    """Return False where the environment forbids colours; else click colours terminals only."""
    return False if os.environ.get("NO_COLOR") else None


def _line(event: Mapping[str, Any]) -> str:
    status, end = event["status"], event["end_reason"]
    cells = (
        f"{event['started_at']:%Y-%m-%d %H:%M:%S}",
        event["user_label"],
        event["provider"],
        event["model"] or event["model_requested"],
        status,
        _count(event["input_tokens"]),
        _count(event["output_tokens"]),
        _count(event["cache_read_tokens"]),
        _cost(event),
        None if event["latency_ms"] is None else f"{event['latency_ms']:,.0f} ms",
        " ".join(filter(None, (end, event["error_type"]))),
    )
    failed = status is None or status >= 400
    return click.style(_columns(cells), fg="red" if failed else "yellow" if end != "complete" else None)


def _columns(cells: Sequence[object]) -> str:
    from metrion.cli.tables import printable

    texts = ("-" if cell in (None, "") else printable(str(cell)) for cell in cells)
    padded = (
        text.rjust(width) if width > 0 else text.ljust(-width) for text, width in zip(texts, _WIDTHS, strict=True)
    )
    return "  ".join(padded).rstrip()


def _count(tokens: int | None) -> str | None:
    return None if tokens is None else f"{tokens:,}"


def _cost(event: Mapping[str, Any]) -> str:
    cost, at_least, source = event["cost_usd"], event["cost_at_least_usd"], event["cost_source"] or "unknown"
    match source:
        case "subscription":
            return "subscription"  # a flat-rate plan covers it
        case "estimated" if cost is not None:
            return f"~${cost:.6f}"
        case _ if cost is not None:
            return f"${cost:.6f}"
        case _ if at_least is not None:
            return f"≥${at_least:.6f}"
    return str(source)
