"""The prices that come with Metrion, against what xAI charged and what genai-prices says of recorded usages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from metrion.model import Cost, CostSource, Usage
from metrion.pricing import PriceBook
from tests.corpus import Exchange, at_least, exchanges
from tests.pricing.books import CORRECTED, NOW, cost
from tests.recordings import read


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
    expected = exchange.expected
    if got.source is CostSource.UNKNOWN and (expected["input_audio_tokens"] or 0) > expected["input_tokens_total"]:
        return "the corpus' input leaves out the audio that is beside it"
    if got.source is CostSource.UNPRICED and set(expected["server_tools"] or ()) == {"num_server_side_tools_used"}:
        return "a tool was called that the usage does not name, and genai-prices leaves it out"
    return CORRECTED.get(exchange.expected["model"])


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
