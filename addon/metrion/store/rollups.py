"""Sums by quarter of an hour, kept beside the rows, so that a report need not read every row. SQL as text, and pure.

In: a query for rows of ``events``. Out: a query for their sums, in groups of :data:`KEYS`. The table ``rollups`` has
the sums of everything ingested: the ingester adds those of each batch in the transaction that adds its rows, and makes
a quarter anew when it is over, when its rows are priced again, or when a later row settles one of them.

- A group may have several rows until its quarter is made anew: whoever reads them adds them up.
- Days and months of any time zone are made of quarters: no zone is off by less.
- ``requests`` counts requests with one row. Those that may have more (WebSocket sessions, retries) are named in
  ``shared``, so that each counts once.
- A row is settled later if ``settling`` names it: the rows that have reported the usage of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metrion.endpoints import OPERATIONS

QUARTER = "INTERVAL 15 MINUTES"

KEYS: Mapping[str, tuple[str, str]] = {
    "quarter": ("TIMESTAMP", f"time_bucket({QUARTER}, started_at)"),
    "account": ("VARCHAR", "account"),
    "token_name": ("VARCHAR", "token_name"),
    "user_label": ("VARCHAR", "user_label"),
    "provider": ("VARCHAR", "provider"),
    "model": ("VARCHAR", "coalesce(model, model_requested)"),
    "operation": ("VARCHAR", "operation"),
    "status": ("SMALLINT", "status"),
    "error_type": ("VARCHAR", "error_type"),
    "end_reason": ("VARCHAR", "end_reason"),
    "cost_source": ("VARCHAR", "cost_source"),
    "billed": ("BOOLEAN", "billed"),
}
"""What the sums are grouped by: each column's type, and how it is made of a row of ``billing``."""

SHARED = "(status = 101 OR attempt > 1 OR coalesce(end_reason, 'retried') = 'retried')"
"""Rows of which a request may have several."""
_TIMED = (
    "method = 'POST' AND (billed OR cost_source = 'subscription') AND end_reason = 'complete' "
    "AND status BETWEEN 200 AND 299"
)
"""Rows whose times are those of an answer: a generation, answered with success, to its end."""
_OWN_USD = """cost_usd - CASE
    WHEN model IS NULL THEN 0
    ELSE coalesce(list_sum([part.value FOR part IN map_entries(cost_parts) IF contains(part.key, ':')]), 0)
END"""
"""The cost without the parts of other models (``MODEL:part``), whose tokens are in no column."""
_UNCACHED = "(input_tokens::HUGEINT - cache_read_tokens - coalesce(cache_write_tokens, 0))"
_SAVED_USD = f"""CASE WHEN cache_read_tokens > 0 AND {_UNCACHED} > 0 THEN greatest(
    cost_parts['input'] * (cache_read_tokens / {_UNCACHED}) - coalesce(cost_parts['cache_read'], 0), 0
) END"""
"""What the tokens read from caches would have cost more as plain input, at the rate that the row's own input had."""
_ALL_TOKENS = "(input_tokens::HUGEINT + coalesce(output_tokens, 0))"
"""Sums may be larger than the largest count: HUGEINT, since a failure here would keep rows out of the store."""

_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)

MEASURES: Mapping[str, tuple[str, str]] = {
    "requests": ("BIGINT", f"count(*) FILTER (NOT coalesce({SHARED}, false))"),
    "shared": ("VARCHAR[]", f"list(DISTINCT request_id) FILTER ({SHARED})"),
    "responses": ("BIGINT", "count(*)"),
    **{name: ("HUGEINT", f"sum({name})") for name in _TOKENS},
    "cacheable_tokens": ("HUGEINT", "sum(input_tokens) FILTER (cache_read_tokens IS NOT NULL)"),
    "cost_usd": ("DECIMAL(38, 12)", "sum(cost_usd)"),
    "computed_usd": ("DECIMAL(38, 12)", "sum(computed_cost_usd)"),
    "floor_usd": ("DECIMAL(38, 12)", "sum(cost_at_least_usd) FILTER (cost_usd IS NULL)"),
    "own_usd": (
        "DECIMAL(38, 12)",
        f"sum({_OWN_USD}) FILTER ({_ALL_TOKENS} > 0)",
    ),
    "own_tokens": ("HUGEINT", f"sum({_ALL_TOKENS}) FILTER (({_OWN_USD}) IS NOT NULL)"),
    "saved_usd": ("DECIMAL(38, 12)", f"sum(TRY_CAST({_SAVED_USD} AS DECIMAL(38, 12)))"),
    "timed": ("HUGEINT", f"count(latency_ms) FILTER ({_TIMED})"),
    "latency_ms": ("DOUBLE", f"sum(latency_ms) FILTER ({_TIMED})"),
    "first_at": ("TIMESTAMP", "min(started_at)"),
    "last_at": ("TIMESTAMP", "max(started_at)"),
}
"""The sums: each column's type, and how it is made of rows of ``billing``. NULL is a sum of nothing."""

_ADDED = tuple(name for name, (kind, _) in MEASURES.items() if kind in ("HUGEINT", "DOUBLE") or "DECIMAL" in kind)

NAMES = (*KEYS, *MEASURES)

LATENCY_KEYS = ("quarter", "account", "token_name", "user_label", "provider", "model", "operation")
TIMES: Mapping[str, str] = {"latency": "latency_ms", "first_byte": "first_byte_ms", "overhead": "overhead_ms"}
"""The times of which there are histograms, each with its column."""
STEPS = 16
"""Steps of a histogram in each doubling: a bound is 4.4 % above the one before."""

DEFERRED_OPERATIONS = tuple(name for name, operation in OPERATIONS.items() if operation.deferred)
_DEFERRED = ", ".join(f"'{name}'" for name in DEFERRED_OPERATIONS)

SETTLES = f"(method <> 'POST' OR operation IN ({_DEFERRED})) AND cost_source NOT IN ('not_billed', 'unknown')"
"""Whether a row of ``events`` reports the usage of an earlier one."""

_COLUMNS = ", ".join(f"{name} {kind}" for name, (kind, _) in (*KEYS.items(), *MEASURES.items()))
_LATENCY_COLUMNS = ", ".join(f"{name} {KEYS[name][0]}" for name in LATENCY_KEYS)

TABLES: Mapping[str, str] = {
    "rollups": _COLUMNS,
    "latencies": f"{_LATENCY_COLUMNS}, time_of VARCHAR, step SMALLINT, responses BIGINT",
    "settling": "provider VARCHAR, id VARCHAR, settled_at TIMESTAMP",
}
"""The tables that are kept beside the rows, with their columns."""


def settling(rows: str) -> str:
    """Return a query for what these rows of ``events`` settle."""
    # A deferred completion has an id of its own: the id that was asked for is the last segment of its path.
    return f"""
SELECT provider, id, max(started_at) AS settled_at FROM (
    SELECT provider, unnest([generation_id, split_part(path, '/', -1)]) AS id, started_at FROM {rows} WHERE {SETTLES}
) WHERE id IS NOT NULL AND id <> '' GROUP BY ALL"""  # noqa: S608 -- all of it is written here


def billing(rows: str, settling: str) -> str:
    """Return a query for these rows of ``events`` with what ``billing`` has more; ``settling`` is a query or table."""
    return f"""
SELECT *, cost_source NOT IN ('not_billed', 'subscription') AND NOT settled_later AS billed FROM (
    SELECT
        event.* REPLACE (coalesce(cost_source, 'unknown') AS cost_source),
        coalesce(cost_source, 'unknown') = 'unknown' AND coalesce(settled_at >= started_at, false) AS settled_later
    FROM {rows} AS event LEFT JOIN (
        SELECT provider, id, max(settled_at) AS settled_at FROM {settling} GROUP BY ALL
    ) AS settling ON settling.provider = event.provider AND settling.id = event.generation_id
)"""  # noqa: S608 -- all of it is written here


def rolled_up(billing: str, *more: str, keys: Iterable[str] = KEYS) -> str:
    """Return a query for the sums of these rows of ``billing``, by some of :data:`KEYS`; ``more`` columns are keys."""
    made = [*(f"{KEYS[name][1]} AS {name}" for name in keys), *more]
    measures = ", ".join(f"{made} AS {name}" for name, (_, made) in MEASURES.items())
    groups = ", ".join(str(number + 1) for number in range(len(made)))
    return f"SELECT {', '.join(made)}, {measures} FROM ({billing}) GROUP BY {groups}"  # noqa: S608 -- all of it is written here


def timed(billing: str) -> str:
    """Return a query for the histograms of these rows of ``billing``."""
    keys = ", ".join(f"{KEYS[name][1]} AS {name}" for name in LATENCY_KEYS)
    kinds = ", ".join(f"{{'time_of': '{name}', 'ms': {column}}}" for name, column in TIMES.items())
    return f"""
SELECT {", ".join(LATENCY_KEYS)}, time.time_of, {step("time.ms")} AS step, count(*) AS responses
FROM (SELECT {keys}, unnest([{kinds}]) AS time FROM ({billing}) WHERE {_TIMED})
WHERE time.ms IS NOT NULL GROUP BY ALL"""  # noqa: S608 -- all of it is written here


def step(milliseconds: str) -> str:
    """Return the SQL of the step of a histogram in which a time is, from 1 µs on."""
    return f"ceil({STEPS} * log2(least(greatest({milliseconds}, 0.001), 1e12)))::SMALLINT"


def bound(step: str) -> str:
    """Return the SQL of the milliseconds up to which a step goes."""
    return f"pow(2, {step} / {STEPS}.0)"


def sums(tail: str) -> str:
    """Return the query of the view ``sums``: those of the table, of the journal's tail, and what the tail settles."""
    told = settling(f"({tail})")
    late = f"""
SELECT event.*, true AS settled_later, false AS billed
FROM ingested AS event JOIN ({told}) AS now ON now.provider = event.provider AND now.id = event.generation_id
LEFT JOIN (SELECT provider, id, max(settled_at) AS settled_at FROM settling GROUP BY ALL) AS before
    ON before.provider = event.provider AND before.id = event.generation_id
WHERE coalesce(cost_source, 'unknown') = 'unknown' AND now.settled_at >= started_at
    AND NOT coalesce(before.settled_at >= started_at, false)"""  # noqa: S608 -- all of it is written here
    opposite = {"billed": "true", **{name: f"-{name}" for name in ("requests", "responses", *_ADDED)}, "shared": "NULL"}
    taken_back = ", ".join(f"{opposite.get(name, name)} AS {name}" for name in NAMES)
    return f"""
WITH late AS ({rolled_up(f"SELECT * REPLACE (coalesce(cost_source, 'unknown') AS cost_source) FROM ({late})")})
SELECT {", ".join(NAMES)} FROM rollups
UNION ALL {rolled_up(billing(f"({tail})", f"(FROM settling UNION ALL ({told}))"))}
UNION ALL FROM late
UNION ALL SELECT {taken_back} FROM late"""  # noqa: S608 -- all of it is written here


def times(tail: str) -> str:
    """Return the query of the view ``times``: the histograms of everything, those of the journal's tail included."""
    return f"FROM latencies UNION ALL {timed(billing(f'({tail})', 'settling'))}"


def between(since: str, until: str) -> str:
    """Return a query for the sums of a span: of whole quarters, and of the rows at its ends.

    ``since`` and ``until`` are SQL of naive UTC timestamps, which may be infinite; ``until`` is not in the span.
    """
    first = f"if(isinf({since}), {since}, time_bucket({QUARTER}, {since} + {QUARTER} - INTERVAL 1 MICROSECOND))"
    after = f"if(isinf({until}), {until}, time_bucket({QUARTER}, {until}))"
    # Two queries, so that each reads only the rows of its end.
    ends = (
        f"SELECT * FROM billing WHERE started_at >= {since} AND started_at < least({first}, {until})",  # noqa: S608 -- as above
        f"SELECT * FROM billing WHERE started_at >= greatest({after}, {first}) AND started_at < {until}",  # noqa: S608 -- as above
    )
    return f"""
SELECT {", ".join(NAMES)} FROM sums WHERE quarter >= {first} AND quarter < {after}
UNION ALL {" UNION ALL ".join(map(rolled_up, ends))}"""  # noqa: S608 -- all of it is written here


REQUESTS = (
    "(coalesce(sum(requests), 0) + coalesce(len(list_distinct(flatten(list(shared) FILTER (shared IS NOT NULL)))), 0))"
    "::BIGINT"
)
"""How many requests the sums in a group are of."""

MACROS = f"""
CREATE TEMP MACRO sums_between(since, until) AS TABLE {between("since::TIMESTAMP", "until::TIMESTAMP")};
CREATE TEMP MACRO requests_of(requests, shared) AS {REQUESTS};
CREATE TEMP MACRO step_of(milliseconds) AS {step("milliseconds")};
CREATE TEMP MACRO bound_of(step) AS {bound("step")};
"""
"""What reports ask with."""
