"""The prices that come with Metrion: pricing.yaml."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
import yaml

from metrion.model import CostSource, Usage
from metrion.pricing import PriceBook
from scripts.prices.additions import read_extra
from tests.pricing.books import NOW, PRICING, cost, texts

TODAY = datetime(2026, 11, 28)  # noqa: DTZ001 -- events have naive UTC times


def test_what_is_kept_by_hand_is_in_the_shipped_file(shipped: PriceBook) -> None:
    names = [
        (provider, name)
        for provider, models in read_extra().items()
        for model, blocks in models.items()
        for block in blocks
        if "*" not in model and "unpriced" not in block and block.keys() - {"source", "checked", "fees"}
        for name in (model, *block.get("match", []))
    ]
    assert len(names) > 100
    for provider, name in names:
        used = Usage(input_tokens=1, unreported_tools=dict.fromkeys(("input_character", "document_page"), 1))
        ways = (used, replace(used, audio_seconds=1.0), Usage(audio_seconds=1.0), Usage(input_tokens=1))
        got = [cost(shipped, way, provider=provider, model=name, when=TODAY) for way in ways]
        assert any(one.usd is not None or one.at_least_usd for one in got), f"{name}: run scripts/update-pricing"


def test_every_price_has_a_source_and_a_day(shipped: PriceBook) -> None:
    made = yaml.safe_load(PRICING.read_text(encoding="utf-8"))
    by_hand = read_extra()
    blocks = [
        *((provider, model, block) for provider, models in made.items() for model, block in models.items()),
        *(
            (provider, model, one)
            for provider, models in by_hand.items()
            for model, listed in models.items()
            for one in listed
        ),
    ]
    assert len(blocks) > 450
    for provider, model, block in blocks:
        assert re.match(r"https://[\w.-]+/?", block["source"]), f"{provider} > {model}"
        assert date.fromisoformat(str(block["checked"])) <= TODAY.date(), f"{provider} > {model}"


def test_a_pattern_covers_versions_and_days_only() -> None:
    """``*`` would price another model with the rates of this one: claude-opus-4-10, a customer's own name."""
    made = yaml.safe_load(PRICING.read_text(encoding="utf-8"))
    patterns = [
        name
        for models in made.values()
        for block in models.values()
        for name in block.get("match", [])
        if re.search(r"[*?\[]", name)
    ]
    assert len(patterns) > 20
    for pattern in patterns:
        assert re.fullmatch(r"[\w.]+(-[\w.]+)*(-(20)?(\[0-9\]){2,3}){1,2}", pattern), pattern
    assert not any("not" in block for models in made.values() for block in models.values())


# --- service tiers, modalities ----------------------------------------------------------------------------------------


def test_audio_models_do_not_pay_what_the_text_model_pays(shipped: PriceBook) -> None:
    usage = Usage(input_tokens=1000, input_audio_tokens=1000)
    text, audio = (cost(shipped, usage, provider="openai", model=m).usd for m in ("gpt-4o", "gpt-audio"))
    assert (text, audio) == (None, Decimal("0.032"))


@pytest.mark.parametrize(
    ("provider", "model", "tier", "modes", "input_rate"),
    [
        ("anthropic", "claude-opus-4-8", "standard", None, "5"),
        ("anthropic", "claude-opus-4-8", "batch", None, "2.5"),
        ("anthropic", "claude-opus-4-8", "standard", ("fast",), "10"),
        ("anthropic", "claude-opus-4-8", "standard", ("us",), "5.5"),
        ("anthropic", "claude-opus-4-8", "standard", ("fast", "us"), "11"),
        ("anthropic", "claude-opus-4-8", "batch", ("us",), "2.75"),
        ("anthropic", "claude-3-haiku-20240307", "batch", None, "0.125"),
        ("anthropic", "claude-3-5-haiku-20241022", "batch", None, "0.4"),
        ("anthropic", "claude-3-7-sonnet-20250219", "batch", None, "1.5"),
        ("anthropic", "claude-opus-4-20250514", "batch", None, "7.5"),
        ("anthropic", "claude-opus-4-1-20250805", "batch", None, "7.5"),
        ("anthropic", "claude-opus-4-1-20250805", "batch", ("us",), None),
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
        ("google", "gemini-2.5-flash", "ON_DEMAND_FLEX", None, "0.15"),
        ("google", "gemini-2.5-flash", "ON_DEMAND_PRIORITY", None, "0.54"),
        ("google", "gemini-3.8-flash", "flex", None, "0.375"),
        ("google", "gemini-3.8-flash", "priority", None, "1.35"),
        ("google", "gemini-3.5-flash", "batch", None, "0.75"),
        ("google", "gemini-3-pro-image", "flex", None, None),  # nobody says what a picture costs
        ("mistral", "mistral-small-latest", "batch", None, "0.075"),
        ("xai", "grok-4.3", "default", None, "1.25"),
        ("xai", "grok-4.3", "batch", None, "1"),
        ("xai", "grok-4.6", "batch", None, None),
    ],
)
def test_service_tiers_in_the_shipped_file(
    shipped: PriceBook, provider: str, model: str, tier: str, modes: tuple[str, ...] | None, input_rate: str | None
) -> None:
    got = cost(shipped, Usage(input_tokens=1000, modes=modes), provider=provider, model=model, tier=tier)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


@pytest.mark.parametrize(
    ("provider", "model", "when", "usage", "tier", "parts"),
    [
        pytest.param(
            "mistral", "mistral-large-latest", "2025-12-01", Usage(input_tokens=1000, output_tokens=100), None,
            {"input": "0.002", "output": "0.0006"}, id="an alias before it moved",
        ),
        pytest.param(
            "mistral", "mistral-large-latest", "2026-11-21", Usage(input_tokens=1000, output_tokens=100), None,
            {"input": "0.0005", "output": "0.00015"}, id="and after",
        ),
        pytest.param(
            "mistral", "codestral-latest", "2026-11-21", Usage(input_tokens=1000, cache_read_tokens=900), None,
            {"input": "0.00003", "cache_read": "0.000027"}, id="cached tokens at a tenth",
        ),
        pytest.param(
            "mistral", "mistral-small-2506", "2026-11-21", Usage(input_tokens=1000, cache_read_tokens=900), None,
            {"input": "0.00001", "cache_read": "0.000009"}, id="of every model of Mistral's",
        ),
        pytest.param(
            "mistral", "voxtral-small-latest", "2026-11-21",
            Usage(
                input_tokens=384, input_audio_tokens=375, output_tokens=201, server_tools={"prompt_audio_seconds": 4}
            ), None,
            {"input": "0.0000009", "output": "0.0000804", "audio": "0.000266666667"},
            id="audio by the minute, text by the token",
        ),
        pytest.param(
            "openai", "gpt-4o-search-preview-2025-03-11", "2026-11-21", Usage(input_tokens=1000, output_tokens=100),
            None, {"input": "0.0025", "output": "0.001", "request": "0.025"}, id="a model that searches each time",
        ),
        pytest.param(
            "openai", "gpt-4o-mini-search-preview-2025-03-11", "2026-11-21", Usage(input_tokens=1000), None,
            {"input": "0.00015", "request": "0.025"}, id="its small sister",
        ),
        pytest.param(
            "openai", "gpt-5-search-api-2025-10-14", "2026-11-21", Usage(input_tokens=1000), None,
            {"input": "0.00125", "request": "0.01"}, id="its successor",
        ),
        pytest.param(
            "openai", "gpt-4o-audio-preview-2024-12-17", "2026-11-21",
            Usage(input_tokens=100, input_audio_tokens=60, output_tokens=100, output_audio_tokens=80), None,
            {"input": "0.0001", "input_audio": "0.0024", "output": "0.0002", "output_audio": "0.0064"},
            id="audio in chat",
        ),
        pytest.param(
            "openai", "gpt-4o-audio-preview-2024-10-01", "2026-11-21",
            Usage(input_tokens=100, input_audio_tokens=100), None, {"input_audio": "0.01"}, id="its first version",
        ),
        pytest.param(
            "openai", "gpt-image-1.5", "2026-11-21",
            Usage(
                input_tokens=1000, input_image_tokens=400, output_tokens=1000, output_image_tokens=900
            ), None,
            {"input": "0.003", "input_image": "0.0032", "output": "0.001", "output_image": "0.0288"}, id="pictures",
        ),
        pytest.param(
            "openai", "text-embedding-3-small", "2026-11-28", Usage(input_tokens=1000), "batch",
            {"input": "0.00001"}, id="embeddings in a batch",
        ),
        pytest.param(
            "xai", "grok-4.7", "2026-11-28",
            Usage(input_tokens=1000, cache_read_tokens=500, output_tokens=100), "batch",
            {"input": "0.0008", "cache_read": "0.0002", "output": "0.00048"}, id="a batch of xAI's",
        ),
        pytest.param(
            "google", "gemini-2.5-pro", "2026-11-21",
            Usage(input_tokens=300_000, cache_read_tokens=100_000, output_tokens=100), "flex",
            {"input": "0.25", "cache_read": "0.025", "output": "0.00075"}, id="flex with a long prompt",
        ),
        pytest.param(
            "google", "gemini-4-argon", "2026-12-01", Usage(input_tokens=1000, cache_read_tokens=500), "priority",
            {"input": "0.0036", "cache_read": "0.00018"}, id="priority after the standard rates have doubled",
        ),
    ],
)  # fmt: skip
def test_prices_kept_by_hand(
    shipped: PriceBook, provider: str, model: str, when: str, usage: Usage, tier: str | None, parts: dict[str, str]
) -> None:
    got = cost(shipped, usage, provider=provider, model=model, when=datetime.fromisoformat(when), tier=tier)
    assert texts(got.parts) == parts
    assert got.source is CostSource.COMPUTED


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "sora-2"),
        ("google", "veo-3.1-generate-preview"),
        ("xai", "grok-imagine-image"),
    ],
)
def test_what_is_sold_in_another_unit_has_no_price(shipped: PriceBook, provider: str, model: str) -> None:
    used = Usage(input_tokens=1000, output_tokens=1000, audio_seconds=60.0)
    assert cost(shipped, used, provider=provider, model=model).source is CostSource.UNPRICED


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
