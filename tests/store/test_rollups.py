"""The sums by quarter of an hour, beside the rows that they are of."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from metrion.model import Event
from metrion.store import histograms, rollups
from metrion.store.spans import literal
from tests.store.events import Home, event

DAY = datetime(2026, 11, 1)  # noqa: DTZ001 -- events have naive UTC times
UNKNOWN: dict[str, Any] = {"generation_id": "resp_1", "cost_source": "unknown", "cost_usd": None}
READ_BACK: dict[str, Any] = {"method": "GET", "generation_id": "resp_1"}
SHARED: dict[str, Any] = {"request_id": "session", "operation": "realtime", "status": 101}

_PER_GROUP = tuple(name for name in rollups.KEYS if name != "quarter")
_SUMMED = tuple(name for name in rollups.MEASURES if name not in ("shared", "requests", "first_at", "last_at"))
FOLDED = (
    f"SELECT {', '.join(_PER_GROUP)}, {rollups.REQUESTS} AS requests, {', '.join(f'sum({name})' for name in _SUMMED)} "
)
HAVING = f"GROUP BY ALL HAVING sum(responses) <> 0 ORDER BY {', '.join(_PER_GROUP)}"


def over_rows(home: Home, since: str = "'-infinity'::TIMESTAMP", until: str = "'infinity'::TIMESTAMP") -> list[Any]:
    """The sums, made of all rows at once."""
    rows = f"SELECT * FROM billing WHERE started_at >= {since} AND started_at < {until}"  # noqa: S608 -- names of columns
    return home.values(f"{FOLDED} FROM ({rollups.rolled_up(rows)}) {HAVING}")


def kept(home: Home, since: str = "'-infinity'::TIMESTAMP", until: str = "'infinity'::TIMESTAMP") -> list[Any]:
    """The sums that the store keeps."""
    return home.values(f"{FOLDED} FROM ({rollups.between(since, until)}) {HAVING}")


def of_level(home: Home, level: rollups.Level) -> list[Any]:
    """The sums of a level."""
    keys = ", ".join((level.moment, *level.keys))
    sums = ", ".join(f"sum({name})" for name in _SUMMED)
    return home.values(f"SELECT {keys}, {sums} FROM {level.view} GROUP BY ALL ORDER BY {keys}")  # noqa: S608 -- names


def assert_times_kept(home: Home) -> None:
    """Histograms by hour and by day are those of the rows."""
    of_rows = histograms.timed("SELECT * FROM billing")
    for rows, view, moment in ((of_rows, "times", "hour"), (histograms.by_day(of_rows), "times_by_day", "day")):
        names = f"{moment}, provider, model, time_of, step"
        made, kept = (
            home.values(f"SELECT {names}, sum(responses) FROM {source} GROUP BY ALL ORDER BY ALL")  # noqa: S608 -- names
            for source in (f"({rows})", view)
        )
        assert made == kept != []


def assert_kept(home: Home) -> None:
    sums = kept(home)
    assert sums == over_rows(home)
    assert len(sums) > 0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def some(count: int, seed: int = 1) -> Iterator[Event]:
    """Rows of every kind, over a day."""
    drawn = random.Random(seed)
    for number in range(count):
        source = drawn.choice(
            ["computed", "provider", "estimated", "unpriced", "unknown", "not_billed", "subscription"]
        )
        known = source not in ("unpriced", "unknown")
        cached = drawn.choice([None, 0, 40])
        usual: dict[str, Any] = {
            "started_at": DAY + timedelta(seconds=drawn.uniform(0, 86_400)),
            "account": drawn.choice(["default", "team"]),
            "token_name": drawn.choice(["laptop", "ci", None]),
            "user_label": drawn.choice(["alice", "bob", None]),
            "provider": drawn.choice(["openai", "anthropic"]),
            "model": drawn.choice(["gpt-5", None]),
            "model_requested": drawn.choice(["gpt-5", "gpt-6", None]),
            "status": drawn.choice([200, 200, 429, 500, None]),
            "end_reason": drawn.choice(["complete", "client_abort", "refused", "retried", None]),
            "error_type": drawn.choice([None, None, "overloaded"]),
            "input_tokens": drawn.choice([None, 0, 100, 2**62]),
            "cache_read_tokens": cached,
            "output_tokens": drawn.choice([None, 20]),
            "cost_source": source,
            "cost_usd": (Decimal(drawn.randrange(10**12)) / 10**12 if source != "subscription" else Decimal(0))
            if known
            else None,
            "computed_cost_usd": drawn.choice([None, Decimal("0.5")]),
            "cost_at_least_usd": None if known else drawn.choice([None, Decimal("0.25")]),
            "cost_parts": {"input": Decimal("0.1"), "cache_read": Decimal("0.01"), "claude-x:output": Decimal("0.2")}
            if drawn.random() < 0.5
            else None,
            "latency_ms": drawn.choice([None, float(drawn.randrange(10_000))]),
            "first_byte_ms": drawn.choice([None, 12.5]),
            "overhead_ms": drawn.choice([None, 0.4]),
            "generation_id": drawn.choice([None, f"resp_{drawn.randrange(40)}"]),
            "method": drawn.choice(["POST", "POST", "POST", "GET"]),
            "path": "/v1/responses",
        }
        if drawn.random() < 0.1:
            usual |= SHARED | {"request_id": f"session-{number % 3}"}
        yield event(**usual)


@pytest.mark.parametrize("ingested", [0, 1, 3, 5])
def test_the_sums_equal_those_over_the_rows(home: Home, ingested: int) -> None:
    """Rows come in five batches, out of order, of which some are still in the journal."""
    rows = list(some(500))
    for batch in range(5):
        home.record(*rows[batch * 100 : batch * 100 + 100])
        if batch < ingested:
            home.ingest()
    assert_kept(home)


def test_the_sums_of_a_span_equal_those_over_its_rows(home: Home) -> None:
    rows = list(some(400, seed=2))
    home.record(*rows[:300])
    home.ingest()
    home.record(*rows[300:])
    for since, until in (
        ("2026-11-01 03:00", "2026-11-01 04:00"),
        ("2026-11-01 03:07:11", "2026-11-01 21:29:59.5"),
        ("2026-11-01 03:01", "2026-11-01 03:14"),
        ("2026-11-01 03:01", "2026-11-01 03:16"),
        ("2026-11-01 03:01", "infinity"),
        ("-infinity", "2026-11-01 03:01"),
        ("2026-11-01 05:00", "2026-11-01 04:00"),
    ):
        span = (f"'{since}'::TIMESTAMP", f"'{until}'::TIMESTAMP")
        assert kept(home, *span) == over_rows(home, *span), span


@pytest.mark.parametrize("ingested", [(False, False), (True, False), (True, True)])
def test_what_is_settled_later_is_taken_back(home: Home, ingested: tuple[bool, bool]) -> None:
    started = DAY + timedelta(hours=1)
    home.record(event(started_at=started, **UNKNOWN), event(started_at=started))
    if ingested[0]:
        home.ingest()
    home.record(event(started_at=started + timedelta(hours=5), **READ_BACK))
    if ingested[1]:
        home.ingest()
    assert_kept(home)
    assert home.values("SELECT coalesce(sum(responses), 0) FROM sums WHERE cost_source = 'unknown' AND billed") == [
        (0,)
    ]


def test_a_request_of_several_rows_counts_once(home: Home) -> None:
    home.record(event(**SHARED), event(**SHARED), event(**SHARED | {"request_id": "another"}), event())
    home.ingest()
    home.record(event(**SHARED | {"started_at": DAY + timedelta(hours=20)}), event())
    assert home.values(f"SELECT {rollups.REQUESTS} FROM sums") == [(4,)]  # noqa: S608 -- names of columns


def test_a_quarter_that_is_over_has_one_row_for_each_group(home: Home) -> None:
    for second in range(5):
        home.record(event(started_at=DAY + timedelta(seconds=second)))
        home.ingest()
    home.record(event(started_at=DAY + timedelta(minutes=20)))
    home.ingest()
    counted = "SELECT quarter, count(*), sum(responses) FROM rollups GROUP BY ALL ORDER BY ALL"
    assert home.values(counted) == [(DAY, 1, 5), (DAY + timedelta(minutes=15), 1, 1)]
    assert_kept(home)


@pytest.mark.parametrize(
    "lost",
    [
        ("rollups", "hours", "latencies", "settling"),
        ("hours", "days", "model_days", "day_latencies"),
        ("model_days",),
        ("day_latencies",),
    ],
    ids=["most", "all that is made of finer ones", "a level", "histograms by day"],
)
def test_a_store_without_sums_gets_them(home: Home, lost: tuple[str, ...]) -> None:
    home.record(*some(100), event(**UNKNOWN), event(**READ_BACK))
    home.ingest()
    before = kept(home), [of_level(home, level) for level in rollups.LEVELS]
    assert_times_kept(home)
    with duckdb.connect(home.store_path) as connection:
        connection.execute("DROP VIEW sums; " + "; ".join(f"DROP TABLE {table}" for table in lost))
    home.initialise()
    assert (kept(home), [of_level(home, level) for level in rollups.LEVELS]) == before
    assert_kept(home)
    assert_times_kept(home)


@pytest.mark.parametrize("ingested", [0, 2, 4])
def test_the_histograms_equal_those_over_the_rows(home: Home, ingested: int) -> None:
    rows = [replace(row, started_at=row.started_at + timedelta(days=day)) for day in range(3) for row in some(80, day)]
    for batch in range(4):
        home.record(*rows[batch::4])
        if batch < ingested:
            home.ingest()
    assert_times_kept(home)
    for since, until in ((0, 72), (5, 70), (26, 40), (3, 23)):
        first, after = DAY + timedelta(hours=since, minutes=7), DAY + timedelta(hours=until)
        span = f"SELECT * FROM billing WHERE started_at >= {literal(first)} AND started_at < {literal(after)}"  # noqa: S608 -- names
        between = [
            home.values(f"SELECT time_of, step, sum(responses) FROM ({times}) GROUP BY ALL ORDER BY ALL")  # noqa: S608 -- names
            for times in (
                histograms.timed(span),
                *(histograms.between(literal(first), literal(after), in_days=each) for each in (True, False)),
            )
        ]
        assert between[0] == between[1] == between[2] != []


@pytest.mark.parametrize("ingested", [0, 1, 2])
def test_a_sum_that_is_too_large_for_its_column_is_spread_over_rows(home: Home, ingested: int) -> None:
    large: dict[str, Any]
    most, amount = 2**63 - 1, Decimal("999999.999999999999")
    for batch in range(2):
        large = {"input_tokens": most, "output_tokens": 1, "cost_usd": amount, "end_reason": "complete"}
        home.record(*(event(started_at=DAY, **large) for _ in range(5)))
        if batch < ingested:
            home.ingest()
    for view in (level.view for level in rollups.LEVELS):
        summed = "sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(requests), sum(responses)"
        assert home.values(f"SELECT {summed} FROM {view}") == [(10 * most, 10, 10 * amount, 10, 10)]  # noqa: S608 -- names
    kinds = {kind for name, kind, *_ in home.values("DESCRIBE sums") if name in rollups.MEASURES}
    assert not {"HUGEINT", "DECIMAL(38,12)"} & kinds


def test_a_histogram_finds_a_percentile_within_its_step(home: Home) -> None:
    times = [float(each) for each in range(1, 1001)]
    home.record(*(event(latency_ms=each, end_reason="complete") for each in times[:500]))
    home.ingest()
    home.record(*(event(latency_ms=each, end_reason="complete") for each in times[500:]))
    counted = "SELECT step, sum(responses) AS responses FROM times WHERE time_of = 'latency' GROUP BY ALL"
    ((bound,),) = home.values(f"""
        SELECT min({histograms.bound("step")}) FROM (
            SELECT step, sum(responses) OVER (ORDER BY step) AS so_far, sum(responses) OVER () AS whole FROM ({counted})
        ) WHERE so_far >= 0.95 * whole""")  # noqa: S608 -- names of columns
    assert 950 <= bound <= 950 * 1.05
