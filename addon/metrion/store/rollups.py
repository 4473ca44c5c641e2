"""Sums kept beside the rows, so that a report need not read every row. SQL as text, and pure.

In: a query for rows of ``events``. Out: a query for their sums, in groups of :data:`KEYS`. The tables of :data:`LEVELS`
have the sums of everything ingested: ``rollups`` by quarter of an hour and every key, the others by hour or day and
fewer keys, so that callers who are many do not make each sum one of a single row. The ingester adds those of each batch
in the transaction that adds its rows, and makes a quarter anew when it is over, when its rows are priced again, or when
a later row settles one of them.

- A group may have several rows: whoever reads them adds them up. Until its quarter is made anew, there is one for each
  batch; and a sum too large for its column is spread over as many rows as it takes.
- Days and months of any time zone are made of quarters: no zone is off by less. Those of most zones are made of hours.
- ``requests`` counts requests with one row. Those that may have more (WebSocket sessions, retries) are named in
  ``shared``, so that each counts once.
- A row is settled later if ``settling`` names it: the rows that have reported the usage of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metrion.endpoints import OPERATIONS

QUARTER = "INTERVAL 15 MINUTES"

_FAILED = (
    "((coalesce(status >= 400, true) OR error_type IS NOT NULL OR coalesce(end_reason, '') <> 'complete') "
    "AND end_reason IS DISTINCT FROM 'retried')"
)
"""Whether requests failed; after ``retried`` there was another attempt."""

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
    "failed": ("BOOLEAN", _FAILED),
    "cost_source": ("VARCHAR", "cost_source"),
    "billed": ("BOOLEAN", "billed"),
}
"""What the sums are grouped by: each column's type, and how it is made of a row of ``billing``."""

SHARED = "(status = 101 OR attempt > 1 OR coalesce(end_reason, 'retried') = 'retried')"
"""Rows of which a request may have several."""
TIMED = (
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

_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)

_MONEY = "DECIMAL(18, 12)"

MEASURES: Mapping[str, tuple[str, str]] = {
    "requests": ("BIGINT", f"count(*) FILTER (NOT coalesce({SHARED}, false))"),
    "shared": ("VARCHAR[]", f"list(DISTINCT request_id) FILTER ({SHARED})"),
    "responses": ("BIGINT", "count(*)"),
    **{name: ("BIGINT", f"sum({name})") for name in _TOKENS},
    "cacheable_tokens": ("BIGINT", "sum(input_tokens) FILTER (cache_read_tokens IS NOT NULL)"),
    "cost_usd": (_MONEY, "sum(cost_usd)"),
    "computed_usd": (_MONEY, "sum(computed_cost_usd)"),
    "floor_usd": (_MONEY, "sum(cost_at_least_usd) FILTER (cost_usd IS NULL)"),
    "own_usd": (
        _MONEY,
        f"sum({_OWN_USD}) FILTER ({_ALL_TOKENS} > 0)",
    ),
    "own_tokens": ("BIGINT", f"sum({_ALL_TOKENS}) FILTER (({_OWN_USD}) IS NOT NULL)"),
    "saved_usd": (_MONEY, f"sum(TRY_CAST({_SAVED_USD} AS DECIMAL(38, 12)))"),
    "timed": ("BIGINT", f"count(latency_ms) FILTER ({TIMED})"),
    "latency_ms": ("DOUBLE", f"sum(latency_ms) FILTER ({TIMED})"),
    "first_at": ("TIMESTAMP", "min(started_at)"),
    "last_at": ("TIMESTAMP", "max(started_at)"),
}
"""The sums: each column's type, and how it is made of rows of ``billing``. NULL is a sum of nothing.

Their types are those that DuckDB adds up fast; it takes twenty times as long for numbers of 128 bits.
"""

ADDED_UP: Mapping[str, str] = {
    **{name: f"sum({name})" for name in MEASURES},
    "shared": "list_distinct(flatten(list(shared) FILTER (shared IS NOT NULL)))",
    "first_at": "min(first_at)",
    "last_at": "max(last_at)",
}
"""How each is made of several of its sums."""

_LARGEST: Mapping[str, str] = {"BIGINT": str(2**62), _MONEY: "500000"}
"""The most that one row has of a sum of each type, which may be larger still."""
_COUNTED = ("requests", "responses")
_SPREAD = tuple(name for name, (kind, _) in MEASURES.items() if kind in _LARGEST and name not in _COUNTED)
_ADDED = (*_SPREAD, "latency_ms")

NAMES = (*KEYS, *MEASURES)


@dataclass(frozen=True, slots=True)
class Level:
    """A table of sums by some of :data:`KEYS`, and the view of it that has the journal's tail too."""

    table: str
    view: str
    moment: str
    """The column that says when what is summed up began."""
    interval: str
    keys: tuple[str, ...]
    """What it is grouped by besides."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""
        return (self.moment, *self.keys, *MEASURES)

    @property
    def columns(self) -> str:
        """Its columns with their types."""
        kinds = {self.moment: "TIMESTAMP"} | {name: kind for name, (kind, _) in (*KEYS.items(), *MEASURES.items())}
        return ", ".join(f"{name} {kinds[name]}" for name in self.names)


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in KEYS if name not in ("quarter", *names))


QUARTERS = Level("rollups", "sums", "quarter", QUARTER, _without())
HOURS = Level("hours", "sums_by_hour", "hour", "INTERVAL 1 HOUR", _without("user_label", "operation"))
DAYS = Level("days", "sums_by_day", "day", "INTERVAL 1 DAY", _without("provider", "model", "operation"))
MODEL_DAYS = Level("model_days", "sums_by_day_and_model", "day", "INTERVAL 1 DAY", HOURS.keys)
COARSER = (HOURS, DAYS, MODEL_DAYS)
LEVELS = (QUARTERS, *COARSER)
"""The last that has what is asked for has the fewest rows."""

DEFERRED_OPERATIONS = tuple(name for name, operation in OPERATIONS.items() if operation.deferred)
_DEFERRED = ", ".join(f"'{name}'" for name in DEFERRED_OPERATIONS)

SETTLES = f"(method <> 'POST' OR operation IN ({_DEFERRED})) AND cost_source NOT IN ('not_billed', 'unknown')"
"""Whether a row of ``events`` reports the usage of an earlier one."""

TABLES: Mapping[str, str] = {
    **{level.table: level.columns for level in LEVELS},
    "settling": "provider VARCHAR, id VARCHAR, settled_at TIMESTAMP",
}
"""The tables that are kept beside the rows, with their columns; those of times besides."""


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


def coarser(sums: str, level: Level) -> str:
    """Return a query for the sums of a level, made of sums by quarter."""
    keys = f"time_bucket({level.interval}, quarter) AS {level.moment}, {', '.join(level.keys)}"
    measures = ", ".join(f"{made} AS {name}" for name, made in ADDED_UP.items())
    groups = ", ".join(str(number + 1) for number in range(1 + len(level.keys)))
    return f"SELECT {keys}, {measures} FROM ({sums}) GROUP BY {groups}"  # noqa: S608 -- all of it is written here


def fitted(sums: str, names: Iterable[str] = NAMES) -> str:
    """Return a query for the same sums in the types of :data:`MEASURES`: what is too large is spread over rows."""
    needed = ", ".join(f"abs({name}) // {_LARGEST[MEASURES[name][0]]}" for name in _SPREAD)
    picked = ", ".join(_piece(name) for name in names)
    return f"""
SELECT {picked} FROM (
    SELECT *, unnest(range(parts)) AS part FROM (
        SELECT *, (1 + coalesce(greatest({needed}), 0))::BIGINT AS parts FROM ({sums})
    )
)"""  # noqa: S608 -- all of it is written here


def _piece(name: str) -> str:
    """Return the SQL of what a row has of a sum that may be spread over several."""
    if name not in MEASURES:
        return name
    kind, _ = MEASURES[name]
    if name in ("first_at", "last_at"):
        return name
    if name not in _SPREAD:
        return f"if(part = 0, {name}, {'0' if kind == 'BIGINT' else 'NULL'})::{kind} AS {name}"
    wide, largest = ("HUGEINT" if kind == "BIGINT" else "DECIMAL(38, 12)"), _LARGEST[kind]
    left = f"greatest(0, least({largest}, abs({name}) - (part::HUGEINT * {largest})::{wide}))"
    return (
        f"CASE WHEN {name} IS NULL THEN NULL WHEN parts = 1 THEN {name}::{kind} "
        f"WHEN {name} < 0 THEN -({left}::{kind}) ELSE {left}::{kind} END AS {name}"
    )


def recent(tail: str, *, settles: bool = True) -> str:
    """Return a query for the sums by quarter of the journal's tail; ``settles``: and for what the tail settles."""
    told = settling(f"({tail})")
    own = fitted(rolled_up(billing(f"({tail})", f"(FROM settling UNION ALL ({told}))")))
    if not settles:
        return own
    late = f"""
SELECT event.*, true AS settled_later, false AS billed
FROM ingested AS event JOIN ({told}) AS now ON now.provider = event.provider AND now.id = event.generation_id
LEFT JOIN (SELECT provider, id, max(settled_at) AS settled_at FROM settling GROUP BY ALL) AS before
    ON before.provider = event.provider AND before.id = event.generation_id
WHERE coalesce(cost_source, 'unknown') = 'unknown' AND now.settled_at >= started_at
    AND NOT coalesce(before.settled_at >= started_at, false)"""  # noqa: S608 -- all of it is written here
    unknown = f"SELECT * REPLACE (coalesce(cost_source, 'unknown') AS cost_source) FROM ({late})"  # noqa: S608 -- as above
    opposite = {"billed": "true", **{name: f"-{name}" for name in (*_COUNTED, *_ADDED)}, "shared": "NULL"}
    taken_back = ", ".join(f"{opposite.get(name, name)} AS {name}" for name in NAMES)
    return f"""
WITH late AS ({fitted(rolled_up(unknown))})
{own}
UNION ALL SELECT {", ".join(NAMES)} FROM late
UNION ALL SELECT {taken_back} FROM late"""  # noqa: S608 -- all of it is written here


def views(recent: str) -> dict[str, str]:
    """Return the queries of the views of sums; ``recent`` is a query for those of the journal's tail.

    In a coarser view these stay apart, quarter by quarter: few rows, and nothing is computed where it is not asked for.
    """
    return {
        QUARTERS.view: f"SELECT {', '.join(NAMES)} FROM rollups UNION ALL ({recent})",  # noqa: S608 -- as above
        **{
            level.view: f"SELECT {', '.join(level.names)} FROM {level.table} UNION ALL "  # noqa: S608 -- as above
            f"SELECT time_bucket({level.interval}, quarter), {', '.join(level.names[1:])} FROM ({recent})"
            for level in COARSER
        },
    }


def between(since: str, until: str) -> str:
    """Return a query for the sums of a span: of whole quarters, and of the rows at its ends.

    ``since`` and ``until`` are SQL of naive UTC timestamps, which may be infinite; ``until`` is not in the span.
    """
    first, after, ends = ends_of(since, until, QUARTER)
    return f"""
SELECT {", ".join(NAMES)} FROM sums WHERE quarter >= {first} AND quarter < {after}
UNION ALL {" UNION ALL ".join(fitted(rolled_up(end)) for end in ends)}"""  # noqa: S608 -- all of it is written here


def ends_of(since: str, until: str, interval: str) -> tuple[str, str, tuple[str, str]]:
    """Return where the whole intervals of a span begin and end, and queries for the rows before and after these."""
    first = f"if(isinf({since}), {since}, time_bucket({interval}, {since} + {interval} - INTERVAL 1 MICROSECOND))"
    after = f"if(isinf({until}), {until}, time_bucket({interval}, {until}))"
    # Two queries, so that each reads only the rows of its end.
    return (
        first,
        after,
        (
            f"SELECT * FROM billing WHERE started_at >= {since} AND started_at < least({first}, {until})",  # noqa: S608 -- as above
            f"SELECT * FROM billing WHERE started_at >= greatest({after}, {first}) AND started_at < {until}",  # noqa: S608 -- as above
        ),
    )


REQUESTS = (
    "(coalesce(sum(requests), 0) + coalesce(len(list_distinct(flatten(list(shared) FILTER (shared IS NOT NULL)))), 0))"
    "::BIGINT"
)
"""How many requests the sums in a group are of."""

MACROS = f"CREATE TEMP MACRO requests_of(requests, shared) AS {REQUESTS};"
SPAN_MACROS = f"""
CREATE TEMP MACRO sums_between(since, until) AS TABLE {between("since::TIMESTAMP", "until::TIMESTAMP")};
"""
"""What reports ask with."""
