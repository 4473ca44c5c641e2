"""What pages share: the sums that a view is of, and charts over its hours or days."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from metrion.store import rollups, spans
from metrion.store.schema import literal
from metrion.web import charts, formats
from metrion.web.blocks import Block, Column
from metrion.web.filters import Filters
from metrion.web.narrowing import NONE
from metrion.web.reader import View

HEAD = charts.REST
"""So many of a dimension have a colour of their own; the rest is one."""

COST = "if(coalesce(sum(responses) FILTER (billed), 0) = 0, 0, sum(cost_usd) FILTER (billed))"
"""What was spent: 0 where nothing was billed, NULL where nothing of what was billed is known."""
REQUESTS = "requests_of(requests, shared)"
TOKENS = "(coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0))"


def gather(view: View, filters: Filters) -> None:
    """Sum rows up, once for all of a page's questions, where only rows answer; :func:`chosen` reads these sums then."""
    if filters.by_rows:
        rows = _rows(filters, filters.before or filters.since, filters.until)
        more = {"tag": filled("tags[$tag]", {"tag": filters.tag})} if filters.tag else {}
        view.rows(f"CREATE OR REPLACE TEMP TABLE gathered AS {spans.of_rows(rows, rollups.KEYS, more)}")


def summed(filters: Filters, keys: Iterable[str], since: datetime, until: datetime) -> str:
    """Return the query for the sums of any span that meet the filters, by at least ``keys``."""
    if filters.by_rows:
        return spans.of_rows(_rows(filters, since, until), keys)
    conditions, parameters = filters.conditions()
    return filled(f"SELECT * FROM ({spans.sums(filters.keys(*keys), since, until)}) WHERE {conditions}", parameters)  # noqa: S608 -- all of it is written here


def _rows(filters: Filters, since: datetime, until: datetime) -> str:
    conditions, parameters = filters.conditions(of_rows=True)
    span = f"started_at >= {spans.literal(since)} AND started_at < {spans.literal(until)}"
    return filled(f"SELECT * FROM billing WHERE {span} AND {conditions}", parameters)  # noqa: S608 -- as above


def chosen(filters: Filters, *keys: str, before: bool = False, over: bool = False) -> str:
    """Return the query for the sums of a view, by at least ``keys``; ``before``: those of the period before it, too.

    ``over``: they are of the whole period, not of its hours or days. ``is_now`` is false in those before; ``bucket`` is
    the local hour or day. Where only rows answer, :func:`gather` has to have been called.
    """
    conditions, parameters = filters.conditions()
    periods = [(True, filters.since, filters.until)]
    if before and filters.before and filters.before_until:
        periods.append((False, filters.before, filters.before_until))
    parts = []
    for is_now, since, until in periods:
        if filters.by_rows:
            source = "gathered"
            conditions = f"quarter >= {spans.literal(since)} AND quarter < {spans.literal(until)}"
        else:
            source = f"({spans.sums(filters.keys(*keys), since, until, None if over else filters.within)})"
        parts.append(f"SELECT *, {is_now} AS is_now, {filters.bucket()} AS bucket FROM {source} WHERE {conditions}")  # noqa: S608 -- as above
    return filled("\nUNION ALL ".join(parts), parameters)


def figures(
    view: View, filters: Filters, table: str, sets: Sequence[str], measures: Mapping[str, str], *, before: bool = False
) -> None:
    """Make a temporary table of measures by each of the sets of columns, all in one look at the sums.

    ``made_by`` is the set; ``requests`` and, where ``failed`` is a column, ``failures`` are there too.
    """
    names = list(dict.fromkeys(name for each in sets for name in each.split(", ")))
    keys = [name for name in names if name in rollups.KEYS]
    bits = {
        each: sum(1 << n for n, name in enumerate(reversed(names)) if name not in each.split(", ")) for each in sets
    }
    made_by = " ".join(f"WHEN {bit} THEN {literal(each)}" for each, bit in bits.items())
    made_by = f"CASE grouping({', '.join(names)}) {made_by} END AS made_by, {', '.join(names)}"
    groups = f"GROUP BY GROUPING SETS ({', '.join(f'({each})' for each in sets)})"
    sums_ = chosen(filters, *keys, before=before)
    more = "".join(f", {made} AS {name}" for name, made in measures.items())
    same = " AND ".join(f"one.{name} IS NOT DISTINCT FROM several.{name}" for name in ("made_by", *names))
    # Requests of several rows are few, and lists of them dear: they are counted apart.
    view.rows(
        f"""CREATE OR REPLACE TEMP TABLE {table} AS
        WITH one AS (
            SELECT {made_by}, sum(requests) AS requests, coalesce(sum(requests) FILTER (failed), 0) AS failures{more}
            FROM ({sums_}) {groups}
        ), several AS (
            SELECT {made_by}, count(DISTINCT id) AS requests, count(DISTINCT id) FILTER (failed) AS failures
            FROM (SELECT *, unnest(shared) AS id FROM ({sums_}) WHERE shared IS NOT NULL) {groups}
        )
        SELECT one.* REPLACE (
            (coalesce(one.requests, 0) + coalesce(several.requests, 0))::BIGINT AS requests,
            (one.failures + coalesce(several.failures, 0))::BIGINT AS failures
        ) FROM one LEFT JOIN several ON {same}"""  # noqa: S608 -- all of it is written here
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


def stacks(view: View, filters: Filters, measures: Mapping[str, str]) -> dict[str, Stack]:
    """Return measures over time by the view's dimension: for each the head, and the rest as one.

    ``course`` has them by ``is_now, bucket``, ``figures`` by the dimension, and ``users`` by the user.
    """
    column = filters.stacked_by
    of_all = "users" if column == "user_label" else f"(FROM figures WHERE made_by = '{column}')"
    heads = {
        name: view.rows(
            f"SELECT {column}, {name} FROM {of_all} ORDER BY {name} DESC NULLS LAST, 1 LIMIT {HEAD + 1}"  # noqa: S608 -- as above
        )
        for name in measures
    }
    listed = list(dict.fromkeys(name for found in heads.values() for name, _ in found[:HEAD]))
    chosen_ones = (
        [f"{column} IN ({', '.join(literal(name) for name in listed if name is not None)})"]
        if any(name is not None for name in listed)
        else []
    )
    chosen_ones += [f"{column} IS NULL"] if None in listed else []
    rows = view.dicts(
        f"""SELECT bucket, {column} AS name, {", ".join(f"{made} AS {name}" for name, made in measures.items())}
        FROM ({chosen(filters, column)}) WHERE {" OR ".join(chosen_ones) or "false"} GROUP BY 1, 2"""  # noqa: S608 -- as above
    )
    totals = view.dicts("FROM course WHERE made_by = 'is_now, bucket' AND is_now")
    return {
        name: Stack(
            [each for each, _ in heads[name][:HEAD]],
            {(row["bucket"], row["name"]): row[name] for row in rows},
            {row["bucket"]: row[name] for row in totals},
            has_rest=len(heads[name]) > HEAD,
        )
        for name in measures
    }


@dataclass(frozen=True, slots=True)
class Stack:
    """A measure over time: of each head, by bucket, and of all."""

    names: Sequence[str | None]
    values: Mapping[tuple[datetime, str | None], Any]
    totals: Mapping[datetime, Any]
    has_rest: bool


def stacked(filters: Filters, stack: Stack, block_id: str, title: str, kind: str, note: str = "") -> Block:
    """Return the block of a measure over time: a part for each head, and one for the rest."""
    names = stack.names
    shown = [_called(name) for name in names] + (["All others"] if stack.has_rest else [])
    values: list[dict[datetime, Any]] = [
        {at: value for (at, of), value in stack.values.items() if of == name and value is not None} for name in names
    ]
    heads = {at: sum((each[at] for each in values if at in each), Decimal(0)) for at in stack.totals}
    values.append({at: total - heads[at] for at, total in stack.totals.items() if total is not None})
    order = filters.buckets()
    table = [(at, *(values[n].get(at) for n in range(len(shown))), stack.totals.get(at) or Decimal(0)) for at in order]
    series = [
        (n if n < len(names) else charts.REST, name, [float(values[n].get(at, 0) or 0) for at in order])
        for n, name in enumerate(shown)
    ]

    def write(value: Any) -> str:
        return formats.written(value, kind, filters.currency)

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
        table if stack.totals else [],
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
    """Draw series over the buckets of a view, with an axis that fits: of the amounts that are shown."""
    if draw is charts.bars:
        tops = [sum(values[n] for _, _, values in series) for n in range(len(tips))]
    else:
        tops = [value for _, _, values in series for value in values if value is not None]
    rate = float(filters.currency.rate) if kind in formats.MONEY else 1.0
    top = charts.nice(max(tops, default=0) * rate) / rate
    kind = "short" if kind == "count" else kind
    axis = [formats.written(Decimal(str(part)), kind, filters.currency) for part in (top, top / 2, 0)]
    return draw(title, labels(filters), series, axis, top, tips)
