"""``metrion report``: the name of a question in, its answer on standard output. Changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from metrion import reports
from metrion.cli.options import format_option, note, settings_option
from metrion.settings import Settings


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read a point in time that a person typed."""
    try:
        return None if value is None else reports.moment(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Refuse a span that nothing can be in."""
    if since and until and until <= since:
        raise click.UsageError(
            f"--until ({until:%Y-%m-%d %H:%M} UTC) is not after --since ({since:%Y-%m-%d %H:%M} UTC)"
        )


def _list(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        width = max(map(len, reports.QUESTIONS))
        for name, answers in reports.QUESTIONS.items():
            click.echo(f"{name:<{width}}  {answers}")
        context.exit()


@click.command()
@click.argument("name", metavar="QUESTION", type=click.Choice(tuple(reports.QUESTIONS)), default="costs")
@click.option("--since", callback=moment, help="From when on: 2026-11-01, 2026-11-01T08:00Z, 7d, 24h, today, month.")
@click.option("--until", callback=moment, help="Up to this moment, not including it; as --since.")
@click.option(
    "--by",
    metavar="|".join((*reports.GROUPS, "tag:NAME")),
    help="What to group costs by.  [default: day]",
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List the questions, and end."
)
@format_option("table", "csv", "json", "markdown")
@settings_option
def report(
    name: str, since: datetime | None, until: datetime | None, by: str | None, format_: str, settings: Settings
) -> None:
    """Answer an everyday question about everything metered so far; days and times are UTC.

    QUESTION is `costs` where it is left out, or `errors`, `latency`, `models`, `providers`, `tokens`, `unpriced` or
    `users`; `--list` says what each answers. The column `unpriced` counts requests whose model has no price, `unknown`
    those whose usage is not known; neither is in the dollars.

    \b
    Examples:
      metrion report --since month
      metrion report costs --by user --since 7d
      metrion report latency --since today
      metrion report errors --format markdown
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    check_span(since, until)
    from metrion import store
    from metrion.cli.tables import FORMATS  # DuckDB, which --help need not load

    try:
        answer = reports.report(
            settings.journal_dir, settings.store_path, name, reports.Span(since=since, until=until), by
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except store.StoreError as error:
        raise click.ClickException(str(error)) from error
    table = answer.table
    for_people = format_ in ("table", "markdown")
    if for_people and len(table.rows) > 1:
        table = type(table)(table.columns, table.types, [*table.rows, answer.total])
    click.echo(FORMATS[format_](table), nl=False)
    if not table.rows and for_people:
        note(f"There is nothing of the kind in {settings.home}. METRION_HOME, --since and --until say where to look.")
    for remark in answer.notes if for_people else ():
        click.echo(f"\n{remark}")
