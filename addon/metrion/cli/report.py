"""``metrion report``: the name of a question in, its answer on standard output. Changes nothing."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from metrion import reports
from metrion.cli.bars import bars, every_day, sparkline
from metrion.cli.options import ANSWER_FORMATS, format_option, note, read_span, settings_option, span_options
from metrion.cli.printable import padded, width_of
from metrion.cli.progress import progress
from metrion.settings import Settings
from metrion.settings.timezones import zone

if TYPE_CHECKING:  # it imports DuckDB, which --help need not load
    from metrion.store.query import Table

_LEAST_BAR, _MOST_BAR = 8, 40
"""Characters of the longest bar."""
_MOST_TEXT = 40
"""How many columns of a terminal a label takes at most."""


def _list(context: click.Context, _parameter: click.Parameter, is_given: bool) -> None:
    if is_given:
        width = max(map(len, reports.QUESTIONS))
        for name, answers in reports.QUESTIONS.items():
            click.echo(f"{name:<{width}}  {answers}")
        context.exit()


@click.command()
@click.argument("name", metavar="QUESTION", type=click.Choice(tuple(reports.QUESTIONS)), default="costs")
@span_options
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
@format_option(*ANSWER_FORMATS)
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
    from metrion.cli.tables import FORMATS  # it imports DuckDB, which --help need not load

    try:
        timezone = timezone or settings.timezone
        span = read_span(since, until, zone(timezone))
        with progress("Adding up what was metered"), _uncollected():
            answer = reports.report(settings.journal_dir, settings.store_path, name, span, by, timezone)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for_people = format_ in ("table", "markdown")
    with _uncollected():
        if format_ == "table" and _has_pictures():
            text, color = _pictured(answer), None
        else:
            cuts = format_ == "table" and sys.stdout.isatty()
            table = _readable(answer, cuts=cuts) if for_people else answer.table
            text, color = FORMATS[format_](table), True  # else click cuts out of CSV what looks like one
    click.echo(text, nl=False, color=color)
    if not answer.table.rows and for_people:
        note(f"There is nothing of the kind in {settings.home}. METRION_HOME, --since and --until say where to look.")
    for remark in answer.notes if for_people else ():
        click.echo(f"\n{remark}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make many rows without looking for circles among them, which there are none: a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _has_pictures() -> bool:
    return sys.stdout.isatty() and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _pictured(answer: reports.Answer) -> str:
    """Return the table with a bar for each row where the terminal has room for it, and a line of the days' costs."""
    from metrion.cli.tables import as_table, terminal_width

    table = _readable(answer, cuts=True)
    text = as_table(table)
    measure = "cost_usd" if "cost_usd" in answer.table.columns else "requests"
    amounts = [row[answer.table.columns.index(measure)] for row in answer.table.rows]
    room = (terminal_width() or 0) - max(map(width_of, text.splitlines())) - 2
    is_table = text.splitlines()[0].split()[:1] == list(table.columns[:1])
    if len(amounts) > 1 and is_table and room >= _LEAST_BAR:
        drawn = bars(amounts, min(room, _MOST_BAR))
        lines = text.splitlines()
        width = max(map(width_of, lines))
        before = len(lines) - len(table.rows)
        for number, bar in enumerate(drawn):
            lines[before + number] = f"{padded(lines[before + number], width)}  {_coloured(bar)}".rstrip()
        text = "\n".join(lines) + "\n"
    if answer.table.columns[0] == "day" and answer.table.columns[1] == "requests":
        days = every_day(dict(zip((row[0] for row in answer.table.rows), amounts, strict=True)), terminal_width() or 0)
        if days and (line := sparkline(days[0])):
            text += f"\n{_coloured(line)}\n{measure} by day, {days[1]} to {days[2]}\n"
    return text


def _coloured(text: str) -> str:
    return text if os.environ.get("NO_COLOR") or not text else click.style(text, fg="cyan")


def _readable(answer: reports.Answer, *, cuts: bool = False) -> Table:
    """Return the answer with its total and with short amounts, without columns of amounts that nothing has.

    ``cuts``: a label of thousands of characters must not take the table from the others.
    """
    from metrion.cli.tables import shortened, with_short_texts

    table = answer.table
    rows = [*table.rows, answer.total] if len(table.rows) > 1 else table.rows
    shown = [
        number
        for number, name in enumerate(table.columns)
        if name not in reports.BESIDE or any(row[number] is not None for row in rows)
    ]
    readable = shortened(
        type(table)(
            tuple(table.columns[number] for number in shown),
            tuple(table.types[number] for number in shown),
            [tuple(row[number] for number in shown) for row in rows],
        )
    )
    return with_short_texts(readable, _MOST_TEXT) if cuts else readable
