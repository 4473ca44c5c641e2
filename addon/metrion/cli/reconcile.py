"""``metrion reconcile``: bills of providers in, their difference from what was metered on standard output."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metrion.cli.dollars import dollars
from metrion.cli.options import complete_providers, format_option, note, read_span, settings_option, span_options
from metrion.cli.progress import progress

if TYPE_CHECKING:  # these import DuckDB, which --help need not load
    from metrion.reconciling import Comparison, Row
    from metrion.settings import Settings
    from metrion.store.query import Table

_USD = "DECIMAL(18,12)"
_TYPES = {
    "provider": "VARCHAR",
    "day": "DATE",
    "model": "VARCHAR",
    "billed_usd": _USD,
    "metered_usd": _USD,
    "difference_usd": _USD,
    "percent": "DECIMAL(18,2)",
    "billed_input_tokens": "BIGINT",
    "input_tokens": "BIGINT",
    "billed_output_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "requests": "BIGINT",
    "unpriced": "BIGINT",
    "unknown": "BIGINT",
    "at_least_usd": _USD,
    "estimated": "BIGINT",
    "subscription": "BIGINT",
    "reasons": "VARCHAR[]",
}
_TOKENS = ("billed_input_tokens", "input_tokens", "billed_output_tokens", "output_tokens")
_MONEY = ("billed_usd", "metered_usd", "difference_usd", "percent")
_COUNTS = ("unpriced", "unknown", "estimated", "subscription")

_MEANING = {
    "unpriced": "metered without a price, and in no figure here: give the model one (docs/pricing.md), then run "
    "`metrion reprice`",
    "unknown": "billed, and their usage is not known: in no figure here. `metrion report unpriced` says the way out",
    "estimated": "metered by an estimate of their tokens or of a part of their price (docs/estimates.md)",
    "subscription": "paid for by a subscription, which no bill by tokens has; they count as 0",
    "never_passed": "Metrion saw no request of this model on any of these days: it went another way",
    "not_metered": "Metrion saw requests of this model, but none on this day",
    "not_on_bill": "Metrion saw requests of this model, and the bill has no line for it on this day",
    "not_matched": "the bill names no model that Metrion knows; tools that are billed apart are metered within their "
    "models",
    "no_model": "the bill names no model: `--by day` compares it",
    "before_first_event": "before the first request of this provider that was metered",
    "after_last_event": "after the last request of this provider that was metered",
    "part_of_day": "the bill has some hours of this day only, and all of it was metered",
}
"""What each reason for a difference means, in the order in which they are explained."""


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--provider",
    metavar="NAME",
    shell_complete=complete_providers,
    help="Whose bill it is, where the file does not say; or the provider of metrion.yaml whose bill it is.",
)
@span_options
@click.option(
    "--by",
    type=click.Choice(("day,model", "day", "model")),
    default="day,model",
    show_default=True,
    help="One line for each of these.",
)
@format_option("table", "csv", "json")
@settings_option
def reconcile(
    settings: Settings,
    files: tuple[Path, ...],
    provider: str | None,
    since: str | None,
    until: str | None,
    by: str,
    format_: str,
) -> None:
    """Compare what providers say they billed with what was metered.

    FILE is what OpenAI's, Anthropic's or Google Cloud's console exports, or the JSON of their APIs of costs and usage;
    docs/reconcile.md says how to get each, and has a plain form for other bills. Only days that a bill covers are
    compared. The difference is what was metered less what was billed. The exit status is 0 whatever the difference is.

    \b
    Examples:
      metrion reconcile costs.json
      metrion reconcile openai.json anthropic.csv --by day --since month
      metrion reconcile mistral.csv --provider mistral --format csv
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.cli.tables import FORMATS, shortened
    from metrion.pricing import PriceBook
    from metrion.reconciling import read_files
    from metrion.reconciling import reconcile as compare

    span = read_span(since, until)
    name = _configured(provider, settings)
    bills = read_files(files, name, settings.providers[name].like if name else None)
    prices = PriceBook.load(settings.pricing)
    dimensions = by.split(",")
    with progress("Comparing the bills with what was metered"):
        comparison = compare(settings, prices, bills, since=span.since, until=span.until, by=dimensions)
    for_people = format_ == "table"
    shown = [*comparison.rows, comparison.total] if for_people and len(comparison.rows) > 1 else comparison.rows
    table = _table([_cells(row) for row in shown], dimensions, for_people=for_people)
    table = shortened(table) if for_people else table
    click.echo(FORMATS[format_](table), nl=False, color=True)  # else click cuts out of CSV what looks like one
    for line in _explanations(comparison) if for_people else ():
        click.echo(f"\n{line}")
    for remark in comparison.remarks:
        note(f"\n{remark}" if for_people else remark)


def _configured(provider: str | None, settings: Settings) -> str | None:
    from metrion.providers import canonical_name

    if provider is None or (name := canonical_name(provider)) in settings.providers:
        return provider and canonical_name(provider)
    raise click.UsageError(f"{name!r} is no provider; there is {', '.join(settings.providers)}")


def _cells(row: Row) -> dict[str, Any]:
    from metrion.reconciling.comparison import rounded

    def money(usd: Decimal | None) -> Decimal | None:
        return None if usd is None else rounded(usd)

    counts = row.counts
    return {
        "provider": row.provider,
        "day": row.day,
        "model": row.model,
        "billed_usd": money(row.billed_usd),
        "metered_usd": money(row.metered_usd),
        "difference_usd": row.difference_usd,
        "percent": row.difference_percent,
        "billed_input_tokens": row.billed_input_tokens,
        "input_tokens": counts.input_tokens,
        "billed_output_tokens": row.billed_output_tokens,
        "output_tokens": counts.output_tokens,
        "requests": counts.requests,
        "unpriced": counts.unpriced,
        "unknown": counts.unknown,
        "at_least_usd": money(counts.at_least_usd),
        "estimated": counts.estimated,
        "subscription": counts.subscription,
        "reasons": [name for name in _MEANING if name in row.reasons],
    }


def _table(rows: list[dict[str, Any]], dimensions: list[str], *, for_people: bool) -> Table:
    """Return the table. People get the counts within the reasons, and tokens only where a bill has them."""
    from metrion.store.query import Table

    columns = ["provider", *dimensions, *_MONEY]
    has_tokens = any(row["billed_input_tokens"] is not None for row in rows)
    if not for_people:
        columns += [name for name in _TYPES if name not in ("provider", "day", "model", *_MONEY)]
        return Table(tuple(columns), tuple(_TYPES[name] for name in columns), [_picked(row, columns) for row in rows])
    columns += _TOKENS if has_tokens else ()
    columns.append("reasons")
    for row in rows:
        counts = [f"{row[name]} {name}" for name in _COUNTS if row[name]]
        row["reasons"] = ", ".join([*counts, *row["reasons"]])
        for name in dimensions:
            row[name] = "" if row[name] is None else row[name]
    return Table(tuple(columns), tuple(_TYPES[name] for name in columns), [_picked(row, columns) for row in rows])


def _picked(row: dict[str, Any], columns: list[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in columns)


def _explanations(comparison: Comparison) -> list[str]:
    """Return a sentence for each reason that occurs, with how often it does."""
    counts = comparison.total.counts
    lines = []
    for name, meaning in _MEANING.items():
        often = getattr(counts, name) if name in _COUNTS else sum(name in row.reasons for row in comparison.rows)
        if often:
            lines.append(f"{often} {name}: {meaning}")
    if counts.at_least_usd is not None:
        lines.append(f"What is unpriced or unknown costs at least {dollars(counts.at_least_usd)} USD.")
    return lines
