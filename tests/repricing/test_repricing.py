# ruff: noqa: DTZ001 -- times in events are naive UTC
from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import yaml

from metrion.admission.routing import Router
from metrion.metering.meter import measure
from metrion.metering.outcome import Outcome
from metrion.metering.tap import Tap
from metrion.model import Caller, EndReason, Event, Forward, Head, Inbound, Route
from metrion.pricing import PriceBook
from metrion.providers import PROVIDERS
from metrion.repricing import Selection, reprice
from metrion.settings import load_settings
from tests.corpus import Exchange, at_least, exchanges
from tests.repricing.priced import DAY, MONEY, NEW, PRICES, UNPRICED, USUAL, money, run, settings_of
from tests.store.events import Home, event

HALVES = {"input": Decimal("0.0002"), "output": Decimal("0.0002")}
HALVES_OF_CLAUDE = {"input": Decimal("0.0003"), "output": Decimal("0.0003")}
BATCH: dict[str, Any] = {
    "provider": "anthropic",
    "method": "GET",
    "path": "/v1/messages/batches/msgbatch_1/results",
    "usage": '{"responses": 2, "billed": ['
    '{"model": "claude", "input_tokens": 100, "output_tokens": 20},'
    '{"model": "adviser", "input_tokens": 1000, "output_tokens": 40}]}',
}
SPOKEN: dict[str, Any] = {
    "path": "/v1/audio/speech",
    "model": None,
    "model_requested": "tts-1",
    "input_tokens": None,
    "output_tokens": None,
    "unreported_tools": {"input_character": 5000},
    "usage": None,
    "usage_source": "estimated",
    "cost_source": "estimated",
    "cost_parts": {"input_character": Decimal("0.5")},
}
SEARCHED = Decimal("0.028")
GROUNDED: dict[str, Any] = {
    "provider": "google",
    "model": "gemini-3",
    "path": "/v1beta/models/gemini-3:generateContent",
    "usage": '{"promptTokenCount": 100, "candidatesTokenCount": 20}',
}

CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "computed": ({}, {"cost_usd": NEW, "cost_source": "computed", "computed_cost_usd": NEW}),
    "parts": ({}, {"cost_parts": {"input": Decimal("0.0002"), "output": Decimal("0.0002")}}),
    "the tier that was served": ({"service_tier": "batch"}, {"cost_usd": NEW / 2}),
    "the model that was served": ({"model": "gpt-5-2026-01-01", "model_requested": "x"}, {"cost_usd": NEW}),
    "the model requested": ({"model": None, "model_requested": "gpt-5"}, {"cost_usd": NEW}),
    "unpriced": (UNPRICED, {"cost_usd": NEW, "cost_source": "computed", "computed_cost_usd": NEW}),
    "estimated": (
        {"cost_source": "estimated", "usage_source": "estimated", "usage": None},
        {"cost_usd": NEW, "cost_source": "estimated", "computed_cost_usd": NEW},
    ),
    "estimated by how cached tokens divide": ({"cost_source": "estimated"}, {"cost_source": "estimated"}),
    "an estimate without a price": (
        {"usage_source": "estimated", "usage": None} | UNPRICED,
        {"cost_usd": NEW, "cost_source": "estimated"},
    ),
    "what the provider charged": (
        {"provider": "xai", "model": "grok", "cost_source": "provider", "cost_usd": Decimal("0.7")},
        {"cost_usd": Decimal("0.7"), "cost_source": "provider", "computed_cost_usd": Decimal("0.00056")},
    ),
    "what the provider charged for a model without a price": (
        {"provider": "xai", "model": "grok"} | UNPRICED | {"cost_source": "provider", "cost_usd": Decimal("0.7")},
        {"cost_usd": Decimal("0.7"), "cost_source": "provider", "computed_cost_usd": Decimal("0.00056")},
    ),
    "the rate of the day before": (
        {"model": "dated", "started_at": datetime(2026, 11, 4, 23, 59, 59), "output_tokens": None},
        {"cost_usd": Decimal("0.0007")},
    ),
    "the rate of the day": ({"model": "dated", "output_tokens": None}, {"cost_usd": Decimal("0.0009")}),
    "a mode": (
        {
            "provider": "anthropic",
            "model": "claude",
            "path": "/v1/messages",
            "usage": '{"input_tokens": 100, "output_tokens": 20, "speed": "fast"}',
        },
        {"cost_usd": Decimal("0.0012")},
    ),
    "no mode": (
        {
            "provider": "anthropic",
            "model": "claude",
            "path": "/v1/messages",
            "usage": '{"input_tokens": 100, "output_tokens": 20, "speed": "standard"}',
        },
        {"cost_usd": Decimal("0.0006")},
    ),
    "a mode of what was estimated from a piece of usage": (
        {
            "provider": "anthropic",
            "model": "claude",
            "path": "/v1/messages",
            "usage": '{"input_tokens": 100, "output_tokens": 1, "speed": "fast"}',
            "usage_source": "estimated",
            "cost_source": "estimated",
        },
        {"cost_usd": Decimal("0.0012"), "cost_source": "estimated"},
    ),
    "a part that has no column": (
        {
            "model": "video",
            "output_tokens": 0,
            "usage": '{"prompt_tokens": 100, "prompt_tokens_details": {"video_tokens": 60}}',
        },
        {"cost_parts": {"input": Decimal("0.00004"), "input_video": Decimal("0.006")}},
    ),
    "a part that has no column, of a response within a session": (
        {
            "model": "video",
            "method": "GET",
            "path": "/v1/realtime",
            "status": 101,
            "output_tokens": 0,
            "cache_read_tokens": 40,
            "input_audio_tokens": 60,
            "usage": '{"input_tokens": 100, "input_token_details": {"cached_tokens_details": {"audio_tokens": 10}}}',
        },
        {"cost_parts": {"cache_read": Decimal("0.000015"), "cache_read_audio": Decimal("0.00005")}
         | {"input": Decimal("0.00001"), "input_audio": Decimal("0.0025")}},
    ),
    "what another model did": (
        {
            "provider": "anthropic",
            "model": "claude",
            "path": "/v1/messages",
            "usage": '{"input_tokens": 100, "output_tokens": 20, "iterations": ['
            '{"type": "message", "input_tokens": 100, "output_tokens": 20},'
            '{"type": "advisor_message", "model": "adviser", "input_tokens": 1000, "output_tokens": 40}]}',
        },
        {
            "cost_usd": Decimal("0.0066"),
            "cost_parts": HALVES_OF_CLAUDE | {"adviser:input": Decimal("0.005"), "adviser:output": Decimal("0.001")},
        },
    ),
    "a batch that one model answered, and another advised": (
        BATCH | {"model": "claude"},
        {"cost_parts": HALVES_OF_CLAUDE | {"adviser:input": Decimal("0.005"), "adviser:output": Decimal("0.001")}},
    ),
    "a batch that several models answered": (
        BATCH | {"model": None, "input_tokens": 1100, "output_tokens": 60},
        {
            "cost_usd": Decimal("0.0066"),
            "cost_parts": {"claude:input": Decimal("0.0003"), "claude:output": Decimal("0.0003")}
            | {"adviser:input": Decimal("0.005"), "adviser:output": Decimal("0.001")},
        },
    ),
    "calls that the usage does not count": (
        GROUNDED | {"unreported_tools": {"google_search": 2}},
        {"cost_usd": NEW + SEARCHED, "cost_parts": HALVES | {"web_search": SEARCHED}},
    ),
    "the same calls, recorded before they had a column of their own": (
        GROUNDED | {"server_tools": {"google_search": 2}},
        {"cost_usd": NEW + SEARCHED, "cost_parts": HALVES | {"web_search": SEARCHED}},
    ),
    "characters that were spoken": (
        SPOKEN,
        {"cost_usd": Decimal("0.1"), "cost_source": "estimated", "cost_parts": {"input_character": Decimal("0.1")}},
    ),
    "characters that were spoken, in a stream that counts tokens": (
        SPOKEN | {"usage": '{"prompt_tokens": 9, "completion_tokens": 50}', "input_tokens": 9, "output_tokens": 50},
        {"cost_usd": Decimal("0.1"), "cost_source": "estimated", "cost_parts": {"input_character": Decimal("0.1")}},
    ),
    "what was read in another format than the path would have": (
        GROUNDED | {"path": "/v1/files", "wire_format": "gemini", "unreported_tools": {"google_search": 2}},
        {"cost_usd": NEW + SEARCHED},
    ),
    "a part without a column, of a session that its path does not show": (
        {"model": "video", "path": None, "wire_format": "openai_realtime", "output_tokens": 0}
        | {"usage": '{"input_tokens": 100, "input_token_details": {"cached_tokens_details": {"audio_tokens": 10}}}'}
        | {"cache_read_tokens": 40, "input_audio_tokens": 60},
        {"cost_parts": {"cache_read": Decimal("0.000015"), "cache_read_audio": Decimal("0.00005")}
         | {"input": Decimal("0.00001"), "input_audio": Decimal("0.0025")}},
    ),
    "a provider that is no longer configured": (
        {"provider": "gone", "model": "any", "wire_format": "openai_chat"},
        {"cost_usd": Decimal("0.00012")},
    ),
    "what went to a regional endpoint": (
        {"model": "regional", "cost_parts": {"input": Decimal("0.4"), "regional": Decimal("0.1")}},
        {"cost_usd": NEW * Decimal("1.1"), "cost_parts": HALVES | {"regional": NEW / 10}},
    ),
    "a batch whose price is that of all days on which it may have been done": (
        {"operation": "batch", "service_tier": "batch"},
        {"cost_usd": NEW / 2},
    ),
    "what had a floor, and now has a cost": (
        UNPRICED | {"cost_at_least_usd": Decimal("0.0001")},
        {"cost_usd": NEW, "cost_at_least_usd": None},
    ),
    "tokens as they were recorded, whatever the usage says": (
        {"usage": '{"prompt_tokens": 999999, "completion_tokens": 999999}'},
        {"cost_usd": NEW},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("recorded", "expected"), CHANGED.values(), ids=CHANGED)
def test_what_changes(home: Home, recorded: dict[str, Any], expected: dict[str, Any]) -> None:
    home.record(event(**(USUAL | recorded)))
    others = f"SELECT * EXCLUDE ({', '.join(MONEY)}) FROM events"  # noqa: S608 -- names of columns
    before = home.values(others)
    result = run(home)
    (row,) = money(home)
    assert {name: row[name] for name in expected} == expected
    assert row["price_version"] == PriceBook.load([home.path / "prices.yaml"]).version
    assert (result.events, result.changed, result.kept) == (1, 1, {})
    assert home.values(others) == before
    assert run(home).changed == 0  # and once is enough


def test_what_gets_a_price_has_no_floor_any_more(home: Home) -> None:
    home.record(event(**(USUAL | UNPRICED | {"cost_at_least_usd": Decimal("0.0001")})))
    assert run(home).changed == 1
    assert home.values("SELECT cost_usd, cost_at_least_usd FROM events") == [(NEW, None)]


def test_what_stays_without_a_price_keeps_its_floor(home: Home) -> None:
    home.record(event(**(USUAL | UNPRICED | {"model": "mine", "cost_at_least_usd": Decimal("0.0001")})))
    assert run(home).changed == 0
    assert home.values("SELECT cost_usd, cost_at_least_usd FROM events") == [(None, Decimal("0.0001"))]


STAYS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "not billed": ({"cost_usd": Decimal(0), "cost_source": "not_billed"}, {}),
    "unknown": ({"cost_usd": None, "cost_source": "unknown"}, {}),
    "no source at all": ({"cost_source": None}, {}),
    "unpriced as before": ({"model": "mine"} | UNPRICED, {}),
    "unpriced, and its usage is gone": ({"usage": None} | UNPRICED, {"no_usage": 1}),
    "priced, and now there is no price": ({"model": "mine"}, {"no_price": 1}),
    "charged, and now there is no price": ({"model": "mine", "cost_source": "provider"}, {"no_price": 1}),
    "tokens without a rate": ({"model": "dated"}, {"no_price": 1}),
    "a tier without a rate": ({"service_tier": "flex"}, {"no_price": 1}),
    "its usage was not stored": ({"usage": None}, {"no_usage": 1}),
    "its usage is no object": ({"usage": "[1]"}, {"no_usage": 1}),
    "its usage has a count that is none": (
        {
            "cost_source": "provider",
            "computed_cost_usd": None,
            "cost_parts": None,
            "usage": '{"prompt_tokens": "100", "completion_tokens": 20, "cost": 0.5}',
        },
        {"no_usage": 1},
    ),
    "nobody reads such a path": ({"path": "/v1/files"}, {"no_usage": 1}),
    "nobody reads such a format": ({"wire_format": "telegraph"}, {"no_usage": 1}),
    "it has no path": ({"path": None}, {"no_usage": 1}),
    "spoken, and now billed by tokens": (SPOKEN | {"model_requested": "gpt-5"}, {"no_price": 1}),
    "its provider is configured no more": ({"provider": "gone", "model": "any"}, {"no_usage": 1}),
    "a batch, and prices changed when it may have been done": (
        {"operation": "batch", "model": "changed"},
        {"no_day": 1},
    ),
    "a batch's file, and prices changed when it may have been done": (
        {"operation": "files", "service_tier": "batch", "model": "changed-tier"},
        {"no_day": 1},
    ),
    "beyond a plan, or within": ({"cost_source": "subscription", "cost_usd": Decimal(0)}, {}),
    "the price is the same": (
        {
            "cost_usd": NEW,
            "computed_cost_usd": NEW,
            "cost_parts": {"input": Decimal("0.0002"), "output": Decimal("0.0002")},
            "usage": None,
        },
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("recorded", "kept"), STAYS.values(), ids=STAYS)
def test_what_stays(home: Home, recorded: dict[str, Any], kept: dict[str, int]) -> None:
    home.record(event(**(USUAL | recorded)))
    before = home.values("SELECT * FROM events")
    result = run(home)
    assert (result.changed, dict(result.kept)) == (0, kept)
    assert home.values("SELECT * FROM events") == before


def test_no_path_is_routed_where_the_format_is_recorded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def route(_router: Router, inbound: Inbound) -> None:
        pytest.fail(f"{inbound.path!r} is routed")

    monkeypatch.setattr(Router, "route", route)
    home.record(event(**(USUAL | {"wire_format": "openai_chat"})))
    assert run(home).changed == 1


@pytest.mark.parametrize("prefix", ["/llm", "", "/v2/elsewhere"])
def test_a_prefix_may_stand_before_the_path_that_of_today_or_of_then(home: Home, prefix: str) -> None:
    home.record(event(**(USUAL | {"path": "/llm/v1/chat/completions"})))
    settings_of(home)
    upstream = f"http://localhost:1{prefix}"
    config = {"pricing": ["prices.yaml"], "providers": {"openai": {"upstream": upstream}}}
    (home.path / "metrion.yaml").write_text(yaml.safe_dump(config))
    settings = load_settings(None, {"METRION_HOME": str(home.path)})
    assert reprice(settings, PriceBook.load(settings.pricing), Selection(), dry_run=False).changed == 1


@pytest.mark.parametrize(
    ("selection", "users"),
    [
        ({}, "abcd"),
        ({"since": datetime(2026, 11, 2)}, "bcd"),
        ({"until": datetime(2026, 11, 2)}, "a"),
        ({"since": datetime(2026, 11, 2), "until": datetime(2026, 11, 3)}, "b"),
        ({"model": "gpt-5"}, "abc"),
        ({"model": "gpt*"}, "abc"),
        ({"model": "asked"}, "d"),
        ({"model": "gpt"}, ""),
    ],
)
def test_only_what_is_selected_changes(home: Home, selection: dict[str, Any], users: str) -> None:
    home.record(
        *(event(**(USUAL | {"started_at": datetime(2026, 11, n), "user_label": "xabc"[n]})) for n in (1, 2, 3)),
        event(**(USUAL | {"model": None, "model_requested": "asked", "user_label": "d"})),
    )
    prices = {"openai": PRICES["openai"] | {"asked": {"input": 1, "output": 1}}}
    run(home, prices, **selection)
    changed = (
        "SELECT coalesce(string_agg(user_label, '' ORDER BY user_label), '') FROM events WHERE price_version <> 'old'"
    )
    assert home.values(changed) == [(users,)]


def test_the_difference_by_provider_and_model(home: Home) -> None:
    home.record(
        event(**USUAL),
        event(**(USUAL | UNPRICED)),
        event(**(USUAL | {"cost_usd": None, "cost_source": "unknown"})),
        event(**(USUAL | {"provider": "xai", "model": None, "model_requested": "grok"} | UNPRICED)),
        event(**(USUAL | {"model": "mine"} | UNPRICED)),
    )
    lines = run(home).lines
    assert {key: (line.events, line.changed, line.before_usd, line.after_usd) for key, line in lines.items()} == {
        ("openai", "gpt-5"): (2, 2, Decimal("0.5"), 2 * NEW),
        ("xai", "grok"): (1, 1, None, Decimal("0.00056")),
        ("openai", "mine"): (1, 0, None, None),
    }
    assert [(line.unpriced_before, line.unpriced_after) for line in lines.values()] == [(1, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize("ingested", [False, True])
def test_a_dry_run_says_the_same_and_changes_nothing(home: Home, ingested: bool) -> None:
    home.record(event(**USUAL), event(**(USUAL | UNPRICED)))
    if ingested:
        home.ingest()
    state = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    result = run(home, dry_run=True)
    assert result.changed == 2
    assert {path: path.read_bytes() for path in state} == state
    assert run(home).lines == result.lines


# --- against what metering itself says


def measured(exchange: Exchange, number: int, router: Router, prices: PriceBook) -> Event:
    """The event of a recorded exchange."""
    inbound = Inbound(exchange.method.encode(), f"/{exchange.provider}{exchange.path}".encode("latin-1"), ())
    route = router.route(inbound)
    assert isinstance(route, Route), exchange.id
    tap = Tap(
        route.dialect,
        content_type=exchange.response_headers.get("content-type"),
        content_encoding=None,
        status=exchange.status,
    )
    tap.feed(exchange.response_body)
    tap.finish()
    head = Head(b"", ())
    outcome = Outcome(
        event_id=UUID(int=number),
        request_id=exchange.id,
        started_at=DAY,
        end_reason=EndReason.COMPLETE,
        status=exchange.status,
        reached_upstream=True,
    )
    decision = Forward(route, Caller("default", "t", "stored"), head, head)
    measured = measure(inbound, decision, outcome, tap.reading, prices)
    assert measured is not None
    return measured


@pytest.mark.parametrize("has_format", [True, False], ids=["by the recorded format", "by the path"])
def test_every_recorded_exchange_gets_the_price_that_metering_gives_it(home: Home, has_format: bool) -> None:
    settings = load_settings(None, {"METRION_HOME": str(home.path)})
    router, prices, none = Router(settings), PriceBook.load(settings.pricing), PriceBook({}, "none")
    replayed = exchanges(providers=PROVIDERS)
    unpriced = [measured(exchange, number, router, none) for number, exchange in enumerate(replayed)]
    priced = [measured(exchange, number, router, prices) for number, exchange in enumerate(replayed)]
    home.record(*(one if has_format else replace(one, wire_format=None) for one in unpriced))
    result = reprice(settings, prices, Selection(), dry_run=False)
    assert result.changed > at_least(500, 20)
    assert result.kept == {}
    expected = Home(home.path / "expected")
    expected.initialise()
    expected.record(*priced)
    wrong = [
        (exchange.id, row, right)
        for exchange, row, right in zip(replayed, money(home), money(expected), strict=True)
        if row | ({"price_version": prices.version} if row["cost_source"] == "unpriced" else {})
        # What is unknown is left alone, its floor too.
        != right | ({"cost_at_least_usd": None} if row["cost_source"] == "unknown" else {})
    ]
    assert not wrong
    assert reprice(settings, prices, Selection(), dry_run=True).changed == 0
