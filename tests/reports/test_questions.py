# ruff: noqa: DTZ001 -- the store's times are naive UTC
"""What each question answers, over a handful of events whose answers can be counted by hand."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import reports
from metrion.reports import Span
from tests.pages import ROOT, blocks, sections
from tests.store.events import Home, event

DAY = datetime(2026, 11, 1, 12)
REFUSED: dict[str, Any] = {
    "status": 401,
    "end_reason": "refused",
    "error_type": "invalid_token",
    "model": None,
    "account": None,
    "token_name": None,
    "input_tokens": None,
    "output_tokens": None,
    "cost_usd": Decimal(0),
    "cost_source": "not_billed",
}
FAILED: dict[str, Any] = {
    "status": 529,
    "end_reason": "complete",
    "error_type": "overloaded_error",
    "provider": "anthropic",
    "model": None,
    "model_requested": "claude",
    "input_tokens": None,
    "output_tokens": None,
    "cost_usd": Decimal(0),
    "cost_source": "not_billed",
    "user_label": "bob",
}
CUT: dict[str, Any] = {
    "end_reason": "client_abort",
    "input_tokens": None,
    "output_tokens": None,
    "cost_usd": None,
    "cost_source": "unknown",
}
UNPRICED: dict[str, Any] = {"provider": "xai", "model": "grok-9", "cost_usd": None, "cost_source": "unpriced"}
EVENTS: list[dict[str, Any]] = [
    {"end_reason": "complete", "user_label": "alice", "cache_read_tokens": 50, "latency_ms": 100.0 * n}
    | {"first_byte_ms": 10.0 * n, "overhead_ms": 1.0, "cost_usd": Decimal("0.01")}
    for n in range(1, 6)
]
EVENTS += [
    REFUSED,
    FAILED,
    CUT,
    {"end_reason": "complete", "user_label": "bob", "cache_read_tokens": 0} | UNPRICED,
    {"end_reason": "complete", "user_label": "bob", "started_at": datetime(2026, 11, 2)} | UNPRICED,
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def answer(home: Home, name: str, **span: datetime) -> list[dict[str, Any]]:
    """The rows and, last, the total."""
    answer = reports.report(home.journal_dir, home.store_path, name, Span(**span))
    return [dict(zip(answer.table.columns, row, strict=True)) for row in (*answer.table.rows, answer.total)]


def picked(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


@pytest.mark.parametrize("ingested", [False, True])
@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        (
            "users",
            ("account", "user", "requests", "failed", "models", "cost_usd", "unpriced", "unknown"),
            [
                ("default", "alice", 5, 0, 1, Decimal("0.05"), 0, 0),
                (None, None, 1, 1, 0, Decimal(0), 0, 0),
                ("default", "bob", 3, 1, 2, None, 2, 0),
                ("default", None, 1, 0, 1, None, 0, 1),
                ("total", "", 10, 2, 3, Decimal("0.05"), 2, 1),
            ],
        ),
        (
            "models",
            ("provider", "model", "requests", "input_tokens", "cache_read_tokens", "cost_usd", "usd_per_million"),
            [
                ("openai", "gpt-5", 6, 500, 250, Decimal("0.05"), 83.3333),
                ("anthropic", "claude", 1, None, None, Decimal(0), None),
                ("xai", "grok-9", 2, 200, 0, None, None),
                ("total", "", 9, 700, 250, Decimal("0.05"), 83.3333),
            ],
        ),
        (
            "providers",
            ("provider", "requests", "failed", "refused", "cached_percent", "cost_usd", "unpriced", "unknown"),
            [
                ("openai", 7, 0, 1, 50.0, Decimal("0.05"), 0, 1),
                ("anthropic", 1, 1, 0, None, Decimal(0), 0, 0),
                ("xai", 2, 0, 0, 0.0, None, 2, 0),
                ("total", 10, 1, 1, 41.7, Decimal("0.05"), 2, 1),
            ],
        ),
        (
            "tokens",
            ("account", "token", "requests", "refused", "users", "cost_usd", "last_seen"),
            [
                ("default", "laptop", 9, 0, 2, Decimal("0.05"), datetime(2026, 11, 2)),
                (None, None, 1, 1, 0, Decimal(0), DAY),
                ("total", "", 10, 1, 2, Decimal("0.05"), datetime(2026, 11, 2)),
            ],
        ),
        (
            "latency",
            ("provider", "model", "requests", "first_byte_p50", "latency_p50", "latency_p95", "overhead_p50"),
            [
                ("openai", "gpt-5", 5, 30.0, 300.0, 480.0, 1.0),
                ("xai", "grok-9", 2, None, None, None, None),
                ("total", "", 7, 30.0, 300.0, 480.0, 1.0),
            ],
        ),
        (
            "errors",
            ("provider", "status", "error_type", "end_reason", "requests", "percent", "users", "first_seen"),
            [
                ("anthropic", 529, "overloaded_error", "complete", 1, 100.0, 1, DAY),
                ("openai", 200, None, "client_abort", 1, 14.29, 0, DAY),
                ("openai", 401, "invalid_token", "refused", 1, 14.29, 0, DAY),
                ("total", "", "", "", 3, 30.0, 1, DAY),
            ],
        ),
        (
            "unpriced",
            ("why", "provider", "model", "requests", "input_tokens", "cache_read_tokens", "first_seen", "last_seen"),
            [
                ("unpriced", "xai", "grok-9", 2, 200, 0, DAY, datetime(2026, 11, 2)),
                ("unknown", "openai", "gpt-5", 1, None, None, DAY, DAY),
                ("total", "", "", 3, 200, 0, DAY, datetime(2026, 11, 2)),
            ],
        ),
    ],
)
def test_answers(
    home: Home, name: str, columns: tuple[str, ...], expected: list[tuple[Any, ...]], ingested: bool
) -> None:
    home.record(*(event(**({"started_at": DAY} | columns)) for columns in EVENTS))
    if ingested:
        home.ingest()
    assert picked(answer(home, name), *columns) == expected


@pytest.mark.parametrize("name", reports.QUESTIONS)
def test_every_question_keeps_to_its_span(home: Home, name: str) -> None:
    home.record(*(event(**({"started_at": DAY} | columns)) for columns in EVENTS))
    assert len(answer(home, name)) > 1
    (total,) = answer(home, name, since=datetime(2026, 11, 3))
    assert total["requests"] == 0
    (total,) = answer(home, name, until=datetime(2026, 11, 1))
    assert total["requests"] == 0


@pytest.mark.parametrize("name", reports.QUESTIONS)
def test_every_question_has_an_empty_answer_before_the_first_event(home: Home, name: str) -> None:
    (total,) = answer(home, name)
    assert (next(iter(total.values())), total["requests"]) == ("total", 0)


@pytest.mark.parametrize("name", reports.QUESTIONS)
def test_every_question_says_what_it_answers(name: str) -> None:
    said = reports.QUESTIONS[name]
    assert said[0].isupper()
    assert said.endswith(".")
    assert "$" not in said


@pytest.mark.parametrize("name", [name for name in reports.QUESTIONS if name != "costs"])
def test_only_costs_leaves_open_what_to_group_by(home: Home, name: str) -> None:
    with pytest.raises(ValueError, match="report costs --by user"):
        reports.report(home.journal_dir, home.store_path, name, Span(), ["user"])


def test_what_has_no_price_comes_with_the_way_out(home: Home) -> None:
    home.record(event(**UNPRICED))
    (note,) = reports.report(home.journal_dir, home.store_path, "unpriced", Span()).notes
    assert "metrion reprice" in note
    home.record(event(**CUT))
    _, note = reports.report(home.journal_dir, home.store_path, "unpriced", Span()).notes
    assert "docs/configuration.md" in note
    assert "docs/estimates.md" in note


UNDER_WAY: dict[str, Any] = CUT | {"end_reason": "complete", "generation_id": "resp_1"}
READ_BACK: dict[str, Any] = {"method": "GET", "generation_id": "resp_1", "cost_usd": Decimal("0.5")}
READ_AGAIN: dict[str, Any] = READ_BACK | {"cost_usd": Decimal(0), "cost_source": "not_billed"}


@pytest.mark.parametrize(
    ("later", "unknown"),
    [
        ([], 1),
        ([READ_AGAIN], 1),
        ([READ_BACK], 0),
        ([READ_BACK, READ_AGAIN], 0),
        ([READ_BACK | {"cost_source": "unpriced", "cost_usd": None}], 0),
        ([READ_BACK | {"generation_id": "resp_2"}], 1),
        ([READ_BACK | {"provider": "xai"}], 1),
        ([READ_BACK | {"method": "POST"}], 1),  # the next answer of a conversation has its id
        ([READ_BACK | {"method": "POST", "operation": "runs"}], 0),
        ([READ_BACK | {"generation_id": "done_1", "path": "/v1/chat/deferred-completion/resp_1"}], 0),
        ([READ_BACK | {"generation_id": None, "path": None}], 1),  # a response in a WebSocket session
    ],
)
def test_what_is_told_later_is_not_unknown(home: Home, later: list[dict[str, Any]], unknown: int) -> None:
    home.record(event(**UNDER_WAY), *(event(**{"started_at": DAY + timedelta(days=40)} | each) for each in later))
    for name in reports.QUESTIONS.keys() - {"errors", "latency", "unpriced"}:
        assert (name, answer(home, name, until=DAY)[-1]["unknown"]) == (name, unknown)
    assert answer(home, "unpriced", until=DAY)[-1]["requests"] == unknown


def test_what_has_no_id_stays_unknown(home: Home) -> None:
    home.record(event(**CUT), event(**READ_BACK | {"started_at": DAY}))
    assert answer(home, "costs")[-1]["unknown"] == 1
    assert answer(home, "unpriced")[-1]["requests"] == 1


UNTOLD: dict[str, Any] = CUT | {"end_reason": "complete"}
COVERED: dict[str, Any] = {
    "cost_usd": Decimal(0),
    "cost_source": "subscription",
    "computed_cost_usd": Decimal("0.25"),
    "model": "claude",
}
NOT_BILLED: dict[str, Any] = {"cost_usd": Decimal(0), "cost_source": "not_billed"}


@pytest.mark.parametrize(
    ("rows", "cost"),
    [
        ([{}], Decimal("0.001234567890")),
        ([NOT_BILLED], Decimal(0)),
        ([COVERED], Decimal(0)),
        ([COVERED, NOT_BILLED], Decimal(0)),
        ([UNPRICED], None),
        ([UNTOLD], None),
        ([{"cost_usd": None, "cost_source": None}], None),
        ([UNPRICED, NOT_BILLED], None),
        ([UNTOLD, NOT_BILLED], None),
        ([UNTOLD, COVERED], None),
        ([UNPRICED, NOT_BILLED, {}], Decimal("0.001234567890")),
        ([COVERED | {"cost_usd": Decimal(1)}, {}], Decimal("0.001234567890")),
    ],
)
def test_a_cost_that_nobody_knows_is_null_beside_what_is_not_billed(
    home: Home, rows: list[dict[str, Any]], cost: Decimal | None
) -> None:
    home.record(*(event(**each | {"provider": "xai", "model": "grok-9"}) for each in rows))
    for name in reports.QUESTIONS.keys() - {"errors", "latency", "unpriced"}:
        row, total = answer(home, name)
        assert (name, row["cost_usd"], total["cost_usd"]) == (name, cost, cost)


def test_what_is_read_back_is_billed_where_it_was_read(home: Home) -> None:
    home.record(
        event(**UNDER_WAY | {"model": "gpt-5", "started_at": DAY}),
        event(**READ_BACK | {"started_at": DAY + timedelta(days=1)}),
    )
    assert picked(answer(home, "costs"), "day", "cost_usd") == [
        ("2026-11-01", Decimal(0)),
        ("2026-11-02", Decimal("0.5")),
        ("total", Decimal("0.5")),
    ]


def test_a_floor_stands_beside_the_sum(home: Home) -> None:
    floor = {"cost_at_least_usd": Decimal("0.5")}
    home.record(event(**CUT | floor), event(**UNPRICED | {"provider": "openai"} | floor), event())
    for name in reports.QUESTIONS.keys() - {"errors", "latency", "unpriced"}:
        total = answer(home, name)[-1]
        assert (total["at_least_usd"], total["cost_usd"]) == (Decimal(1), Decimal("0.001234567890"))
    assert answer(home, "unpriced")[-1]["at_least_usd"] == Decimal(1)
    assert any(
        note.startswith("at_least_usd: ")
        for note in reports.report(home.journal_dir, home.store_path, "costs", Span()).notes
    )


def test_the_floor_of_what_was_read_back_is_in_no_figure(home: Home) -> None:
    home.record(event(**UNDER_WAY | {"cost_at_least_usd": Decimal("0.5")}), event(**READ_BACK))
    assert answer(home, "costs")[-1]["at_least_usd"] is None


def test_what_a_plan_covers_is_beside_the_sum(home: Home) -> None:
    home.record(event(**COVERED), event(**COVERED), event())
    for name in reports.QUESTIONS.keys() - {"errors", "latency", "unpriced"}:
        total = answer(home, name)[-1]
        assert (total["subscription_usd"], total["cost_usd"]) == (Decimal("0.5"), Decimal("0.001234567890"))
    assert answer(home, "unpriced") == [answer(home, "unpriced")[-1]]
    assert any(
        note.startswith("subscription_usd: ")
        for note in reports.report(home.journal_dir, home.store_path, "costs", Span()).notes
    )


def test_a_million_tokens_cost_what_those_cost_that_have_a_cost(home: Home) -> None:
    counted = {"model": "claude", "input_tokens": 900, "output_tokens": 100}
    home.record(
        event(**counted, cost_usd=Decimal("0.002")),
        event(**counted | NOT_BILLED),  # refused by the model: its usage is reported, and free
        event(**counted | COVERED),
        event(**counted, cost_usd=None, cost_source="unpriced"),
    )
    assert picked(answer(home, "models"), "model", "usd_per_million")[0] == ("claude", 2.0)


LATENCY: dict[str, Any] = {"end_reason": "complete", "latency_ms": 1000.0}


@pytest.mark.parametrize(
    ("columns", "counts"),
    [
        ({}, True),
        ({"cost_usd": None, "cost_source": "unpriced"}, True),
        ({"cost_usd": None, "cost_source": "unknown"}, True),
        (COVERED, True),
        ({"method": "GET"}, False),  # what was generated before is read back
        ({"method": "GET", "operation": "models"} | NOT_BILLED, False),
        ({"operation": "count_tokens"} | NOT_BILLED, False),
        ({"method": "GET", "status": 101, "operation": "realtime"}, False),
        ({"status": 500}, False),
        ({"end_reason": "client_abort"}, False),
    ],
)
def test_latency_is_that_of_generations(home: Home, columns: dict[str, Any], counts: bool) -> None:
    home.record(event(**LATENCY | columns))
    assert answer(home, "latency")[-1]["requests"] == counts


@pytest.mark.parametrize("ingested", [False, True])
def test_percentiles_of_many_answers_are_within_a_step_of_the_exact_ones(
    home: Home, monkeypatch: pytest.MonkeyPatch, ingested: bool
) -> None:
    """From below a microsecond to hours, on both sides of the hours that histograms are kept by."""
    drawn = random.Random(4)
    whole = [drawn.lognormvariate(6, 3) for _ in range(400)]
    own = [drawn.lognormvariate(-1, 1) for _ in range(400)]
    home.record(
        *(
            event(
                **LATENCY | {"latency_ms": each, "first_byte_ms": each / 3, "overhead_ms": overhead},
                started_at=DAY + timedelta(minutes=number),
                model=["gpt-5", "gpt-6"][number % 2],
            )
            for number, (each, overhead) in enumerate(zip(whole, own, strict=True))
        )
    )
    if ingested:
        home.ingest()
    since, until = DAY + timedelta(minutes=7, seconds=30), DAY + timedelta(minutes=391)
    span = range(8, 391)

    def asked() -> dict[str, dict[str, Any]]:
        made = reports.report(home.journal_dir, home.store_path, "latency", Span(since, until))
        rows = [*made.table.rows, made.total]
        return {row[1] or "total": dict(zip(made.table.columns, row, strict=True)) for row in rows}

    exact = asked()
    monkeypatch.setattr(reports, "_MOST_EXACT", 100)
    stepped = asked()
    assert [row["requests"] for row in stepped.values()] == [row["requests"] for row in exact.values()]
    for name, row in stepped.items():
        numbers = [n for n in span if name in ("total", ["gpt-5", "gpt-6"][n % 2])]
        for column, times in (("latency", whole), ("first_byte", [each / 3 for each in whole]), ("overhead", own)):
            ordered = sorted(times[n] for n in numbers)
            for percent in (50, 95, 99):
                at_its_place = ordered[int(percent / 100 * (len(ordered) - 1))]
                shown = row[f"{column}_p{percent}"]
                assert abs(shown / at_its_place - 1) < 0.0444 + 0.05 / at_its_place, (name, column, percent)


def test_the_latency_of_a_background_response_is_not_that_of_its_request(home: Home) -> None:
    home.record(event(**UNDER_WAY | LATENCY), event(**READ_BACK))
    assert answer(home, "latency")[-1]["requests"] == 0


def test_errors_count_requests_not_the_rows_of_sessions(home: Home) -> None:
    session: dict[str, Any] = {"method": "GET", "operation": "realtime", "status": 101, "end_reason": "complete"}
    home.record(
        *(event(**session, request_id="session") for _ in range(8)),
        event(**session | {"end_reason": "upstream_error"}, request_id="broken"),
        event(**session | {"end_reason": "upstream_error"}, request_id="broken"),
        event(end_reason="complete"),
        event(end_reason="complete"),
    )
    assert picked(answer(home, "errors"), "status", "end_reason", "requests", "percent") == [
        (101, "upstream_error", 1, 25.0),
        ("", "", 1, 25.0),
    ]


def test_an_attempt_that_another_one_followed_is_no_error(home: Home) -> None:
    home.record(
        event(request_id="r", attempt=1, status=529, end_reason="retried"),
        event(request_id="r", attempt=2, end_reason="complete"),
        event(request_id="s", attempt=1, status=529, end_reason="retried"),
        event(request_id="s", attempt=2, status=529, end_reason="complete"),
    )
    assert picked(answer(home, "errors"), "status", "requests", "percent")[0] == (529, 1, 50.0)
    assert answer(home, "providers")[-1]["failed"] == 1
    assert answer(home, "users")[-1]["failed"] == 1


def test_a_million_tokens_of_a_model_are_without_what_others_did_for_it(home: Home) -> None:
    parts = {"input": Decimal("0.001"), "output": Decimal("0.001"), "claude-opus:ft:input": Decimal("0.5")}
    home.record(
        event(model="claude", cost_usd=sum(parts.values()), cost_parts=parts, input_tokens=900, output_tokens=100),
        event(model="claude", cost_usd=Decimal("0.004"), cost_parts=None, input_tokens=900, output_tokens=100),
    )
    assert picked(answer(home, "models"), "model", "cost_usd", "usd_per_million")[0] == (
        "claude",
        Decimal("0.506"),
        3.0,
    )


def test_a_batch_that_several_models_made_is_among_the_models(home: Home) -> None:
    parts = {"gpt-5:input": Decimal("0.001"), "gpt-5-mini:input": Decimal("0.001")}
    batch: dict[str, Any] = {"model": None, "model_requested": None, "input_tokens": 1000, "output_tokens": None}
    home.record(event(**batch, cost_usd=Decimal("0.002"), cost_parts=parts), event(**REFUSED, model_requested=None))
    assert picked(answer(home, "models"), "model", "requests", "cost_usd", "usd_per_million") == [
        (None, 1, Decimal("0.002"), 2.0),
        ("", 1, Decimal("0.002"), 2.0),
    ]


def test_the_page_on_reports_has_every_question_and_shows_what_is_answered() -> None:
    page = ROOT / "docs" / "reports.md"
    assert list(sections(page)) == [*reports.QUESTIONS, "Points in time"]
    listed, *answers = (block for block in blocks(page) if block.language != "sh")
    width = max(map(len, reports.QUESTIONS))
    lines = [f"{name:<{width}}  {answer}" for name, answer in reports.QUESTIONS.items()]
    assert listed.text.splitlines() == ["$ metrion report --list", *lines]
    assert [block.section for block in answers] == list(reports.QUESTIONS)


@pytest.mark.parametrize("name", reports.QUESTIONS)
def test_the_page_shows_the_columns_of_today(home: Home, name: str) -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / "reports.md") if block.section == name)
    by = ["user"] if name == "costs" else []
    table = reports.report(home.journal_dir, home.store_path, name, Span(), by).table
    shown = block.text.splitlines()[1].split()
    assert shown == [column for column in table.columns if column in shown or column not in reports.BESIDE]


def test_the_tools_of_what_has_no_price_are_named(home: Home) -> None:
    home.record(
        event(**UNPRICED | {"server_tools": {"web_search": 2, "image_generation": 1}}),
        event(**UNPRICED | {"unreported_tools": {"file_search_calls": 1}}),
        event(**UNPRICED | {"model": "plain"}),
    )
    assert {row["model"]: row["tools"] for row in answer(home, "unpriced")[:-1]} == {
        "grok-9": "file_search_calls, image_generation, web_search",
        "plain": None,
    }
