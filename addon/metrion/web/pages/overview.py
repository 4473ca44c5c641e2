"""The first page: what was asked for, what it cost, and how that compares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from metrion.web import charts, formats
from metrion.web.blocks import Block, Card, Column, Page
from metrion.web.filters import DIMENSIONS, NAMES, Filters, month
from metrion.web.pages.shared import COST, FAILED, REQUESTS, choose, course, picture, stacked
from metrion.web.reader import View

_TOP = 8

_TOTALS = f"""SELECT is_now,
    {REQUESTS} AS requests,
    coalesce(sum(requests) FILTER (failed), 0) AS failed,
    {COST} AS cost_usd,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(saved_usd) AS saved_usd,
    count(DISTINCT user_label) AS users,
    sum(latency_ms) / nullif(sum(timed), 0) AS latency_ms,
    coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0) AS unknown,
    coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0) AS unpriced,
    sum(cost_usd) FILTER (cost_source = 'estimated') AS estimated_usd,
    sum(floor_usd) FILTER (billed) AS at_least_usd,
    sum(computed_usd) FILTER (cost_source = 'subscription') AS subscription_usd
FROM chosen GROUP BY is_now"""  # noqa: S608 -- all of it is written here

_COURSE = f"""SELECT bucket,
    {REQUESTS} AS requests,
    coalesce(sum(requests) FILTER (failed), 0) AS failed,
    {COST} AS cost_usd,
    sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS tokens,
    sum(saved_usd) AS saved_usd,
    count(DISTINCT user_label) AS users,
    sum(latency_ms) / nullif(sum(timed), 0) AS latency_ms
FROM chosen WHERE is_now GROUP BY bucket ORDER BY bucket"""  # noqa: S608 -- all of it is written here


def overview(view: View, filters: Filters, now: datetime) -> Page:
    """Make the page."""
    choose(view, filters)
    totals = {row["is_now"]: row for row in view.dicts(_TOTALS)}
    row = totals.get(True) or dict.fromkeys(_NOTHING, 0) | {"latency_ms": None, "saved_usd": None}
    before = totals.get(False) if filters.before else None
    over_time = view.dicts(_COURSE)
    tokens = "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
    spend_note = f"By {NAMES[filters.by].lower()}, in days and hours of {filters.timezone}."
    blocks = [
        _requests(filters, over_time),
        stacked(view, filters, "spend", "Spend", "sum(cost_usd) FILTER (billed)", "usd", spend_note),
        stacked(view, filters, "tokens", "Tokens", tokens, "count", spend_note),
        *(_top(view, name) for name in ("model", "user", "provider", "token", "account")),
        _statuses(view),
    ]
    return Page(
        "Overview",
        blocks,
        _cards(filters, row, before, over_time, _month(view, filters, now)),
        beside=_beside(row),
    )


_NOTHING = (
    "requests", "failed", "cost_usd", "input_tokens", "output_tokens", "saved_usd", "users", "latency_ms", "unknown",
    "unpriced", "estimated_usd", "at_least_usd", "subscription_usd",
)  # fmt: skip


def _cards(
    filters: Filters,
    row: dict[str, Any],
    before: dict[str, Any] | None,
    over_time: list[dict[str, Any]],
    this_month: Card,
) -> list[Card]:
    def line(name: str) -> Sequence[float | None]:
        return course(filters, [(each["bucket"], each[name]) for each in over_time])

    def card(label: str, name: str, kind: str, detail: str = "", *, rising: str = "", worse: str = "") -> Card:
        change, tone = _change(row[name], before and before[name], rising)
        picture = charts.spark(line(name), line(worse) if worse else ())
        return Card(label, formats.FORMATS[kind](row[name]), detail, change, tone, picture)

    tokens_now, tokens_before = _tokens(row), before and _tokens(before)
    change, tone = _change(tokens_now, tokens_before, "")
    rate = row["failed"] / row["requests"] if row["requests"] else None
    unknown = row["unknown"] + row["unpriced"]
    left_out = f"{formats.count(unknown)} without a known cost" if unknown else "every cost is known"
    return [
        card("Spend", "cost_usd", "usd", left_out),
        this_month,
        card("Requests", "requests", "short", f"{formats.count(row['requests'])} in all", worse="failed"),
        Card(
            "Tokens",
            formats.short(tokens_now),
            f"{formats.short(row['input_tokens'])} in, {formats.short(row['output_tokens'])} out",
            change,
            tone,
            charts.spark(line("tokens")),
        ),
        card("Failed", "failed", "short", f"{formats.percent(rate)} of all requests", rising="bad"),
        card("Saved by caches", "saved_usd", "usd", "against plain input", rising="good"),
        card("Users", "users", "short", "with a label of their own"),
        card("Mean latency", "latency_ms", "ms", "of whole answers", rising="bad"),
    ]


def _tokens(row: dict[str, Any]) -> int | None:
    both = [each for each in (row["input_tokens"], row["output_tokens"]) if each is not None]
    return sum(both) if both else None


def _change(now: Any, before: Any, rising: str) -> tuple[str, str]:
    """Return how much a figure has changed, and whether that is good or bad."""
    if now is None or not before:
        return "", ""
    part = float(now) / float(before) - 1
    if abs(part) < 0.0005:
        return "±0 %", ""
    shown = f"{'+' if part > 0 else '−'}{abs(part) * 100:.{0 if abs(part) >= 0.1 else 1}f} %"  # noqa: RUF001 -- a minus
    if abs(part) > 99:
        shown = f"×{float(now) / float(before):,.0f}"  # noqa: RUF001 -- times
    opposite = {"good": "bad", "bad": "good", "": ""}
    return shown, rising if part > 0 else opposite[rising]


def _month(view: View, filters: Filters, now: datetime) -> Card:
    """Return what this month has cost up to now, and what it will at this pace."""
    first, end = month(now, filters.timezone)
    conditions, parameters = filters.conditions()
    (found,) = view.rows(
        f"SELECT {COST} FROM sums WHERE quarter >= $month AND quarter < $end AND {conditions}",  # noqa: S608 -- all of it is written here
        {**parameters, "month": first, "end": end},
    )
    spent = found[0]
    naive = now.astimezone(UTC).replace(tzinfo=None)
    gone = (naive - first) / (end - first)
    forecast = None if spent is None else Decimal(spent) / Decimal(str(max(gone, 1e-4)))
    detail = f"{formats.usd(forecast)} by its end at this pace" if gone > 0.03 else "too early for a forecast"
    return Card("Month to date", formats.usd(spent), detail)


def _beside(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what the spend does not have, each with the way out."""
    found = (
        ("unknown", "count", "requests whose usage is not known", "billed, but in no sum: `metrion report unpriced`"),
        ("unpriced", "count", "requests of models without a price", "give them one, then `metrion reprice`"),
        ("at_least_usd", "usd", "at least, of requests without a known cost", "in no sum"),
        ("estimated_usd", "usd", "of the spend is estimated", "it is in the sums"),
        ("subscription_usd", "usd", "is what flat-rate plans cover", "what the API would have charged; in no sum"),
    )
    return [(formats.FORMATS[kind](row[name]), what, way) for name, kind, what, way in found if row.get(name)]


def _requests(filters: Filters, over_time: list[dict[str, Any]]) -> Block:
    by = {each["bucket"]: each for each in over_time}
    rows = [
        (at, int(by[at]["requests"] - by[at]["failed"]) if at in by else 0, int(by[at]["failed"]) if at in by else 0)
        for at in filters.buckets()
    ]
    tips = [f"{formats.bucket(at)}: {good:,} good, {failed:,} failed" for at, good, failed in rows]
    series = [(0, "Good", [row[1] for row in rows]), (6, "Failed", [row[2] for row in rows])]
    chart = picture("Requests, good and failed", filters, series, "count", tips) if over_time else Markup("")
    return Block(
        "requests",
        "Requests",
        [Column("time", "Time", "bucket"), Column("good", "Good", "count"), Column("failed", "Failed", "count")],
        rows if over_time else [],
        chart,
        [(0, "Good"), (6, "Failed")],
        wide=True,
    )


def _top(view: View, name: str) -> Block:
    """Return who or what cost most: the head, and all others in one row."""
    column = DIMENSIONS[name]
    rows = view.rows(
        f"""WITH groups AS (
            SELECT {column} AS name, {REQUESTS} AS requests, {COST} AS cost_usd,
                sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS tokens
            FROM chosen WHERE is_now GROUP BY 1
        ), placed AS (
            SELECT *, row_number() OVER (ORDER BY cost_usd DESC NULLS LAST, requests DESC, name) AS place FROM groups
        )
        SELECT if(place <= {_TOP}, name, NULL), if(place <= {_TOP}, place, 0) AS head_place, sum(requests),
            sum(cost_usd), sum(tokens), count(*) FROM placed GROUP BY 1, 2 ORDER BY head_place = 0, head_place"""  # noqa: S608 -- all of it is written here
    )
    total = sum((row[3] or 0 for row in rows), Decimal(0))
    table = [
        (
            f"{count:,} others" if place == 0 else "(none)" if label is None else label,
            int(requests),
            int(tokens or 0),
            cost,
            float(cost / total) if total and cost is not None else None,
        )
        for label, place, requests, cost, tokens, count in rows
    ]
    return Block(
        f"top-{name}",
        f"{NAMES[name]}s",
        [
            Column(name, NAMES[name], links=name),
            Column("requests", "Requests", "count"),
            Column("tokens", "Tokens", "short"),
            Column("cost_usd", "Cost", "usd"),
            Column("share", "Share", "percent"),
        ],
        table,
        open=True,
        bars="share",
    )


def _statuses(view: View) -> Block:
    rows = view.rows(
        f"""SELECT status, error_type, end_reason, {REQUESTS} AS requests
        FROM chosen WHERE is_now AND {FAILED} GROUP BY 1, 2, 3 ORDER BY requests DESC, 1, 2 LIMIT 12"""  # noqa: S608 -- all of it is written here
    )
    return Block(
        "errors",
        "Errors by status",
        [
            Column("status", "Status"),
            Column("error_type", "Error"),
            Column("end_reason", "Ended as"),
            Column("requests", "Requests", "count"),
        ],
        [(status, error, end, int(count)) for status, error, end, count in rows],
        open=True,
        empty="Nothing failed in this period.",
    )
