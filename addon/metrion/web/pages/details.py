"""Latency, errors, cache and limits: one question each, of the sums and the histograms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from metrion.store import histograms, rollups
from metrion.web import charts, formats
from metrion.web.blocks import Block, Column, Page
from metrion.web.filters import DIMENSIONS, Filters
from metrion.web.narrowing import LONGEST
from metrion.web.pages.shared import (
    REQUESTS,
    chosen,
    course,
    figures,
    filled,
    gather,
    picture,
    stacked,
    stacks,
)
from metrion.web.reader import View

_PERCENTILES = (0.5, 0.9, 0.99)
_TIMES = {"latency": "Whole answer", "first_byte": "First byte", "overhead": "Metrion's own overhead"}
_BY = "By {}, of generations that were answered to their end."


def latency(view: View, filters: Filters) -> Page:
    """Show how long answers took: percentiles over time, and by model."""
    notes = [_BY.format("model")]
    first = filters.since
    plain = not filters.extra and not set(filters.values) - {"provider", "model"}
    kept = filters.within >= timedelta(hours=1) and plain
    if kept and first == _hour(first):
        conditions, parameters = filters.conditions()
        in_days = filters.within >= timedelta(days=1)
        times = f"FROM ({histograms.between('$since', '$until', in_days=in_days)}) WHERE {conditions}"
    else:
        conditions, parameters = filters.conditions(of_rows=True)
        if not filters.by_rows and filters.until - first > LONGEST:
            first = filters.until - LONGEST
            notes.append(
                "By account, token, user, outcome or status, times are of single requests: the last 31 days are shown."
            )
        rows = f"SELECT * FROM billing WHERE started_at >= $since AND started_at < $until AND {conditions}"  # noqa: S608 -- all of it is written here
        times = histograms.timed(rows, ("quarter", "provider", "model")).replace(" quarter,", " quarter AS hour,", 1)
    view.rows(
        filled(
            f"""CREATE OR REPLACE TEMP TABLE steps AS
            SELECT time_of, {filters.bucket("hour")} AS bucket, provider, model, step, sum(responses) AS responses
            FROM ({times}) GROUP BY ALL""",  # noqa: S608 -- as above
            {**parameters, "since": first, "until": filters.until},
        )
    )
    return Page("Latency", [*(_over_time(view, filters, name) for name in _TIMES), _by_model(view)], notes=notes)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _quantiles(view: View, keys: str, condition: str) -> list[tuple[Any, ...]]:
    """Return the percentiles of histograms, to a step of 4.4 %."""
    picked = ", ".join(
        f"{histograms.bound(f'min(step) FILTER (upto >= {part} * total)')} AS p{n}"
        for n, part in enumerate(_PERCENTILES)
    )
    return view.rows(
        f"""WITH grouped AS (
            SELECT {keys}, step, sum(responses) AS responses FROM steps WHERE {condition} GROUP BY ALL
        ), counted AS (
            SELECT *, sum(responses) OVER (PARTITION BY {keys} ORDER BY step) AS upto,
                sum(responses) OVER (PARTITION BY {keys}) AS total FROM grouped
        )
        SELECT {keys}, any_value(total)::BIGINT, {picked} FROM counted GROUP BY {keys} ORDER BY {keys}"""  # noqa: S608 -- all of it is written here
    )


def _over_time(view: View, filters: Filters, name: str) -> Block:
    found = {row[0]: row[1:] for row in _quantiles(view, "bucket", f"time_of = '{name}'")}
    rows = [(at, *found.get(at, (0, None, None, None))) for at in filters.buckets()]
    labels = [f"p{100 * part:.0f}" for part in _PERCENTILES]
    series = [(n, label, [row[2 + n] for row in rows]) for n, label in enumerate(labels)]
    tips = [
        f"{formats.bucket(row[0])}: "
        + ", ".join(f"{label} {formats.ms(v)}" for label, v in zip(labels, row[2:], strict=True))
        for row in rows
    ]
    chart = picture(_TIMES[name], filters, series, "ms", tips, charts.lines) if found else Markup("")
    columns = [Column("time", "Time", "bucket"), Column("responses", "Answers", "count")]
    columns += [Column(f"{label}_ms", label, "ms") for label in labels]
    return Block(
        name, _TIMES[name], columns, rows if found else [], chart, [(n, label) for n, label in enumerate(labels)],
        note="Percentiles, each to 4.4 %.", wide=name == "latency", empty="No answers were timed in this period.",
    )  # fmt: skip


def _by_model(view: View) -> Block:
    by: dict[tuple[Any, Any], list[Any]] = {}
    for name in ("latency", "first_byte", "overhead"):
        for provider, model, count, *percentiles in _quantiles(view, "provider, model", f"time_of = '{name}'"):
            row = by.setdefault((provider, model), [0, *[None] * 7])
            at = {"latency": 1, "first_byte": 4, "overhead": 7}[name]
            row[0] = max(row[0], count)
            row[at : at + (3 if at < 7 else 1)] = percentiles if at < 7 else percentiles[:1]
    rows = sorted(((model, provider, *row) for (provider, model), row in by.items()), key=lambda row: -row[2])[:30]
    columns = [Column("model", "Model", links="model"), Column("provider", "Provider", links="provider")]
    columns.append(Column("responses", "Answers", "count"))
    columns += [Column(f"latency_{p}", f"Whole {p}", "ms") for p in ("p50", "p90", "p99")]
    columns += [Column(f"first_byte_{p}", f"First byte {p}", "ms") for p in ("p50", "p90", "p99")]
    columns.append(Column("overhead_p50", "Overhead p50", "ms"))
    return Block("models", "By model", columns, rows, wide=True, open=True)


_FAULT = """CASE
    WHEN end_reason = 'refused' THEN 'Refused by Metrion'
    WHEN end_reason = 'client_abort' THEN 'Client left'
    WHEN end_reason IN ('timeout', 'upstream_error', 'stream_error') OR status >= 500 THEN 'Provider'
    WHEN status >= 400 THEN 'Request'
    ELSE 'Other' END"""


def errors(view: View, filters: Filters) -> Page:
    """Show what failed: over time, by kind and whose fault it is, and the latest."""
    gather(view, filters)
    kinds = ("provider", "status", "error_type", "end_reason")
    view.rows(
        f"""CREATE OR REPLACE TEMP TABLE failures AS
        SELECT bucket, {_FAULT} AS fault, {", ".join(kinds)}, {REQUESTS} AS requests, max(last_at) AS last_at
        FROM ({chosen(filters, *kinds, "failed")}) WHERE failed GROUP BY ALL"""  # noqa: S608 -- all of it is written here
    )
    rows = view.dicts("SELECT bucket, fault, sum(requests) AS requests FROM failures GROUP BY ALL ORDER BY ALL")
    faults = list(dict.fromkeys(row["fault"] for row in rows))
    series = [
        (n, fault, course(filters, [(row["bucket"], row["requests"]) for row in rows if row["fault"] == fault]))
        for n, fault in enumerate(faults)
    ]
    buckets = filters.buckets()
    table = [(at, *(int(values[n] or 0) for _, _, values in series)) for n, at in enumerate(buckets)]
    tips = [
        f"{formats.bucket(at)}: " + ", ".join(f"{fault} {values[n] or 0:.0f}" for _, fault, values in series)
        for n, at in enumerate(buckets)
    ]
    over_time = Block(
        "over-time", "Failed requests", [Column("time", "Time", "bucket"), *(Column(f, f, "count") for f in faults)],
        table if rows else [], picture("Failed requests", filters, series, "count", tips) if rows else Markup(""),
        [(n, fault) for n, fault in enumerate(faults)], "By whose fault it is.", "Nothing failed in this period.",
        wide=True,
    )  # fmt: skip
    of_kind = ", ".join(kinds)
    by_user = chosen(filters, *kinds, "failed", "user_label", over=True)
    listed = view.rows(
        f"""WITH listed AS (
            SELECT fault, {of_kind}, sum(requests) AS requests, max(last_at) AS last_at FROM failures
            GROUP BY ALL ORDER BY requests DESC, 1, 2, 3, 4 LIMIT 40
        ), users AS (
            SELECT {of_kind}, count(DISTINCT user_label) AS users FROM ({by_user}) WHERE failed GROUP BY ALL
        )
        SELECT fault, {", ".join(f"listed.{kind}" for kind in kinds)}, requests, users, last_at FROM listed JOIN users
        ON {" AND ".join(f"listed.{kind} IS NOT DISTINCT FROM users.{kind}" for kind in kinds)}
        ORDER BY requests DESC, 1, 2, 3, 4"""  # noqa: S608 -- all of it is written here
    )
    by_kind = Block(
        "kinds", "By kind",
        [Column("fault", "Whose fault"), Column("provider", "Provider", links="provider"),
         Column("status", "Status", links="status"), Column("error_type", "Error"),
         Column("end_reason", "Ended as"), Column("requests", "Requests", "count"),
         Column("users", "Users", "count"), Column("last_at", "Last", "moment")],
        listed, wide=True, open=True, empty="Nothing failed in this period.",
    )  # fmt: skip
    return Page("Errors", [over_time, by_kind, _latest_errors(view, filters)])


_LATEST = 50


def _latest_errors(view: View, filters: Filters) -> Block:
    conditions, parameters = filters.conditions(of_rows=True)
    counted = view.rows(
        f"""SELECT quarter FROM (
            SELECT quarter, sum(sum(responses)) OVER (ORDER BY quarter DESC) AS so_far
            FROM ({chosen(filters, "failed")}) WHERE failed GROUP BY 1
        ) QUALIFY lag(so_far, 1, 0) OVER (ORDER BY quarter DESC) < {_LATEST} ORDER BY 1 LIMIT 1"""  # noqa: S608 -- as above
    )
    rows = view.rows(
        f"""SELECT started_at, event_id, provider, coalesce(model, model_requested) AS model, token_name, user_label,
            status, error_type, end_reason FROM events
        WHERE started_at >= $first AND started_at < $until AND {rollups.KEYS["failed"][1]} AND {conditions}
        ORDER BY started_at DESC LIMIT {_LATEST}""",  # noqa: S608 -- all of it is written here
        {
            **parameters,
            "first": max(counted[0][0], filters.since) if counted else filters.until,
            "until": filters.until,
        },
    )
    return Block(
        "latest", "The latest",
        [Column("started_at", "Time", "moment"), Column("event_id", "Request", links="request"),
         Column("provider", "Provider"), Column("model", "Model"), Column("token_name", "Token"),
         Column("user_label", "User"), Column("status", "Status"), Column("error_type", "Error"),
         Column("end_reason", "Ended as")],
        rows, wide=True, open=True, empty="Nothing failed in this period.",
    )  # fmt: skip


_CACHED = {
    "cacheable": "sum(cacheable_tokens)",
    "read": "sum(cache_read_tokens)",
    "written": "sum(cache_write_tokens)",
    "saved": "sum(saved_usd)",
}


def cache(view: View, filters: Filters) -> Page:
    """Show what providers' caches saved: the part of the input that was read from them, and dollars."""
    gather(view, filters)
    figures(view, filters, "course", ("is_now, bucket",), _CACHED)
    figures(view, filters, "figures", tuple({"model", filters.stacked_by} - {"user_label"}), _CACHED)
    made = ", ".join(f"{how} AS {name}" for name, how in _CACHED.items())
    view.rows(
        f"""CREATE OR REPLACE TEMP TABLE users AS
        SELECT user_label, {made} FROM ({chosen(filters, "user_label", over=True)}) GROUP BY 1"""  # noqa: S608 -- all of it is written here
    )
    saved = stacked(
        filters, stacks(view, filters, {"saved": _CACHED["saved"]})["saved"], "saved", "Saved by caches", "usd",
        _BY_SAVED,
    )  # fmt: skip
    rate = view.rows("SELECT bucket, read / nullif(cacheable, 0) FROM course WHERE made_by = 'is_now, bucket'")
    values = course(filters, rate, None)
    table = list(zip(filters.buckets(), values, strict=True))
    tips = [f"{formats.bucket(at)}: {formats.percent(value)}" for at, value in table]
    has_any = any(value is not None for value in values)
    series = [(0, "Hit rate", values)]
    chart = picture("Hit rate", filters, series, "percent", tips, charts.lines) if has_any else Markup("")
    hit_rate = Block(
        "hit-rate", "Hit rate", [Column("time", "Time", "bucket"), Column("hit_rate", "Hit rate", "percent")],
        table if has_any else [], chart,
        note="The part of the input that was read from a cache, where the provider reports it.", wide=True,
    )  # fmt: skip
    return Page(
        "Cache",
        [
            saved,
            hit_rate,
            *(_cache_by(view, name, title) for name, title in (("model", "By model"), ("user", "By user"))),
        ],
    )


_BY_SAVED = "What the tokens read from caches would have cost more as plain input."


def _cache_by(view: View, name: str, title: str) -> Block:
    rows = view.rows(
        f"""SELECT {DIMENSIONS[name]}, cacheable, read, written, (read / nullif(cacheable, 0))::DOUBLE, saved
        FROM {"users" if name == "user" else "figures"}
        WHERE {"true" if name == "user" else f"made_by = '{DIMENSIONS[name]}'"} AND cacheable > 0
        ORDER BY saved DESC NULLS LAST, 2 DESC, 1 LIMIT 20"""  # noqa: S608 -- all of it is written here
    )
    return Block(
        f"by-{name}", title,
        [Column(name, title.removeprefix("By ").title(), links=name), Column("input", "Input", "short"),
         Column("read", "Read", "short"), Column("written", "Written", "short"),
         Column("hit_rate", "Hit rate", "percent"), Column("saved_usd", "Saved", "usd")],
        rows, open=True, bars="hit_rate", empty="No provider reported cached tokens in this period.",
    )  # fmt: skip


def limits(view: View, filters: Filters, tokens: Sequence[tuple[Any, ...]], budgets: Sequence[tuple[Any, ...]]) -> Page:
    """Show how budgets stand, what tokens have used of their own limits, and what providers say is left."""
    conditions, parameters = filters.conditions(of_rows=True)
    rows = view.rows(
        f"""WITH latest AS (
            SELECT provider, token_name, coalesce(model, model_requested) AS model,
                arg_max(provider_limits, started_at) AS limits, max(started_at) AS said_at FROM events
            WHERE started_at >= $since AND started_at < $until AND provider_limits IS NOT NULL AND {conditions}
            GROUP BY ALL
            ORDER BY said_at DESC LIMIT 20
        )
        SELECT provider, model, token_name, key, json_extract_string(limits, '$."' || key || '"') AS value, said_at
        FROM (SELECT *, unnest(json_keys(limits)) AS key FROM latest) ORDER BY said_at DESC, provider, key LIMIT 200""",  # noqa: S608 -- all of it is written here
        {**parameters, "since": max(filters.since, filters.until - _ONE_DAY), "until": filters.until},
    )
    said = Block(
        "providers", "What providers said",
        [Column("provider", "Provider"), Column("model", "Model"), Column("token", "Token"), Column("header", "Limit"),
         Column("value", "Value"), Column("at", "Last said", "moment")],
        rows, note="The last answer of each provider, model and token in the last day.", wide=True, open=True,
        empty="No provider sent a limit in the last day.",
    )  # fmt: skip
    own = Block(
        "tokens", "What tokens have used this month",
        [Column("token", "Token", links="token"), Column("account", "Account"), Column("requests", "Requests", "count"),
         Column("of_requests", "of", "count"), Column("spent_usd", "Spent", "usd"), Column("of_usd", "of", "usd"),
         Column("used", "Used", "percent")],
        tokens, note="Months are those of UTC, as the limits are.", wide=True, open=True, bars="used",
        empty="There are no tokens yet: Integrate makes one.",
    )  # fmt: skip
    bounds = Block(
        "budgets", "Budgets",
        [Column("scope", "For"), Column("name", "Name"), Column("per", "Per"), Column("usd", "Limit", "usd"),
         Column("spent_usd", "Spent", "usd"), Column("held_usd", "Held", "usd"), Column("left_usd", "Left", "usd"),
         Column("turns_at", "Turns", "moment"), Column("then", "Then"), Column("used", "Used", "percent")],
        budgets, note="What is held is for requests under way.", wide=True, open=True, bars="used",
        empty="There are no budgets yet: metrion budget set makes one.",
    )  # fmt: skip
    notes = [_WHOLE] if filters.extra or set(filters.values) - {"token", "account"} else []
    return Page("Limits", [bounds, own, said], notes=notes)


_WHOLE = "Budgets and limits are shown whole: a filter chooses among them by their names, and takes nothing from them."


_ONE_DAY = timedelta(days=1)
