"""The first page: what was asked for, what it cost, and how that compares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from metrion.web import charts, formats
from metrion.web.blocks import Block, Card, Column, Page
from metrion.web.filters import DIMENSIONS, NAMES, Filters, month
from metrion.web.pages.shared import (
    COST,
    REQUESTS,
    TOKENS,
    chosen,
    course,
    figures,
    gather,
    picture,
    stacked,
    stacks,
    summed,
)
from metrion.web.reader import View

_TOP = 8

_MEASURES = {
    "cost_usd": COST,
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "tokens": TOKENS,
    "saved_usd": "sum(saved_usd)",
    "latency_ms": "sum(latency_ms) / nullif(sum(timed), 0)",
    "unknown": "coalesce(sum(responses) FILTER (cost_source = 'unknown' AND billed), 0)",
    "unpriced": "coalesce(sum(responses) FILTER (cost_source = 'unpriced'), 0)",
    "estimated_usd": "sum(cost_usd) FILTER (cost_source = 'estimated')",
    "at_least_usd": "sum(floor_usd) FILTER (billed)",
    "subscription_usd": "sum(computed_usd) FILTER (cost_source = 'subscription')",
}
_TOPS = ("provider", "model", "token", "account")
_SETS = (*(DIMENSIONS[name] for name in _TOPS), "failed, status, error_type, end_reason")
_SUMMED = {name: _MEASURES[name] for name in ("cost_usd", "tokens")}
_COUNTED_BY_DAY = timedelta(days=8)
"""So long a period may be for its users to be counted hour by hour, or day by day."""


def overview(view: View, filters: Filters, now: datetime) -> Page:
    """Make the page."""
    gather(view, filters)
    figures(view, filters, "course", ("is_now", "is_now, bucket"), _MEASURES, before=True)
    figures(view, filters, "figures", (*_SETS, *(("tag",) if filters.tag else ())), _SUMMED)
    users = _users(view, filters)
    totals = {row["is_now"]: row for row in view.dicts("FROM course WHERE made_by = 'is_now'")}
    row = (totals.get(True) or dict.fromkeys(_NOTHING, 0) | {"latency_ms": None, "saved_usd": None}) | users[0]
    before = totals[False] | users[1] if filters.before and False in totals else None
    over_time = view.dicts("FROM course WHERE made_by = 'is_now, bucket' AND is_now ORDER BY bucket")
    for each in over_time:
        each["users"] = users[2].get(each["bucket"])
    stack = stacks(view, filters, _SUMMED)
    by = f"the tag {formats.text(filters.tag)}" if filters.tag else NAMES[filters.by].lower()
    note = f"By {by}, in days and hours of {filters.timezone}."
    blocks = [
        _requests(filters, over_time),
        stacked(filters, stack["cost_usd"], "spend", "Spend", "usd", note),
        stacked(filters, stack["tokens"], "tokens", "Tokens", "count", note),
        *([_top(view, "tag", "tag", f"By {by}", links=False)] if filters.tag else []),
        *(
            _top(view, name, DIMENSIONS[name], f"{NAMES[name]}s")
            for name in ("model", "user", "provider", "token", "account")
        ),
        _statuses(view),
    ]
    return Page(
        "Overview",
        blocks,
        _cards(filters, row, before, over_time, _month(view, filters, now)),
        beside=_beside(row, filters),
    )


def _users(view: View, filters: Filters) -> tuple[dict[str, Any], dict[str, Any], dict[datetime, int]]:
    """Make the table ``users``; return how many there are, were in the period before, and are in each hour or day."""
    made = ", ".join(f"{how} AS {name}" for name, how in {"requests": REQUESTS, **_SUMMED}.items())
    view.rows(
        f"""CREATE OR REPLACE TEMP TABLE users AS
        SELECT user_label, {made} FROM ({chosen(filters, "user_label", over=True)}) GROUP BY 1"""  # noqa: S608 -- all of it is written here
    )
    ((now,),) = view.rows("SELECT count(user_label) FROM users")
    before = 0
    if filters.before:
        ((before,),) = view.rows(
            f"""SELECT count(DISTINCT user_label)
            FROM ({chosen(filters, "user_label", over=True, before=True)}) WHERE NOT is_now"""  # noqa: S608 -- as above
        )
    by_bucket: dict[datetime, int] = {}
    if filters.until - filters.since <= _COUNTED_BY_DAY:
        rows = view.rows(
            f"SELECT bucket, count(DISTINCT user_label) FROM ({chosen(filters, 'user_label')}) GROUP BY 1"  # noqa: S608 -- as above
        )
        by_bucket = dict(rows)
    return {"users": now}, {"users": before}, by_bucket


_NOTHING = (
    "requests", "failures", "cost_usd", "input_tokens", "output_tokens", "saved_usd", "users", "latency_ms", "unknown",
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
        return Card(label, formats.written(row[name], kind, filters.currency), detail, change, tone, picture)

    tokens_now, tokens_before = _tokens(row), before and _tokens(before)
    change, tone = _change(tokens_now, tokens_before, "")
    rate = row["failures"] / row["requests"] if row["requests"] else None
    unknown = row["unknown"] + row["unpriced"]
    left_out = f"{formats.count(unknown)} without a known cost" if unknown else "every cost is known"
    return [
        card("Spend", "cost_usd", "usd", left_out),
        this_month,
        card("Requests", "requests", "short", f"{formats.count(row['requests'])} in all", worse="failures"),
        Card(
            "Tokens",
            formats.short(tokens_now),
            f"{formats.short(row['input_tokens'])} in, {formats.short(row['output_tokens'])} out",
            change,
            tone,
            charts.spark(line("tokens")),
        ),
        card("Failed", "failures", "short", f"{formats.percent(rate)} of all requests", rising="bad"),
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
    (found,) = view.rows(f"SELECT {COST} FROM ({summed(filters, ('billed',), first, end)})")  # noqa: S608 -- as above
    spent = found[0]
    naive = now.astimezone(UTC).replace(tzinfo=None)
    gone = (naive - first) / (end - first)
    forecast = None if spent is None else Decimal(spent) / Decimal(str(max(gone, 1e-4)))
    detail = (
        f"{formats.usd(forecast, filters.currency)} by its end at this pace"
        if gone > 0.03
        else "too early for a forecast"
    )
    return Card("Month to date", formats.usd(spent, filters.currency), detail)


def _beside(row: dict[str, Any], filters: Filters) -> list[tuple[str, str, str]]:
    """Return what the spend does not have, each with the way out."""
    found = (
        ("unknown", "count", "requests whose usage is not known", "billed, but in no sum: `metrion report unpriced`"),
        ("unpriced", "count", "requests of models without a price", "give them one, then `metrion reprice`"),
        ("at_least_usd", "usd", "at least, of requests without a known cost", "in no sum"),
        ("estimated_usd", "usd", "of the spend is estimated", "it is in the sums"),
        ("subscription_usd", "usd", "is what flat-rate plans cover", "what the API would have charged; in no sum"),
    )
    return [
        (formats.written(row[name], kind, filters.currency), what, way)
        for name, kind, what, way in found
        if row.get(name)
    ]


def _requests(filters: Filters, over_time: list[dict[str, Any]]) -> Block:
    by = {each["bucket"]: (int(each["requests"]), int(each["failures"])) for each in over_time}
    rows = [(at, requests - failed, failed) for at in filters.buckets() for requests, failed in (by.get(at, (0, 0)),)]
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


def _top(view: View, name: str, column: str, title: str, *, links: bool = True) -> Block:
    """Return who or what cost most: the head, and all others in one row."""
    groups = "users" if name == "user" else f"figures WHERE made_by = '{column}'"
    rows = view.rows(
        f"""WITH groups AS (
            SELECT {column} AS name, requests, cost_usd, tokens FROM {groups}
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
        title,
        [
            Column(name, NAMES.get(name, "Value"), links=name if links else ""),
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
        """SELECT status, error_type, end_reason, requests FROM figures
        WHERE made_by = 'failed, status, error_type, end_reason' AND failed
        ORDER BY requests DESC, 1, 2 LIMIT 12"""
    )
    return Block(
        "errors",
        "Errors by status",
        [
            Column("status", "Status", links="status"),
            Column("error_type", "Error"),
            Column("end_reason", "Ended as"),
            Column("requests", "Requests", "count"),
        ],
        [(status, error, end, int(count)) for status, error, end, count in rows],
        open=True,
        empty="Nothing failed in this period.",
    )
