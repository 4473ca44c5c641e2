"""``metrion reprice``: the current price files in, recorded costs changed, and the difference on standard output."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from metrion.cli.options import ANSWER_FORMATS, format_option, note, read_span, settings_option, span_options
from metrion.cli.progress import progress

if TYPE_CHECKING:  # these import DuckDB, which --help need not load
    from metrion.repricing import Line, Result
    from metrion.settings import Settings
    from metrion.store.query import Table

_KEPT = {
    "no_price": "the price files have none any more for the model, its service tier or a kind of its tokens",
    "no_day": "a batch is priced at the day on which it was done, and prices changed in the 30 days before it was read",
    "no_usage": "what it depends on beside the tokens cannot be read again",
}
_COLUMNS = {
    "provider": "VARCHAR",
    "model": "VARCHAR",
    "events": "BIGINT",
    "changed": "BIGINT",
    "before_usd": "DECIMAL(18,12)",
    "after_usd": "DECIMAL(18,12)",
    "difference_usd": "DECIMAL(18,12)",
    "unpriced_before": "BIGINT",
    "unpriced_after": "BIGINT",
}


@click.command()
@span_options
@click.option("--model", metavar="NAME", help="Only this model, requested or served; * stands for any text.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--closed", is_flag=True, help="Change months that are over, too.")
@format_option(*ANSWER_FORMATS)
@settings_option
def reprice(
    settings: Settings,
    since: str | None,
    until: str | None,
    model: str | None,
    dry_run: bool,
    closed: bool,
    format_: str,
) -> None:
    """Price events again by the current price files, at the rates of each event's own time.

    Changes what Metrion computed, never what a provider said it charged, and never tokens. What had no price may get
    one; what cannot be priced as well as before stays as it was. Months that are over (UTC) are left alone without
    --closed. Works while the proxy runs; a proxy goes on with the prices that it read when it started.

    \b
    Examples:
      metrion reprice --dry-run
      metrion reprice --model 'grok-4*'
      metrion reprice --since 2026-10-01 --until 2026-11-01 --closed
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.cli.tables import FORMATS
    from metrion.pricing import PriceBook
    from metrion.repricing import Selection
    from metrion.repricing import reprice as price_again

    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    span = read_span(since, until)
    open_since = span.since if closed else max(span.since or month, month)
    prices = PriceBook.load(settings.pricing, without_allowance=settings.without_allowance)
    selection = Selection(since=open_since, until=span.until, model=model)
    with progress("Pricing events again"):
        result = price_again(settings, prices, selection, dry_run=dry_run)
    if result.changed or format_ in ("csv", "json"):
        click.echo(FORMATS[format_](_table(result, with_total=format_ in ("table", "markdown"))), nl=False, color=True)
    _note_outcome(result, prices.version, dry_run=dry_run)
    if open_since != span.since:
        note(f"Before {month:%Y-%m-%d} nothing was looked at: --closed takes months that are over, too.")


def _note_outcome(result: Result, price_version: str, *, dry_run: bool) -> None:
    does = "would get" if dry_run else "got"
    note(f"{result.changed:,} of {result.events:,} events {does} another price, by price version {price_version}.")
    for reason, count in result.kept.items():
        keep = "event keeps its" if count == 1 else "events keep their"
        note(f"{count:,} {keep} recorded price: {_KEPT[reason]}.")
    if result.waiting:
        note(
            f"{result.waiting} segments of the journal could not be ingested, their events are as they were: "
            "`metrion doctor` may say why. Run this again then."
        )


def _table(result: Result, *, with_total: bool) -> Table:
    from metrion.store.query import Table

    lines = {key: line for key, line in result.lines.items() if line.changed}
    rows: list[tuple[Any, ...]] = [
        (*key, *_cells(line)) for key, line in sorted(lines.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]
    if with_total and len(rows) > 1:
        rows.append(("total", "", *map(_total, zip(*(row[2:] for row in rows), strict=True))))
    return Table(tuple(_COLUMNS), tuple(_COLUMNS.values()), rows)


def _total(column: tuple[Any, ...]) -> Any:
    known = [cell for cell in column if cell is not None]
    return sum(known) if known else None


def _cells(line: Line) -> tuple[object, ...]:
    difference = (line.after_usd or Decimal(0)) - (line.before_usd or Decimal(0))
    return (
        line.events,
        line.changed,
        line.before_usd,
        line.after_usd,
        difference,
        line.unpriced_before,
        line.unpriced_after,
    )
