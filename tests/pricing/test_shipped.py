"""The prices that come with Metrion: pricing.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import yaml

from metrion.model import Cost, CostSource, Usage
from metrion.pricing import PriceBook
from tests.corpus import Exchange, at_least, exchanges
from tests.pricing.books import NOW, PRICING, cost, texts
from tests.recordings import read


def test_what_is_kept_by_hand_is_in_the_shipped_file(shipped: PriceBook) -> None:
    by_hand = yaml.safe_load((PRICING.parent / "scripts" / "pricing-extra.yaml").read_text(encoding="utf-8"))
    names = [
        (provider, name)
        for provider, models in by_hand.items()
        for model, block in models.items()
        if block.keys() - {"source", "checked", "fees"}
        for name in (model, *block.get("match", []))
    ]
    assert len(names) > 10
    for provider, name in names:
        used = Usage(input_tokens=1, unreported_tools={"input_character": 1})
        got = cost(shipped, used, provider=provider, model=name)
        assert got.source is CostSource.COMPUTED, f"{name}: run scripts/update-pricing"


# --- service tiers, modalities ----------------------------------------------------------------------------------------


def test_audio_models_do_not_pay_what_the_text_model_pays(shipped: PriceBook) -> None:
    usage = Usage(input_tokens=1000, input_audio_tokens=1000)
    text, audio = (cost(shipped, usage, provider="openai", model=m).usd for m in ("gpt-4o", "gpt-audio"))
    assert (text, audio) == (Decimal("0.0025"), Decimal("0.032"))


@pytest.mark.parametrize(
    ("provider", "model", "tier", "modes", "input_rate"),
    [
        ("anthropic", "claude-opus-4-8", "standard", None, "5"),
        ("anthropic", "claude-opus-4-8", "batch", None, "2.5"),
        ("anthropic", "claude-opus-4-8", "standard", ("fast",), "10"),
        ("anthropic", "claude-opus-4-8", "standard", ("us",), "5.5"),
        ("anthropic", "claude-opus-4-8", "standard", ("fast", "us"), "11"),
        ("anthropic", "claude-opus-4-8", "batch", ("us",), None),
        ("anthropic", "claude-opus-4-8", "priority", None, None),
        ("anthropic", "claude-haiku-4-5", "standard", ("us",), None),
        ("openai", "gpt-5", "default", None, "1.25"),
        ("openai", "gpt-5", "flex", None, "0.625"),
        ("openai", "gpt-5", "priority", None, "2.5"),
        ("openai", "gpt-5", "batch", None, "0.625"),
        ("openai", "gpt-5", "scale", None, None),
        ("openai", "gpt-3.5-turbo-1106", "batch", None, "1"),
        ("google", "gemini-2.5-flash", "ON_DEMAND", None, "0.3"),
        ("google", "gemini-2.5-flash", "PROVISIONED_THROUGHPUT", None, None),
        ("mistral", "mistral-small-latest", "batch", None, "0.075"),
        ("xai", "grok-4.3", "default", None, "1.25"),
    ],
)
def test_service_tiers_in_the_shipped_file(
    shipped: PriceBook, provider: str, model: str, tier: str, modes: tuple[str, ...] | None, input_rate: str | None
) -> None:
    got = cost(shipped, Usage(input_tokens=1000, modes=modes), provider=provider, model=model, tier=tier)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


# --- tools and speech -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "calls", "parts"),
    [
        ("xai", "grok-4.3", {"web_search_calls": 2, "mcp_calls": 3}, {"web_search": "0.01"}),
        ("xai", "grok-4.20", {"x_search_calls": 1, "num_server_side_tools_used": 6}, {"x_search": "0.005"}),
        (
            "xai",
            "grok-code-fast-1",
            {"code_interpreter_calls": 1, "file_search_calls": 2},
            {"code_interpreter": "0.005", "file_search": "0.005"},
        ),
        ("openai", "gpt-5.3-codex", {"web_search.num_requests": 1}, {"web_search": "0.01"}),
        ("openai", "gpt-6-cyber", {"web_search_calls": 1}, {"web_search": "0.01"}),
        ("openai", "o3-mini", {"file_search_calls": 2}, {"file_search": "0.005"}),
        ("openai", "gpt-5-mini", {"web_search_calls": 1}, {"web_search": "0.01"}),
        ("openai", "gpt-5-mini", {"web_search_preview_calls": 1}, {"web_search": "0.01"}),
        ("openai", "gpt-4o-2024-08-06", {"web_search_calls": 1}, {"web_search": "0.01"}),
        ("openai", "gpt-4o-2024-08-06", {"web_search_preview_calls": 1}, {"web_search_preview": "0.025"}),
        (
            "openai",
            "gpt-4.1-mini",
            {"web_search.num_requests": 2, "web_search_preview_calls": 2},
            {"web_search_preview": "0.05"},
        ),
        (
            "openai",
            "gpt-5-mini",
            {"web_search.num_requests": 2, "web_search_preview_calls": 2},
            {"web_search": "0.02"},
        ),
        ("openai", "gpt-4o-mini-tts", {"web_search_calls": 1}, {}),
        ("anthropic", "claude-opus-5-5", {"web_search_requests": 1, "web_fetch_requests": 1}, {"web_search": "0.01"}),
        (
            "google",
            "gemini-2.5-pro",
            {"google_maps": 1, "google_search": 1},
            {"google_maps": "0.025", "web_search": "0.035"},
        ),
        ("google", "gemini-3.8-flash", {"google_search": 2}, {"web_search": "0.028"}),
    ],
)
def test_what_tools_cost(
    provider: str, model: str, calls: dict[str, int], parts: dict[str, str], shipped: PriceBook
) -> None:
    usage = Usage(input_tokens=1000, output_tokens=0, server_tools=calls)
    got = texts(cost(shipped, usage, provider=provider, model=model).parts) or {}
    assert got.pop("input")
    assert got == parts


def test_what_tools_cost_in_another_tier(shipped: PriceBook) -> None:
    got = cost(shipped, Usage(server_tools={"web_search_calls": 1}), provider="xai", model="grok-4.3", tier="batch")
    assert texts(got.parts) == {"web_search": "0.005"}


@pytest.mark.parametrize(
    ("provider", "model", "by_character"),
    [
        ("openai", "tts-1", True),
        ("openai", "tts-1-hd", True),
        ("mistral", "voxtral-mini-tts-2603", True),
        ("openai", "gpt-4o-mini-tts", False),  # by tokens
        ("openai", "whisper-1", False),  # by the length
        ("xai", "grok-voice-latest", False),
        ("openai", "nobody-knows", False),
        ("my-own", "tts-1", False),
    ],
)
def test_which_speech_is_billed_by_its_characters(
    provider: str, model: str, by_character: bool, shipped: PriceBook
) -> None:
    by = shipped.is_billed_by("input_character", provider=provider, model=None, model_requested=model, when=NOW)
    assert by is by_character


def test_what_characters_cost(shipped: PriceBook) -> None:
    """4,095 of them were charged with $0.061425 (https://github.com/sanand0/blog, posts/2025/openai-tts-cost.md)."""
    got = cost(shipped, Usage(unreported_tools={"input_character": 4095}), provider="openai", model="tts-1")
    assert texts(got.parts) == {"input_character": "0.061425"}


# --- against what was charged, and against genai-prices ---------------------------------------------------------------


def test_what_xai_charged_is_what_is_computed(shipped: PriceBook) -> None:
    compared, with_tools = 0, 0
    for exchange in exchanges(providers={"xai"}):
        reading = read(exchange)
        if reading.usage is None or reading.usage.provider_cost_usd is None or reading.usage.input_tokens is None:
            continue  # images are charged for, and have no tokens
        got = cost(
            shipped,
            reading.usage,
            provider="xai",
            model=reading.model,
            requested=exchange.expected["model_requested"],
            when=datetime.fromisoformat((exchange.expected["cost"] or {}).get("priced_at", NOW.isoformat())),
            tier=reading.service_tier,
        )
        assert got.source is CostSource.PROVIDER
        assert got.computed_usd == got.usd, exchange.id
        compared += 1
        with_tools += bool(reading.usage.server_tools)
    assert compared >= at_least(74)
    assert with_tools >= at_least(1, 0)


OURS = {
    "anthropic": "anthropic",
    "google": "google",
    "mistral": "mistral",
    "openai": "openai",
    "vertex": "google",
    "xai": "xai",
}
SAME_NAME = (
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "audio_seconds",
    "server_tools",
)
TOOL_FEES = ("web_search", "file_search", "x_search")


def corpus_cost(prices: PriceBook, exchange: Exchange, tier: str | None = None) -> Cost:
    expected = exchange.expected
    usage = Usage(
        input_tokens=expected["input_tokens_total"],
        output_tokens=expected["output_tokens_total"],
        **{name: expected[name] for name in SAME_NAME},
    )
    return cost(
        prices,
        usage,
        provider=OURS[exchange.provider],
        model=expected["model"],
        requested=expected["model_requested"],
        when=datetime.fromisoformat(expected["cost"]["priced_at"]),
        tier=tier,
    )


def reason(exchange: Exchange, got: Cost, theirs: Mapping[str, Any]) -> str | None:
    """Why our cost may differ from genai-prices' on the corpus' token counts; ``None``: it may not."""
    if got.parts is not None and got.usd is not None:
        if "cache_read_audio" in got.parts and got.usd == Decimal(theirs["usd_genai_extract"]):
            return "cached audio: the corpus' counts cannot say it, genai-prices' own reading agrees with us"
        if set(got.parts) == {"audio"} and Decimal(theirs["usd"]) == 0:
            return "audio billed by its length: the corpus' figure is for tokens only"
    return None


def test_every_recorded_usage_costs_what_genai_prices_says(shipped: PriceBook) -> None:
    compared, differences = 0, []
    for exchange in exchanges(providers=OURS):
        theirs = exchange.expected.get("cost")
        if theirs is None or "error" in theirs:
            continue
        got = corpus_cost(shipped, exchange)
        # Theirs is for tokens only; ours has the fees of tools too.
        fees = sum(((got.parts or {}).get(name, Decimal(0)) for name in TOOL_FEES), Decimal(0))
        tokens = None if got.usd is None else got.usd - fees
        compared += 1
        if tokens != Decimal(theirs.get("usd_with_modalities", theirs["usd"])) and not reason(exchange, got, theirs):
            differences.append((exchange.id, exchange.expected["model"], tokens, theirs))
    assert compared > at_least(1_900, 10)
    assert differences == []


def test_recorded_service_tiers_cost_what_genai_prices_says(shipped: PriceBook) -> None:
    rows = [row for row in exchanges(providers=OURS) if "usd_with_service_tier" in (row.expected.get("cost") or {})]
    compared = 0
    for exchange in rows:
        tier = exchange.expected["service_tier"]
        got = corpus_cost(shipped, exchange, tier)
        if tier == "PROVISIONED_THROUGHPUT":
            # Bought in advance, not by the token; genai-prices takes the standard rates for it.
            assert got.source is CostSource.UNPRICED
            continue
        assert got.usd == Decimal(exchange.expected["cost"]["usd_with_service_tier"])
        compared += 1
    assert compared >= at_least(1, 0)


def test_a_model_that_genai_prices_does_not_know_has_no_price_or_a_reason(shipped: PriceBook) -> None:
    why = {
        "babbage:2023-07-21-v2": "babbage-002 was requested",
        "gpt-5-2026-01-01": "a dated gpt-5",
        "grok-3-mini-high": "grok-3-mini was requested; the rest is its effort",
        "ministral-14b-latest": "kept by hand",
        "ministral-3b-latest": "kept by hand",
        "mistral-moderation-2603": "kept by hand",
        "models/gemini-2.5-pro": "gemini-2.5-pro",
    }
    priced = {
        exchange.expected["model"]
        for exchange in exchanges(providers=OURS)
        if "error" in (exchange.expected.get("cost") or {}) and corpus_cost(shipped, exchange).usd is not None
    }
    assert priced <= set(why)
