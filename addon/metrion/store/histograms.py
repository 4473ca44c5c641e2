"""Histograms of times, kept beside the rows as the sums of :mod:`~metrion.store.rollups` are. SQL as text, and pure.

In: a query for rows of ``billing``. Out: a query for how many answers took how long, by hour, provider and model: few
enough groups for any number of callers. Who asks by another column, or for less than an hour, makes them of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metrion.store.rollups import KEYS, TIMED, billing, ends_of

TABLE = "latencies"
HOUR = "INTERVAL 1 HOUR"
TIMES: Mapping[str, str] = {"latency": "latency_ms", "first_byte": "first_byte_ms", "overhead": "overhead_ms"}
"""The times of which there are histograms, each with its column."""
STEPS = 16
"""Steps of a histogram in each doubling: a bound is 4.4 % above the one before."""

_HOUR = {"hour": f"time_bucket({HOUR}, started_at)"}
_KEPT = ("hour", "provider", "model")
COLUMNS = "hour TIMESTAMP, provider VARCHAR, model VARCHAR, time_of VARCHAR, step SMALLINT, responses BIGINT"


def timed(billing: str, keys: Iterable[str] = _KEPT) -> str:
    """Return a query for the histograms of these rows of ``billing``, by some of the keys of sums and ``hour``."""
    keys = tuple(keys)
    made = ", ".join(f"{_HOUR.get(name) or KEYS[name][1]} AS {name}" for name in keys)
    kinds = ", ".join(f"{{'time_of': '{name}', 'ms': {column}}}" for name, column in TIMES.items())
    return f"""
SELECT {", ".join(keys)}, time.time_of, {step("time.ms")} AS step, count(*) AS responses
FROM (SELECT {made}, unnest([{kinds}]) AS time FROM ({billing}) WHERE {TIMED})
WHERE time.ms IS NOT NULL GROUP BY ALL"""  # noqa: S608 -- all of it is written here


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
    """Return the query of the view ``times``: the histograms of everything; ``of_tail`` are those of the tail."""
    return {"times": f"FROM {TABLE} UNION ALL ({of_tail})"}


def between(since: str, until: str) -> str:
    """Return a query for the histograms of a span: of whole hours, and of the rows at its ends."""
    first, after, ends = ends_of(since, until, HOUR)
    return f"""
FROM times WHERE hour >= {first} AND hour < {after} UNION ALL {" UNION ALL ".join(map(timed, ends))}"""


MACROS = f"""
CREATE TEMP MACRO times_between(since, until) AS TABLE {between("since::TIMESTAMP", "until::TIMESTAMP")};
CREATE TEMP MACRO step_of(milliseconds) AS {step("milliseconds")};
CREATE TEMP MACRO bound_of(step) AS {bound("step")};
"""
"""What reports ask with."""
