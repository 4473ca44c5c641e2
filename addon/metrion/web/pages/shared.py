"""What pages share: the sums that a view is of, and charts over its hours or days."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from metrion.store.schema import literal
from metrion.web import charts, formats
from metrion.web.blocks import Block, Column
from metrion.web.filters import DIMENSIONS, NONE, Filters
from metrion.web.reader import View

HEAD = charts.REST
"""So many of a dimension have a colour of their own; the rest is one."""

FAILED = "(coalesce(status >= 400, true) OR error_type IS NOT NULL OR coalesce(end_reason, '') <> 'complete')"
"""Whether the requests of a row failed, as `metrion report errors` has it."""

COST = "if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed))"
"""What was spent: 0 where nothing was billed, NULL where nothing of what was billed is known."""
REQUESTS = "requests_of(requests, shared)"


def choose(view: View, filters: Filters) -> None:
    """Make the temporary view ``chosen``: the sums of the view, and of the period before it (``is_now`` is false).

    A view has no parameters: values stand in it as literals. Nothing is copied, so that any store fits.
    """
    conditions, parameters = filters.conditions()
    before = "AND (quarter >= $since OR quarter < $before_until)" if filters.before else ""
    parameters |= {
        "timezone": filters.timezone,
        "first": filters.before or filters.since,
        "since": filters.since,
        "until": filters.until,
        "before_until": filters.before_until,
    }
    view.rows(
        filled(
            f"""CREATE OR REPLACE TEMP VIEW chosen AS
            SELECT *, quarter >= $since AS is_now, {FAILED} AS failed, {filters.bucket()} AS bucket FROM sums
            WHERE quarter >= $first AND quarter < $until {before} AND {conditions}
                AND end_reason IS DISTINCT FROM 'retried'""",  # noqa: S608 -- all of it is written here
            parameters,
        )
    )


def filled(sql: str, parameters: Mapping[str, Any]) -> str:
    """Return a query with literals in the place of its parameters."""

    def written(found: re.Match[str]) -> str:
        value = parameters[found[1]]
        if isinstance(value, datetime):
            return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
        return literal(str(value).replace("\0", ""))

    return re.sub(r"\$([a-z_]+)", written, sql)


def course(filters: Filters, rows: Sequence[tuple[datetime, Any]], default: float | None = 0.0) -> list[float | None]:
    """Return a figure for every bucket of the view, in order."""
    found = dict(rows)
    return [default if found.get(at) is None else float(found[at]) for at in filters.buckets()]


def labels(filters: Filters) -> list[str]:
    """Return what the buckets are called beneath a chart."""
    pattern = "%H:%M" if filters.hourly else "%b %d"
    return [f"{at:{pattern}}" for at in filters.buckets()]


def stacked(view: View, filters: Filters, block_id: str, title: str, measure: str, kind: str, note: str = "") -> Block:
    """Return a measure over time, stacked by the view's dimension: the head, and the rest as one."""
    column = DIMENSIONS[filters.by]
    heads = view.rows(
        f"SELECT {column}, {measure} AS value FROM chosen WHERE is_now GROUP BY 1 "  # noqa: S608 -- all of it is written here
        f"ORDER BY value DESC NULLS LAST, 1 LIMIT {HEAD + 1}"
    )
    names = [name for name, _ in heads[:HEAD]]
    rows = view.rows(
        f"""SELECT bucket, list_position($names::VARCHAR[], coalesce({column}, '')) AS place, {measure} AS value
        FROM chosen WHERE is_now GROUP BY ALL""",  # noqa: S608 -- all of it is written here
        {"names": [name or "" for name in names]},
    )
    order = filters.buckets()
    shown = [_called(name) for name in names] + (["All others"] if len(heads) > HEAD else [])
    values: list[dict[datetime, Any]] = [{} for _ in range(len(names) + 1)]
    for at, place, value in rows:
        index = place - 1 if place else len(names)
        if value is not None:
            values[index][at] = values[index].get(at, 0) + value
    table = [
        (at, *(values[n].get(at) for n in range(len(shown))), sum((v.get(at, 0) for v in values), Decimal(0)))
        for at in order
    ]
    series = [
        (n if n < len(names) else charts.REST, name, [float(values[n].get(at, 0) or 0) for at in order])
        for n, name in enumerate(shown)
    ]
    write = formats.FORMATS[kind]
    tips = [
        f"{formats.bucket(at)}: {write(row[-1])}"
        + "".join(
            f"\n{formats.text(name)} {write(value)}" for name, value in zip(shown, row[1:-1], strict=True) if value
        )
        for at, row in zip(order, table, strict=True)
    ]
    has_any = any(row[-1] for row in table)
    return Block(
        block_id,
        title,
        [
            Column("time", "Time", "bucket"),
            *(Column(name, name, kind) for name in _distinct(shown)),
            Column("total", "Total", kind),
        ],
        table if rows else [],
        chart=picture(title, filters, series, kind, tips) if has_any else Markup(""),
        legend=[(colour, name) for colour, name, _ in series],
        note=note,
        wide=True,
    )


def _distinct(names: Sequence[str]) -> list[str]:
    return [f"{name} " if name in ("time", "total") else name for name in names]


def _called(name: str | None) -> str:
    return NONE if name is None else name


def picture(
    title: str,
    filters: Filters,
    series: Sequence[tuple[int, str, Sequence[Any]]],
    kind: str,
    tips: Sequence[str],
    draw: Callable[..., Markup] = charts.bars,
) -> Markup:
    """Draw series over the buckets of a view, with an axis that fits."""
    if draw is charts.bars:
        tops = [sum(values[n] for _, _, values in series) for n in range(len(tips))]
    else:
        tops = [value for _, _, values in series for value in values if value is not None]
    top = charts.nice(max(tops, default=0))
    write = formats.FORMATS["short" if kind == "count" else kind]
    axis = [write(top if kind != "usd" else Decimal(str(top))), write(Decimal(str(top)) / 2), write(0)]
    return draw(title, labels(filters), series, axis, top, tips)
