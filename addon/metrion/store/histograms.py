"""Histograms of times, kept beside the rows as the sums of :mod:`~metrion.store.rollups` are. SQL as text, and pure.

In: a query for rows of ``billing``. Out: a query for how many answers took how long, by hour, provider and model: few
enough groups for any number of callers. Those by day are made of these. Who asks by another column, or for less than an
hour, makes them of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metrion.store.rollups import KEYS, TIMED, billing, ends_of

TABLE, DAY_TABLE = "latencies", "day_latencies"
HOUR, DAY = "INTERVAL 1 HOUR", "INTERVAL 1 DAY"
TIMES: Mapping[str, str] = {"latency": "latency_ms", "first_byte": "first_byte_ms", "overhead": "overhead_ms"}
"""The times of which there are histograms, each with its column."""
STEPS = 16
"""Steps of a histogram in each doubling: a bound is 4.4 % above the one before."""

_HOUR = {"hour": f"time_bucket({HOUR}, started_at)"}
_KEPT = ("hour", "provider", "model")
_REST = "provider, model, time_of, step"
_KINDS = "TIMESTAMP, provider VARCHAR, model VARCHAR, time_of VARCHAR, step SMALLINT, responses BIGINT"
TABLES: Mapping[str, str] = {TABLE: f"hour {_KINDS}", DAY_TABLE: f"day {_KINDS}"}
"""The tables of histograms, with their columns."""


def timed(billing: str, keys: Iterable[str] = _KEPT) -> str:
    """Return a query for the histograms of these rows of ``billing``, by some of the keys of sums and ``hour``."""
    keys = tuple(keys)
    made = ", ".join(f"{_HOUR.get(name) or KEYS[name][1]} AS {name}" for name in keys)
    kinds = ", ".join(f"{{'time_of': '{name}', 'ms': {column}}}" for name, column in TIMES.items())
    return f"""
SELECT {", ".join(keys)}, time.time_of, {step("time.ms")} AS step, count(*) AS responses
FROM (SELECT {made}, unnest([{kinds}]) AS time FROM ({billing}) WHERE {TIMED})
WHERE time.ms IS NOT NULL GROUP BY ALL"""  # noqa: S608 -- all of it is written here


def by_day(hours: str) -> str:
    """Return a query for the histograms by day, made of those by hour."""
    return f"""
SELECT time_bucket({DAY}, hour) AS day, {_REST}, sum(responses)::BIGINT AS responses
FROM ({hours}) GROUP BY ALL"""  # noqa: S608 -- all of it is written here


def step(milliseconds: str) -> str:
    """Return the SQL of the step of a histogram in which a time is, from 1 µs on."""
    return f"ceil({STEPS} * log2(least(greatest({milliseconds}, 0.001), 1e12)))::SMALLINT"


def bound(step: str) -> str:
    """Return the SQL of the milliseconds up to which a step goes."""
    return f"pow(2, {step} / {STEPS}.0)"


def of_tail(tail: str) -> str:
    """Return a query for the histograms of the journal's tail."""
    return timed(billing(f"({tail})", "settling"))


def views(of_tail: str) -> dict[str, str]:
    """Return the queries of the views ``times`` and ``times_by_day``; ``of_tail`` are the histograms of the tail."""
    tail_by_day = f"SELECT time_bucket({DAY}, hour), {_REST}, responses FROM ({of_tail})"  # noqa: S608 -- as above
    return {
        "times": f"FROM {TABLE} UNION ALL ({of_tail})",
        "times_by_day": f"FROM {DAY_TABLE} UNION ALL {tail_by_day}",
    }


def between(since: str, until: str, *, in_days: bool) -> str:
    """Return a query for the histograms of a span: of its whole hours, and of the rows at its ends.

    ``in_days``: those of whole days are one, whose ``hour`` is the first of the day.
    """
    first, after, ends = ends_of(since, until, HOUR)
    hours = [f"hour >= {first} AND hour < {after}"]
    days = []
    if in_days:
        first_day, after_day, _ = ends_of(since, until, DAY)
        hours = [
            f"hour >= {first} AND hour < least({first_day}, {after})",
            f"hour >= greatest({after_day}, {first_day}) AND hour < {after}",
        ]
        days = [
            f"SELECT day AS hour, {_REST}, responses FROM times_by_day WHERE day >= {first_day} AND day < {after_day}"  # noqa: S608 -- as above
        ]
    parts = [*days, *(f"FROM times WHERE {span}" for span in hours), *map(timed, ends)]
    return " UNION ALL ".join(parts)


MACROS = f"""
CREATE TEMP MACRO step_of(milliseconds) AS {step("milliseconds")};
CREATE TEMP MACRO bound_of(step) AS {bound("step")};
"""
SPAN_MACROS = f"""
CREATE TEMP MACRO times_between(since, until) AS TABLE {between("since::TIMESTAMP", "until::TIMESTAMP", in_days=True)};
"""
"""What reports ask with."""
