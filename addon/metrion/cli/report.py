"""``metrion report``: the name of a question in, its answer on standard output. Changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

import click

from metrion import reports
from metrion.cli.options import format_option, note, settings_option
from metrion.settings import Settings
from metrion.settings.timezones import zone

if TYPE_CHECKING:  # DuckDB, which --help need not load
    from metrion.store.query import Table


def moment(_context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read a point in time that a person typed, in UTC."""
    return _moment(value, UTC, parameter.opts[0])


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Refuse a span that nothing can be in."""
    if since and until and until <= since:
        raise click.UsageError(
            f"--until ({until:%Y-%m-%d %H:%M} UTC) is not after --since ({since:%Y-%m-%d %H:%M} UTC)"
        )


def _moment(text: str | None, timezone: tzinfo, option: str) -> datetime | None:
    try:
        return None if text is None else reports.moment(text, datetime.now(UTC), timezone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from error


def _list(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        width = max(map(len, reports.QUESTIONS))
        for name, answers in reports.QUESTIONS.items():
            click.echo(f"{name:<{width}}  {answers}")
        context.exit()


@click.command()
@click.argument("name", metavar="QUESTION", type=click.Choice(tuple(reports.QUESTIONS)), default="costs")
@click.option("--since", help="From when on: 2026-11-01, 2026-11-01T08:00Z, 7d, 24h, today, month.")
@click.option("--until", help="Up to this moment, not including it; as --since.")
@click.option(
    "--by",
    metavar="|".join((*reports.GROUPS, "tag:NAME")),
    multiple=True,
    help="What to group costs by; several times: by each in turn.  [default: day]",
)
@click.option("--timezone", metavar="NAME", help="Whose days and months: Europe/Berlin.  [default: the configured one]")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List the questions, and end."
)
@format_option("table", "csv", "json", "markdown")
@settings_option
def report(
    name: str,
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    timezone: str | None,
    format_: str,
    settings: Settings,
) -> None:
    """Answer an everyday question about everything metered so far; times are UTC.

    QUESTION is `costs` where it is left out, or `errors`, `latency`, `models`, `providers`, `tokens`, `unpriced` or
    `users`; `--list` says what each answers. The column `unpriced` counts requests whose model has no price, `unknown`
    those whose usage is not known; neither is in the dollars.

    \b
    Examples:
      metrion report --since month
      metrion report costs --by user --since 7d
      metrion report costs --by month --by model --timezone Europe/Berlin
      metrion report latency --since today
      metrion report errors --format markdown
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion import store
    from metrion.cli.tables import FORMATS  # DuckDB, which --help need not load

    try:
        timezone = timezone or settings.timezone
        span = reports.Span(
            since=_moment(since, zone(timezone), "--since"), until=_moment(until, zone(timezone), "--until")
        )
        check_span(span.since, span.until)
        answer = reports.report(settings.journal_dir, settings.store_path, name, span, by, timezone)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except store.StoreError as error:
        raise click.ClickException(str(error)) from error
    for_people = format_ in ("table", "markdown")
    click.echo(FORMATS[format_](_readable(answer) if for_people else answer.table), nl=False)
    if not answer.table.rows and for_people:
        note(f"There is nothing of the kind in {settings.home}. METRION_HOME, --since and --until say where to look.")
    for remark in answer.notes if for_people else ():
        click.echo(f"\n{remark}")


def _readable(answer: reports.Answer) -> Table:
    """Return the answer with its total and with short amounts, without columns of amounts that nothing has."""
    from metrion.cli.tables import shortened

    table = answer.table
    rows = [*table.rows, answer.total] if len(table.rows) > 1 else table.rows
    shown = [
        number
        for number, name in enumerate(table.columns)
        if name not in reports.BESIDE or any(row[number] is not None for row in rows)
    ]
    return shortened(
        type(table)(
            tuple(table.columns[number] for number in shown),
            tuple(table.types[number] for number in shown),
            [tuple(row[number] for number in shown) for row in rows],
        )
    )
