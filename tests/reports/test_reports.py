# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import reports
from metrion.reports import Span
from tests.store.events import Home, event


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def costs(home: Home, *by: str, timezone: str = "UTC", **span: datetime) -> reports.Answer:
    return reports.report(home.journal_dir, home.store_path, "costs", Span(**span), by, timezone)


EVENTS: list[dict[str, Any]] = [
    {"started_at": datetime(2026, 11, 1, 23, 59, 59), "user_label": "alice", "tags": {"team": "a"}},
    {"started_at": datetime(2026, 11, 2), "user_label": "bob", "provider": "xai", "token_name": "ci"},
    {"started_at": datetime(2026, 11, 2, 1), "user_label": "bob", "cost_usd": None, "cost_source": "unpriced"},
    {
        "started_at": datetime(2026, 11, 3),
        "cost_usd": None,
        "cost_source": "unknown",
        "input_tokens": None,
        "output_tokens": None,
        "model": None,
        "model_requested": "asked-for",
        "account": "other",
    },
    {"started_at": datetime(2026, 11, 3), "cost_usd": Decimal("0.5"), "cost_source": "estimated"},
]
ONE = Decimal("0.001234567890")


@pytest.mark.parametrize("ingested", [False, True])
def test_costs_by_day(home: Home, ingested: bool) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    if ingested:
        home.ingest()
    answer = costs(home, "day")
    assert answer.table.columns == (
        "day",
        "requests",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "estimated_usd",
        "at_least_usd",
        "subscription_usd",
        "unpriced",
        "unknown",
    )
    assert answer.table.rows == [
        ("2026-11-01", 1, 100, 20, ONE, None, None, None, 0, 0),
        ("2026-11-02", 2, 200, 40, ONE, None, None, None, 1, 0),
        ("2026-11-03", 2, 100, 20, Decimal("0.5"), Decimal("0.5"), None, None, 0, 1),
    ]
    assert answer.total == ("total", 5, 400, 80, Decimal("0.5") + 2 * ONE, Decimal("0.5"), None, None, 1, 1)
    assert [note.partition(":")[0] for note in answer.notes] == ["1 unpriced", "1 unknown"]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("user", {"alice": 1, "bob": 2, None: 2}),
        ("provider", {"openai": 4, "xai": 1}),
        ("model", {"gpt-5": 4, "asked-for": 1}),
        ("token", {"laptop": 4, "ci": 1}),
        ("account", {"default": 4, "other": 1}),
        ("month", {"2026-11": 5}),
        ("tag:team", {"a": 1, None: 4}),
    ],
)
def test_costs_by_anything_else(home: Home, by: str, groups: dict[str | None, int]) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    table = costs(home, by).table
    assert {key: requests for key, requests, *_ in table.rows} == groups
    assert table.columns[0] == by.removeprefix("tag:")


def test_costs_by_several_things_in_turn(home: Home) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    assert [row[:3] for row in costs(home, "day", "provider").table.rows] == [
        ("2026-11-01", "openai", 1),
        ("2026-11-02", "xai", 1),
        ("2026-11-02", "openai", 1),  # without a known cost
        ("2026-11-03", "openai", 2),
    ]
    by_three = costs(home, "provider", "tag:team", "month")
    assert by_three.table.columns[:4] == ("provider", "team", "month", "requests")
    assert [row[:4] for row in by_three.table.rows] == [
        ("openai", "a", "2026-11", 1),
        ("openai", None, "2026-11", 3),
        ("xai", None, "2026-11", 1),
    ]
    assert by_three.total[:4] == ("total", "", "", 5)


def test_what_is_named_twice_is_one_column(home: Home) -> None:
    assert costs(home, "user", "user").table.columns[:2] == ("user", "requests")


@pytest.mark.parametrize(
    ("timezone", "days", "months"),
    [
        ("UTC", ["2026-11-01", "2026-11-30"], ["2026-11"]),
        ("Europe/Berlin", ["2026-11-01", "2026-12-01"], ["2026-11", "2026-12"]),
        ("America/New_York", ["2026-10-31", "2026-11-30"], ["2026-10", "2026-11"]),
        ("Asia/Kolkata", ["2026-11-01", "2026-12-01"], ["2026-11", "2026-12"]),
    ],
)
def test_days_and_months_are_those_of_a_time_zone(
    home: Home, timezone: str, days: list[str], months: list[str]
) -> None:
    home.record(event(started_at=datetime(2026, 11, 1, 0, 30)), event(started_at=datetime(2026, 11, 30, 23, 30)))
    assert [row[0] for row in costs(home, "day", timezone=timezone).table.rows] == days
    assert [row[0] for row in costs(home, "month", timezone=timezone).table.rows] == months


def test_a_day_has_23_hours_when_summer_begins(home: Home) -> None:
    """In Berlin, 28 March 2026 ends at 23:00 UTC and the 29th at 22:00."""
    hours = (datetime(2026, 3, 28, 22, 59), datetime(2026, 3, 28, 23), datetime(2026, 3, 29, 21, 59))
    home.record(*(event(started_at=hour) for hour in (*hours, datetime(2026, 3, 29, 22))))
    assert [row[:2] for row in costs(home, "day", timezone="Europe/Berlin").table.rows] == [
        ("2026-03-28", 1),
        ("2026-03-29", 2),
        ("2026-03-30", 1),
    ]


@pytest.mark.parametrize("by", ["", "hour", "tag", "tag:", "user:x"])
def test_what_is_nothing_to_group_by_is_told_what_is(home: Home, by: str) -> None:
    with pytest.raises(ValueError, match="day, user, model, provider, token, account or tag:NAME"):
        costs(home, by)


def test_a_span_has_its_start_and_not_its_end(home: Home) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    since, until = datetime(2026, 11, 2), datetime(2026, 11, 3)
    assert [row[0] for row in costs(home, "day", since=since, until=until).table.rows] == ["2026-11-02"]
    assert costs(home, "day", since=datetime(2026, 11, 3)).total[1] == 2
    assert costs(home, "day", until=datetime(2026, 11, 2)).total[1] == 1


def test_what_nobody_knows_is_null_and_counted(home: Home) -> None:
    home.record(event(**EVENTS[3]))
    ((_, requests, tokens, _, cost, _, _, _, unpriced, unknown),) = costs(home, "day").table.rows
    assert (requests, tokens, cost, unpriced, unknown) == (1, None, None, 0, 1)


def test_the_attempts_of_a_request_are_one_request(home: Home) -> None:
    home.record(event(request_id="r", attempt=1, model="a"), event(request_id="r", attempt=2, model="b"))
    answer = costs(home, "model")
    assert [row[:2] for row in answer.table.rows] == [("a", 1), ("b", 1)]
    assert answer.total[:2] == ("total", 1)


def test_an_empty_store_has_an_empty_report(home: Home) -> None:
    answer = costs(home, "day")
    assert answer.table.rows == []
    assert answer.notes == ()
