# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import reports
from metrion.reports import Span, moment
from tests.store.events import Home, event

NOW = datetime(2026, 11, 21, 8, 30, 15, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-01", datetime(2026, 11, 1)),
        ("2026-11-01T08:30", datetime(2026, 11, 1, 8, 30)),
        ("2026-11-01 08:30:15.5", datetime(2026, 11, 1, 8, 30, 15, 500_000)),
        ("2026-11-01T08:30Z", datetime(2026, 11, 1, 8, 30)),
        ("2026-11-01T08:30+02:00", datetime(2026, 11, 1, 6, 30)),
        ("7d", datetime(2026, 11, 14, 8, 30, 15, 5)),
        ("24h", datetime(2026, 11, 20, 8, 30, 15, 5)),
        ("30m", datetime(2026, 11, 21, 8, 0, 15, 5)),
        ("2w", datetime(2026, 11, 7, 8, 30, 15, 5)),
        ("now", datetime(2026, 11, 21, 8, 30, 15, 5)),
        ("today", datetime(2026, 11, 21)),
        ("yesterday", datetime(2026, 11, 20)),
        ("month", datetime(2026, 11, 1)),
    ],
)
def test_moments(text: str, read: datetime) -> None:
    assert moment(text, NOW) == read


@pytest.mark.parametrize("text", ["", "7", "d", "7x", "-7d", "last week", "2026-13-01", "999999w"])
def test_what_is_no_moment_is_told_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"no point in time; write 2026-11-01"):
        moment(text, NOW)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def costs(home: Home, by: str, **span: datetime) -> reports.Answer:
    return reports.report(home.journal_dir, home.store_path, "costs", Span(**span), by)


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
        "unpriced",
        "unknown",
    )
    assert answer.table.rows == [
        ("2026-11-01", 1, 100, 20, ONE, None, 0, 0),
        ("2026-11-02", 2, 200, 40, ONE, None, 1, 0),
        ("2026-11-03", 2, 100, 20, Decimal("0.5"), Decimal("0.5"), 0, 1),
    ]
    assert answer.total == ("total", 5, 400, 80, Decimal("0.5") + 2 * ONE, Decimal("0.5"), 1, 1)
    assert [note.partition(":")[0] for note in answer.notes] == ["1 unpriced", "1 unknown"]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("user", {"alice": 1, "bob": 2, None: 2}),
        ("provider", {"openai": 4, "xai": 1}),
        ("model", {"gpt-5": 4, "asked-for": 1}),
        ("token", {"laptop": 4, "ci": 1}),
        ("account", {"default": 4, "other": 1}),
        ("tag:team", {"a": 1, None: 4}),
    ],
)
def test_costs_by_anything_else(home: Home, by: str, groups: dict[str | None, int]) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    table = costs(home, by).table
    assert {key: requests for key, requests, *_ in table.rows} == groups
    assert table.columns[0] == by.removeprefix("tag:")


@pytest.mark.parametrize("by", ["", "hour", "tag", "tag:", "user:x"])
def test_what_is_nothing_to_group_by_is_told_what_is(home: Home, by: str) -> None:
    with pytest.raises(ValueError, match="day, user, model, provider, token, account or tag:NAME"):
        costs(home, by)


def test_a_span_has_its_start_and_not_its_end(home: Home) -> None:
    home.record(*(event(**columns) for columns in EVENTS))
    day = {"since": datetime(2026, 11, 2), "until": datetime(2026, 11, 3)}
    assert [row[0] for row in costs(home, "day", **day).table.rows] == ["2026-11-02"]
    assert costs(home, "day", since=datetime(2026, 11, 3)).total[1] == 2
    assert costs(home, "day", until=datetime(2026, 11, 2)).total[1] == 1


def test_what_nobody_knows_is_null_and_counted(home: Home) -> None:
    home.record(event(**EVENTS[3]))
    ((_, requests, tokens, _, cost, _, unpriced, unknown),) = costs(home, "day").table.rows
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
