from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from metrion.errors import PricingError
from metrion.model import Cost, CostSource, Usage
from metrion.pricing import RATES, PriceBook
from tests.corpus import Exchange, at_least, exchanges
from tests.recordings import read

PRICING = Path(__file__).resolve().parents[2] / "pricing.yaml"
NOW = datetime(2026, 11, 21)  # noqa: DTZ001 (events have naive UTC times)


@pytest.fixture(scope="module")
def shipped() -> PriceBook:
    return PriceBook.load([PRICING])


def book(folder: Path, *texts: str) -> PriceBook:
    paths = [folder / f"prices-{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return PriceBook.load(paths)


def cost(
    prices: PriceBook,
    usage: Usage | None,
    *,
    provider: str = "p",
    model: str | None = "m",
    requested: str | None = None,
    when: datetime = NOW,
    tier: str | None = None,
    estimated: bool = False,
) -> Cost:
    return prices.cost(
        provider=provider,
        model=model,
        model_requested=requested,
        usage=usage,
        when=when,
        service_tier=tier,
        estimated=estimated,
    )


def texts(parts: Mapping[str, Decimal] | None) -> dict[str, str] | None:
    return None if parts is None else {name: f"{amount.normalize():f}" for name, amount in parts.items()}


# --- what a usage costs -----------------------------------------------------------------------------------------------

CACHE = "{input: 3, cache_read: 0.3, cache_write: 3.75, cache_write_1h: 6, output: 15}"
MODAL = "{input: 4, input_audio: 32, cache_read: 0.4, cache_read_audio: 0.5, output: 16, output_audio: 64}"
IMAGE = "{input: 5, input_image: 10, cache_read: 1.25, cache_read_image: 2.5, output: 10, output_image: 40}"


@pytest.mark.parametrize(
    ("rates", "usage", "parts"),
    [
        pytest.param(
            "{input: 3, output: 15}",
            Usage(input_tokens=1000, output_tokens=100),
            {"input": "0.003", "output": "0.0015"},
            id="input and output",
        ),
        pytest.param(
            CACHE,
            Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, output_tokens=1),
            {"input": "0.0003", "cache_read": "0.00018", "cache_write": "0.001125", "output": "0.000015"},
            id="reads and writes are inside the input",
        ),
        pytest.param(
            CACHE,
            Usage(input_tokens=1000, cache_write_tokens=300, cache_write_1h_tokens=200),
            {"input": "0.0021", "cache_write": "0.000375", "cache_write_1h": "0.0012"},
            id="writes for an hour are inside the writes",
        ),
        pytest.param(
            "{input: 3, output: 15}",
            Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100),
            {"input": "0.0003", "cache_read": "0.0018", "cache_write": "0.0006", "cache_write_1h": "0.0003"},
            id="cache without a rate of its own pays for input",
        ),
        pytest.param(
            "{input: 3, cache_write: 3.75, output: 15}",
            Usage(input_tokens=300, cache_write_tokens=300, cache_write_1h_tokens=100),
            {"cache_write": "0.00075", "cache_write_1h": "0.000375"},
            id="writes for an hour without a rate pay for writes",
        ),
        pytest.param(
            "{input: 3, cache_read: 1, output: 15}",
            Usage(input_tokens=325, cache_read_tokens=417),
            {"cache_read": "0.000325"},
            id="cache reads beyond the input are cut down to it",
        ),
        pytest.param(
            CACHE,
            Usage(input_tokens=100, cache_read_tokens=80, cache_write_tokens=80, cache_write_1h_tokens=90),
            {"cache_read": "0.000024", "cache_write_1h": "0.00012"},
            id="reads come first, then writes, and the hour's share last",
        ),
        pytest.param(
            CACHE,
            Usage(cache_read_tokens=100, cache_write_tokens=100),
            {"cache_read": "0.00003", "cache_write": "0.000375"},
            id="without an input in sum the cache is the input",
        ),
        pytest.param(
            "{input: 1, output: 10}",
            Usage(input_tokens=10, output_tokens=100, reasoning_tokens=60),
            {"input": "0.00001", "output": "0.001"},
            id="reasoning is output",
        ),
        pytest.param(
            "{input: 1, output: 10, reasoning: 20}",
            Usage(input_tokens=10, output_tokens=100, reasoning_tokens=60),
            {"input": "0.00001", "output": "0.0004", "reasoning": "0.0012"},
            id="reasoning priced apart",
        ),
        pytest.param(
            "{input: 1, output: 10, reasoning: 20}",
            Usage(input_tokens=10, output_tokens=100, reasoning_tokens=160),
            {"input": "0.00001", "reasoning": "0.002"},
            id="reasoning beyond the output is cut down to it",
        ),
        pytest.param(
            MODAL,
            Usage(input_tokens=1000, input_audio_tokens=400, output_tokens=100, output_audio_tokens=70),
            {"input": "0.0024", "input_audio": "0.0128", "output": "0.00048", "output_audio": "0.00448"},
            id="audio",
        ),
        pytest.param(
            MODAL,
            Usage(input_tokens=1000, input_audio_tokens=400, cache_read_tokens=500, cache_read_audio_tokens=100),
            {"input": "0.0008", "input_audio": "0.0096", "cache_read": "0.00016", "cache_read_audio": "0.00005"},
            id="audio out of the cache",
        ),
        pytest.param(
            IMAGE,
            Usage(
                input_tokens=1000,
                input_image_tokens=400,
                cache_read_tokens=500,
                cache_read_image_tokens=100,
                output_tokens=200,
                output_image_tokens=200,
            ),
            {
                "input": "0.001",
                "input_image": "0.003",
                "cache_read": "0.0005",
                "cache_read_image": "0.00025",
                "output_image": "0.008",
            },
            id="images",
        ),
        pytest.param(
            "{input: 1, input_video: 12, output: 9, output_video: 17.5}",
            Usage(input_tokens=100, input_video_tokens=40, output_tokens=100, output_video_tokens=40),
            {"input": "0.00006", "input_video": "0.00048", "output": "0.00054", "output_video": "0.0007"},
            id="video",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=100, input_audio_tokens=40, input_image_tokens=20, output_tokens=10),
            {"input": "0.0001", "output": "0.00002"},
            id="a modality without a rate is no part of its own",
        ),
        pytest.param(
            "{audio_hour: 0.36}",
            Usage(audio_seconds=7.5),
            {"audio": "0.00075"},
            id="audio by its length",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {web_search: 10}}",
            Usage(input_tokens=100, output_tokens=0, server_tools={"web_search_requests": 3, "web_fetch_requests": 9}),
            {"input": "0.0001", "web_search": "0.03"},
            id="a tool with a fee and one without",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {web_search: 10, file_search: 2.50}}",
            Usage(
                input_tokens=100,
                output_tokens=0,
                server_tools={"web_search.num_requests": 3},
                unreported_tools={"file_search_calls": 2, "web_search_calls": 1},
            ),
            {"input": "0.0001", "web_search": "0.04", "file_search": "0.005"},
            id="tools that the usage counts, and others that it does not",
        ),
        pytest.param(
            "{input: 1, output: 2, fees: {request: 5}}",
            Usage(input_tokens=100),
            {"input": "0.0001", "request": "0.005"},
            id="a fee per request",
        ),
        pytest.param(
            "{fees: {document_page: 4}}",
            Usage(server_tools={"pages_processed": 12}),
            {"document_page": "0.048"},
            id="pages",
        ),
        pytest.param(
            "{fees: {document_page: 4, annotated_document_page: 5}}",
            Usage(server_tools={"pages_processed": 14}, unreported_tools={"annotated_pages_processed": 12}),
            {"document_page": "0.008", "annotated_document_page": "0.06"},
            id="annotated pages",
        ),
        pytest.param(
            "{input: 1, output: 2}",
            Usage(input_tokens=0, output_tokens=0, audio_seconds=0.0, server_tools={"web_search_requests": 0}),
            {},
            id="reported as 0",
        ),
        pytest.param(
            "{input: 1, cache_read: 0.1, output: 2}",
            Usage(input_tokens=100, cache_read_tokens=50, input_video_tokens=40, input_audio_tokens=40),
            {"input": "0.00005", "cache_read": "0.000005"},
            id="a modality without a rate needs no split of the cache",
        ),
        pytest.param(
            "{input: 0, output: 0}",
            Usage(input_tokens=5, output_tokens=5),
            {"input": "0", "output": "0"},
            id="free",
        ),
        pytest.param("{input: 0.1}", Usage(input_tokens=7), {"input": "0.0000007"}, id="embeddings"),
        pytest.param(
            "{input: 0.0000005, output: 0.0000015}",
            Usage(input_tokens=1, output_tokens=1),
            {"input": "0", "output": "0.000000000002"},
            id="each part is rounded half-even to 12 places",
        ),
        pytest.param(
            "{input: 0.123456789012, output: 1}",
            Usage(input_tokens=8_099_999_999_999),
            {"input": "999999.990997076543"},
            id="as many digits as it takes",
        ),
    ],
)
def test_parts(tmp_path: Path, rates: str, usage: Usage, parts: dict[str, str]) -> None:
    prices = book(tmp_path, f"p: {{m: {rates}}}")
    with localcontext() as context:
        context.prec = 3  # somebody else's setting
        got = cost(prices, usage)
    assert got.source is CostSource.COMPUTED
    assert got.parts is not None
    assert texts(got.parts) == parts
    assert got.usd is not None
    assert got.usd == got.computed_usd == sum(got.parts.values(), Decimal(0))
    assert got.price_version == prices.version
    assert all(amount.as_tuple().exponent == -12 for amount in (*got.parts.values(), got.usd))


def test_cached_modality_that_is_not_reported_is_apportioned_and_says_so(tmp_path: Path) -> None:
    prices = book(tmp_path, f"p: {{m: {MODAL}}}")
    usage = Usage(input_tokens=1000, input_audio_tokens=400, cache_read_tokens=501)
    got = cost(prices, usage)
    assert got.source is CostSource.ESTIMATED
    split = dataclasses.replace(usage, cache_read_audio_tokens=200)
    only_audio = dataclasses.replace(usage, input_audio_tokens=1000)
    assert cost(prices, only_audio).source is CostSource.COMPUTED, "there is only one way to split this"
    assert (got.parts, got.usd) == (cost(prices, split).parts, cost(prices, split).usd)
    assert cost(prices, split).source is CostSource.COMPUTED


TIERED = """
p:
  m:
    input: 1
    cache_read: 0.1
    output: 10
    above:
      200000: {input: 2, output: 15}
      500000: {input: 4}
"""


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (200_000, {"input": "0.1", "cache_read": "0.01", "output": "0.00001"}),
        (200_001, {"input": "0.200002", "cache_read": "0.01", "output": "0.000015"}),
        (500_000, {"input": "0.8", "cache_read": "0.01", "output": "0.000015"}),
        (500_001, {"input": "1.600004", "cache_read": "0.01", "output": "0.000015"}),
    ],
)
def test_above_a_threshold_the_whole_request_pays_the_higher_rate(
    tmp_path: Path, tokens: int, parts: dict[str, str]
) -> None:
    usage = Usage(input_tokens=tokens, cache_read_tokens=100_000, output_tokens=1)
    assert texts(cost(book(tmp_path, TIERED), usage).parts) == parts


DATED = """
p:
  m:
    rates:
      - {input: 1, until: 2026-03-13}
      - {input: 2, from: 2026-03-13, until: 2026-06-01}
      - {input: 4, from: 2026-07-01}
      - {input: 3, from: 2026-08-01, until: 2026-08-02}
  single: {from: 2026-01-01, input: 7}
"""


@pytest.mark.parametrize(
    ("model", "when", "rate"),
    [
        ("m", datetime(2020, 1, 1, tzinfo=UTC), "1"),
        ("m", datetime(2026, 3, 12, 23, 59, 59, tzinfo=UTC), "1"),
        ("m", datetime(2026, 3, 13, tzinfo=UTC), "2"),
        ("m", datetime(2026, 3, 13, 1, tzinfo=timezone(timedelta(hours=2))), "1"),
        ("m", datetime(2026, 3, 12, 23, tzinfo=timezone(timedelta(hours=-2))), "2"),
        ("m", datetime(2026, 6, 15), None),  # noqa: DTZ001 (events have naive UTC times)
        ("m", datetime(2026, 7, 1), "4"),  # noqa: DTZ001 (the same)
        ("m", datetime(2026, 8, 1, 12), "3"),  # noqa: DTZ001 (the same)
        ("m", datetime(2030, 1, 1), "4"),  # noqa: DTZ001 (the same)
        ("single", datetime(2025, 12, 31), None),  # noqa: DTZ001 (the same)
        ("single", datetime(2026, 1, 1), "7"),  # noqa: DTZ001 (the same)
    ],
)
def test_the_day_decides_the_rate(tmp_path: Path, model: str, when: datetime, rate: str | None) -> None:
    got = cost(book(tmp_path, DATED), Usage(input_tokens=1_000_000), model=model, when=when)
    assert got.usd == (None if rate is None else Decimal(rate))
    assert got.source is (CostSource.UNPRICED if rate is None else CostSource.COMPUTED)


SERVED = """
p:
  m:
    input: 10
    cache_read: 1
    output: 100
    above: {1000000: {input: 20, output: 200}}
    fees: {web_search: 10}
    service_tiers:
      batch: {input: 5, output: 50}
      eu+us: {input: 1.111, output: 50}
      Flex:
        - {from: 2026-01-01, input: 6}
        - {from: 2026-06-01, input: 7, above: {1000000: {input: 8}}}
"""


@pytest.mark.parametrize(
    ("tier", "modes", "tokens", "when", "usd"),
    [
        *((tier, None, 1_000_000, NOW, "9.111") for tier in (None, "", "default", "standard", "auto")),
        *((tier, None, 1_000_000, NOW, "9.111") for tier in ("on_demand", "ON_DEMAND", "Standard", "unspecified")),
        ("batch", None, 1_000_000, NOW, "4.6105"),
        ("BATCH", (), 1_000_001, NOW, "4.610505"),
        ("flex", None, 1_000_000, NOW, "6.411"),
        ("flex", None, 1_000_001, NOW, "7.312008"),
        ("flex", None, 1_000_000, datetime(2026, 2, 1), "5.511"),  # noqa: DTZ001 (events have naive UTC times)
        ("flex", None, 1_000_000, datetime(2025, 2, 1), None),  # noqa: DTZ001 (the same)
        ("priority", None, 1_000_000, NOW, None),
        (None, ("batch",), 1_000_000, NOW, "4.6105"),
        ("standard", ("us",), 1_000_000, NOW, None),
        ("batch", ("us",), 1_000_000, NOW, None),
        (None, ("us", "eu"), 1_000_000, NOW, "1.1104"),
        ("EU", ("us",), 1_000_000, NOW, "1.1104"),
    ],
)
def test_service_tier(
    tmp_path: Path, tier: str | None, modes: tuple[str, ...] | None, tokens: int, when: datetime, usd: str | None
) -> None:
    usage = Usage(
        input_tokens=tokens,
        cache_read_tokens=100_000,
        output_tokens=10,
        server_tools={"web_search.num_requests": 1},
        modes=modes,
    )
    got = cost(book(tmp_path, SERVED), usage, tier=tier, when=when)
    if usd is None:
        assert (got.source, got.usd) == (CostSource.UNPRICED, None)
    else:
        # 0.1 for the cache and 0.01 for the search, whatever the tier; 0.001 or less for the output.
        assert got.parts is not None
        assert (got.parts["cache_read"], got.parts["web_search"]) == (Decimal("0.1"), Decimal("0.01"))
        assert got.usd == Decimal(usd)


# --- where there is no amount -----------------------------------------------------------------------------------------

SOME = Usage(input_tokens=10, output_tokens=1)


@pytest.mark.parametrize(
    ("usage", "model", "source", "usd", "computed"),
    [
        pytest.param(None, "m", CostSource.UNKNOWN, None, None, id="no usage"),
        pytest.param(Usage(), "m", CostSource.UNKNOWN, None, None, id="nothing reported"),
        pytest.param(Usage(reasoning_tokens=5, raw="{}"), "m", CostSource.UNKNOWN, None, None, id="only a subset"),
        pytest.param(Usage(input_tokens=-1), "m", CostSource.UNKNOWN, None, None, id="a negative count"),
        pytest.param(
            dataclasses.replace(SOME, reasoning_tokens=-1), "m", CostSource.UNKNOWN, None, None, id="a negative subset"
        ),
        pytest.param(Usage(input_tokens=10**30), "m", CostSource.UNKNOWN, None, None, id="no count at all"),
        pytest.param(Usage(audio_seconds=float("nan")), "m", CostSource.UNKNOWN, None, None, id="not a number"),
        pytest.param(Usage(audio_seconds=float("inf")), "m", CostSource.UNKNOWN, None, None, id="infinite"),
        pytest.param(SOME, "other", CostSource.UNPRICED, None, None, id="no such model"),
        pytest.param(SOME, None, CostSource.UNPRICED, None, None, id="no model"),
        pytest.param(SOME, "hourly", CostSource.UNPRICED, None, None, id="priced in another unit"),
        pytest.param(Usage(audio_seconds=3.0), "m", CostSource.UNPRICED, None, None, id="used in another unit"),
        pytest.param(SOME, "embedding", CostSource.UNPRICED, None, None, id="a class without a rate"),
        pytest.param(SOME, "m", CostSource.COMPUTED, "0.00003", "0.00003", id="priced"),
        pytest.param(
            dataclasses.replace(SOME, provider_cost_usd=Decimal("0.5")),
            "m",
            CostSource.PROVIDER,
            "0.5",
            "0.00003",
            id="the provider's figure wins, ours stands beside it",
        ),
        pytest.param(
            dataclasses.replace(SOME, provider_cost_usd=Decimal(0)),
            "m",
            CostSource.PROVIDER,
            "0",
            "0.00003",
            id="a charge of 0 is a charge",
        ),
        pytest.param(
            dataclasses.replace(SOME, provider_cost_usd=Decimal("0.5")),
            "other",
            CostSource.PROVIDER,
            "0.5",
            None,
            id="the provider's figure for a model without a price",
        ),
        pytest.param(
            Usage(provider_cost_usd=Decimal("0.1234567890125")),
            "m",
            CostSource.PROVIDER,
            "0.123456789012",
            None,
            id="the provider's figure alone",
        ),
        pytest.param(
            dataclasses.replace(SOME, provider_cost_usd=Decimal("NaN")),
            "m",
            CostSource.COMPUTED,
            "0.00003",
            "0.00003",
            id="a charge that is no amount",
        ),
        pytest.param(
            Usage(input_tokens=2**62, provider_cost_usd=Decimal(10**6)),
            "m",
            CostSource.UNKNOWN,
            None,
            None,
            id="a cost and a charge that no column holds",
        ),
    ],
)
def test_source(
    tmp_path: Path, usage: Usage | None, model: str | None, source: CostSource, usd: str | None, computed: str | None
) -> None:
    prices = book(tmp_path, "p: {m: {input: 2, output: 10}, hourly: {audio_hour: 1}, embedding: {input: 1}}")
    got = cost(prices, usage, model=model)
    assert got.source is source
    assert got.usd == (None if usd is None else Decimal(usd))
    assert got.computed_usd == (None if computed is None else Decimal(computed))
    assert (got.parts is None) == (computed is None)
    expected_version = prices.version if computed is not None or source is CostSource.UNPRICED else None
    assert got.price_version == expected_version


def test_estimated_usage_gives_an_estimated_cost(tmp_path: Path) -> None:
    prices = book(tmp_path, "p: {m: {input: 2, output: 10}}")
    assert cost(prices, SOME, estimated=True).source is CostSource.ESTIMATED
    assert cost(prices, SOME, estimated=True).usd == cost(prices, SOME).usd
    assert cost(prices, SOME, model="other", estimated=True).source is CostSource.UNPRICED
    charged = dataclasses.replace(SOME, provider_cost_usd=Decimal(1))
    assert cost(prices, charged, estimated=True).source is CostSource.PROVIDER


# --- which model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "input_rate"),
    [
        # The names on Metrion's own pages.
        ("anthropic", "claude-opus-4-6", "5"),
        ("anthropic", "claude-sonnet-4-6", "3"),
        ("anthropic", "claude-haiku-4-5-20251001", "1"),
        ("openai", "gpt-4o", "2.5"),
        ("openai", "gpt-4o-mini", "0.15"),
        ("google", "gemini-2.5-flash", "0.3"),
        ("google", "gemini-2.5-pro", "1.25"),
        ("google", "gemini-4-argon", "2"),
        ("mistral", "mistral-small-latest", "0.15"),
        ("mistral", "mistral-large-latest", "2"),
        ("mistral", "codestral-latest", "0.3"),
        ("mistral", "mistral-small", "0.15"),
        ("mistral", "mistral-tiny", "0.25"),
        ("mistral", "mistral-embedding", "0.1"),
        ("xai", "grok-3", "3"),
        ("xai", "grok-3-mini", "0.3"),
        ("xai", "grok-2", "2"),
        ("xai", "grok-2-mini", None),  # never had a price
        # Dated and moving names.
        ("anthropic", "claude-haiku-4-5@20251001", "1"),
        ("anthropic", "claude-sonnet-4-20250514", "3"),
        ("anthropic", "claude-sonnet-4-5-20250929", "3"),
        ("anthropic", "claude-opus-5-20260901", "5"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.15"),
        ("openai", "gpt-4o-2024-05-13", "5"),
        ("openai", "gpt-4o-20240513", "5"),
        ("openai", "gpt-5.2-20251211", "1.75"),
        ("openai", "gpt-5.2-2027-01-31", "1.75"),
        ("google", "gemini-2.5-flash-preview-09-2025", "0.3"),
        ("google", "gemini-2.0-flash-001", "0.1"),
        ("mistral", "mistral-small-2506", "0.1"),
        ("mistral", "mistral-large-2512", "0.5"),
        ("mistral", "ministral-3b-latest", "0.1"),
        ("mistral", "mistral-tiny-latest", "0.15"),
        ("xai", "grok-4.3-20260501", "1.25"),
        # As providers wrap them.
        ("google", "models/gemini-2.5-pro", "1.25"),
        ("google", "publishers/google/models/gemini-2.5-flash", "0.3"),
        ("openai", "openai/gpt-4o", "2.5"),
        ("xai", "x-ai/grok-4.3", "1.25"),
        ("openai", "GPT-4o", "2.5"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme:pro-mini:9xyz", "0.3"),
        # A prefix is not enough.
        ("openai", "gpt-4o-2", None),
        ("openai", "gpt-4o-nano", None),
        ("openai", "gpt-4o-mini-next", None),
        ("openai", "gpt-5-2", "1.75"),
        ("openai", "gpt-5.2-pro", "21"),
        ("openai", "gpt-4", "30"),
        ("openai", "gpt-4-2026", None),
        ("openai", "gpt-40", None),
        ("openai", "o1-mini", "1.1"),
        ("openai", "Qwen/Qwen3-0.6B", None),
        ("google", "gemini-2.5-pro-lite", None),
        ("google", "gemini-2.5-pro-preview-tts", "1"),
        ("google", "gemini-2.5-flash-lite", "0.1"),
        ("google", "gemini-2.5-flash-lite-preview-09-2025", "0.1"),
        ("google", "gemini-3.6-flash-lite", None),
        ("google", "gemini-1.5-flash-8b", "0.0375"),
        ("google", "gemini-1.5-flash-002", "0.075"),
        ("mistral", "mistral-small-2402", None),
        ("mistral", "mistral-medium-2312-latest", None),
        ("xai", "grok-3-fast", "5"),
        ("xai", "grok-3-mini-fast", "0.6"),
        ("xai", "grok-3-nano", None),
        ("xai", "gpt-4o", None),
        ("my-vllm", "gpt-4o", None),
    ],
)
def test_names_in_the_shipped_file(shipped: PriceBook, provider: str, model: str, input_rate: str | None) -> None:
    got = cost(shipped, Usage(input_tokens=1000), provider=provider, model=model)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


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


@pytest.mark.parametrize(
    ("served", "requested", "input_rate"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o", "0.15"),
        ("something-new", "gpt-4o", "2.5"),
        (None, "gpt-4o", "2.5"),
        ("", "gpt-4o", "2.5"),
        ("gpt-4o", None, "2.5"),
        ("something-new", "something-else", None),
        (None, None, None),
    ],
)
def test_the_model_served_comes_before_the_model_requested(
    shipped: PriceBook, served: str | None, requested: str | None, input_rate: str | None
) -> None:
    got = cost(shipped, Usage(input_tokens=1000), provider="openai", model=served, requested=requested)
    assert got.usd == (None if input_rate is None else Decimal(input_rate) / 1000)


@pytest.mark.parametrize(
    ("model", "input_rate"),
    [
        ("llama-3", "1"),
        ("llama-3-8b", "2"),
        ("llama-3-8b-instruct", "2"),
        ("llama-3-8b-instruct-awq", None),
        ("llama-3-70b", "3"),
        ("LLAMA-3-70B", "3"),
        ("llama-4", "4"),
        ("meta/llama-4", None),
        ("p/llama-4", "4"),
        ("llama-42", None),
        ("llama-5-x", "5"),
        ("llama-5-xy", None),
    ],
)
def test_the_most_particular_pattern_wins(tmp_path: Path, model: str, input_rate: str | None) -> None:
    prices = book(
        tmp_path,
        """
        p:
          any-3: {match: "llama-3*", not: "*-awq", input: 1}
          eights: {match: ["llama-3-8b*"], not: ["*-awq"], input: 2}
          llama-3-70b: {input: 3}
          llama-4: {input: 4}
          fives: {match: "llama-5-?", input: 5}
        """,
    )
    got = cost(prices, Usage(input_tokens=1_000_000), model=model)
    assert got.usd == (None if input_rate is None else Decimal(input_rate))


def test_model_names_from_clients_do_not_fill_the_memory(tmp_path: Path) -> None:
    prices = book(tmp_path, "p: {m: {input: 2}}")
    for number in range(10_000):
        cost(prices, SOME, model="m", requested=f"made-up-{number}")
    assert len(prices._found) < 5_000


def test_what_is_remembered_of_one_day_and_tier_is_of_no_other(tmp_path: Path) -> None:
    served, dated = book(tmp_path, SERVED), book(tmp_path, DATED)
    asked = [(served, "m", NOW, tier) for tier in ("batch", None, "flex", "batch", "made-up", None)]
    asked += [(dated, "m", datetime(2026, month, 15, tzinfo=UTC), None) for month in (1, 4, 8, 1, 4)]
    for prices, model, when, tier in asked:
        fresh = book(tmp_path, SERVED if prices is served else DATED)
        got = [cost(each, SOME, model=model, when=when, tier=tier) for each in (prices, fresh)]
        assert dataclasses.replace(got[0], price_version=None) == dataclasses.replace(got[1], price_version=None)


def test_service_tiers_and_days_do_not_fill_the_memory(tmp_path: Path) -> None:
    prices = book(tmp_path, "p: {m: {input: 2}}")
    for number in range(5_000):
        cost(prices, SOME, tier=f"made-up-{number}")
        cost(prices, SOME, when=datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=number))
    assert len(prices._held) < 5_000


# --- several files ----------------------------------------------------------------------------------------------------


def test_a_users_file_needs_only_rates(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("openai:\n  my-finetune: {input: 1.50, output: 6}\nmy-vllm:\n  llama-3: {input: 0, output: 0}\n")
    prices = PriceBook.load([PRICING, own])
    usage = Usage(input_tokens=1000, output_tokens=1000)
    assert cost(prices, usage, provider="openai", model="my-finetune").usd == Decimal("0.0075")
    assert cost(prices, usage, provider="my-vllm", model="llama-3").usd == 0
    assert cost(prices, usage, provider="openai", model="gpt-4o").usd == Decimal("0.0125")


def test_later_files_win_entry_by_entry(tmp_path: Path) -> None:
    prices = book(
        tmp_path,
        "p: {m: {match: [alias, 'm-*'], input: 1, output: 1}, n: {match: n-1, input: 1}, o: {input: 1}}",
        "p: {m: {input: 2}, n-1: {input: 2}, o: {match: o-1, input: 2}}\ngrok: {g: {input: 2}}",
        "xai: {g: {input: 3}}",
    )

    def rate(provider: str, model: str) -> int | None:
        usd = cost(prices, Usage(input_tokens=1_000_000), provider=provider, model=model).usd
        return None if usd is None else int(usd)

    names = {"m": 2, "alias": 2, "m-x": 2, "n": 1, "n-1": 2, "o": 2, "o-1": 2}
    assert {name: rate("p", name) for name in names} == names
    assert rate("xai", "g") == 3, "gemini and grok are names of google and xai"
    assert cost(prices, SOME, model="m").source is CostSource.UNPRICED, "nothing of the replaced entry's rates is left"


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


@pytest.mark.parametrize(
    ("entry", "by_character"),
    [
        ("{fees: {input_character: 0.015}}", True),
        ("{input: 1, fees: {input_character: 0.015}}", False),
        ("{audio_hour: 1, fees: {input_character: 0.015}}", False),
        ("{fees: {web_search: 1}}", False),
        ("{until: 2026-11-21, fees: {input_character: 0.015}}", False),
        ("{rates: [{until: 2026-11-21, input: 1}, {from: 2026-11-21, fees: {input_character: 0.015}}]}", True),
    ],
)
def test_nothing_else_may_have_a_rate(entry: str, by_character: bool, tmp_path: Path) -> None:
    prices = book(tmp_path, f"p: {{m: {entry}}}")
    by = prices.is_billed_by("input_character", provider="p", model="m", model_requested=None, when=NOW)
    assert by is by_character


def test_what_characters_cost(shipped: PriceBook) -> None:
    """4,095 of them were charged with $0.061425 (https://github.com/sanand0/blog, posts/2025/openai-tts-cost.md)."""
    got = cost(shipped, Usage(unreported_tools={"input_character": 4095}), provider="openai", model="tts-1")
    assert texts(got.parts) == {"input_character": "0.061425"}


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


def test_the_version_names_the_content(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    one, same, other, two = (
        book(folders[0], "p: {m: {input: 1}}"),
        book(folders[1], "p: {m: {input: 1}}"),
        book(folders[2], "p: {m: {input: 2}}"),
        book(folders[3], "p: {m: {input: 1}}", "p: {m: {input: 2}}"),
    )
    assert one.version == same.version
    assert len({one.version, other.version, two.version}) == 3


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "p: {}\n"])
def test_a_file_without_entries_is_no_error(tmp_path: Path, text: str) -> None:
    assert cost(book(tmp_path, text), SOME).source is CostSource.UNPRICED


def documented() -> list[str]:
    text = (PRICING.parent / "docs" / "pricing.md").read_text(encoding="utf-8")
    return [
        block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if not block.startswith("# metrion.yaml")
    ]


def test_the_documented_files_load(tmp_path: Path) -> None:
    prices = book(tmp_path, *documented())
    assert cost(prices, SOME, provider="my-vllm", model="llama-3").source is CostSource.COMPUTED
    assert cost(prices, SOME, provider="my-provider", model="my-model-1.5-lite").source is CostSource.UNPRICED


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_is_documented(rate: str) -> None:
    assert any(f"    {rate}: " in block for block in documented())


# --- bad files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("p:\n  m: {input: 1, ouput: 2}", 2, "p > m > ouput: is not known here; known are above, audio_hour,"),
        ("p:\n  m: {input: -1}", 2, "p > m > input: -1 is negative; a rate is 0 or more"),
        ("p:\n  m:\n    input: cheap", 3, "p > m > input: 'cheap' is not an amount in US dollars, such as 1.50"),
        ("p:\n  m: {input: 1e3}", 2, "p > m > input: '1e3' is not an amount"),
        ("p:\n  m: {input: .nan}", 2, "p > m > input: '.nan' is not an amount"),
        ("p:\n  m: {input: 1000000000000}", 2, "p > m > input: '1000000000000' is not an amount"),
        ("p:\n  m: {input: 1_000}", 2, "p > m > input: '1_000' is not an amount"),
        ("p:\n  m: {input: '1,5'}", 2, "p > m > input: '1,5' is not an amount"),
        ("p:\n  m: {input: 1 EUR}", 2, "p > m > input: '1 EUR' is not an amount in US dollars"),
        ("p:\n  m: {input: }", 2, "p > m > input: this is not an amount"),
        ("p:\n  m: {input: [1]}", 2, "p > m > input: this is not an amount"),
        ("p:\n  m: {input: 1}\n  n: {input: 1}\n  m: {input: 2}", 4, "p > m: stands here twice; keep one of them"),
        ("p:\n  m: {input: 1}\n  M: {input: 1}", 2, "p: m and m both go by m; keep one"),
        ("p:\n  m: {input: 1}\np:\n  n: {input: 1}", 3, "the file > p: stands here twice; keep one of them"),
        ("gemini:\n  m: {input: 1}\ngoogle:\n  n: {input: 1}", 4, "google: google stands here twice"),
        ("p:\n  m: {input: 1, input: 2}", 2, "p > m > input: stands here twice"),
        ("p:\n  m: {input: 1, match: n}\n  n: {input: 1}", 2, "p: m and n both go by n; keep one"),
        ("p:\n  m: {input: 1, match: 'x*'}\n  n: {input: 1, match: 'x*'}", 2, "p: m and n both go by x*"),
        (
            "p:\n  m: {source: nobody}",
            2,
            "p > m: has no rate; give it one, as in `{input: 1.50, output: 6}`; 0 is free",
        ),
        ("p:\n  m: 3", 2, "p > m: must hold rates, as in `{input: 1.50, output: 6}`"),
        ("p:\n  m:", 2, "p > m: must hold rates"),
        ("gpt-4o: {input: 3, output: 4}", 1, "gpt-4o > input: is no model; a provider stands above its models"),
        ("p: 3", 1, "p: must hold models, as in `my-model: {input: 1.50, output: 6}`"),
        ("- p", 1, "the file: must hold providers, and under each its models"),
        ("p:\n  m: {input: 1, above: {many: {input: 2}}}", 2, "p > m > above > many: is no number of input tokens"),
        ("p:\n  m: {input: 1, above: {-5: {input: 2}}}", 2, "p > m > above > -5: is no number of input tokens"),
        ("p:\n  m: {input: 1, above: {5: {output: 2}}}", 2, "p > m > above > 5 > output: is not known here"),
        ("p:\n  m: {input: 1, from: yesterday}", 2, "p > m > from: 'yesterday' is not a day, such as 2026-03-13"),
        ("p:\n  m: {input: 1, from: [2026-01-01]}", 2, "p > m > from: this is not a day"),
        ("p:\n  m: {input: 1, from: 2026-03-13, until: 2026-03-13}", 2, "p > m > until: 2026-03-13 is not after"),
        ("p:\n  m: {input: 1, rates: [{input: 2}]}", 2, "p > m > input: goes into an item of `rates`"),
        ("p:\n  m: {rates: [{input: 2, match: x}]}", 2, "p > m > rates > match: is not known here"),
        ("p:\n  m: {rates: []}", 2, "p > m > rates: is empty; give it rates, or leave it out"),
        ("p:\n  m: {input: 1, service_tiers: {batch: {input: x}}}", 2, "p > m > service_tiers > batch > input: 'x' is"),
        ("p:\n  m: {input: 1, service_tiers: batch}", 2, "p > m > service_tiers: must hold service tiers"),
        ("p:\n  m: {input: 1, fees: {web_search: free}}", 2, "p > m > fees > web_search: 'free' is not an amount"),
        ("p:\n  m: {input: 1, match: {a: b}}", 2, "p > m > match: must be a name, a pattern such as `gpt-4o-*`, or a"),
        ("p:\n  m: {<<: {input: 1}}", 2, "p > m > <<: is not known here"),
        ("? [a]\n: {m: {input: 1}}", 1, "the file: must hold providers"),
    ],
)
def test_a_bad_file_is_told_with_its_line_and_key(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PricingError) as error:
        PriceBook.load([PRICING, path])
    assert str(error.value).startswith(f"{path}, line {line}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"p: {m: {input: 1}\n", ", line 2: is not valid YAML"),
        (b"p:\n\tm: 1", ", line 2: is not valid YAML: found character"),
        (b"p: {m: {input: 1}}\n---\np: {}\n", ", line 2: is not valid YAML"),
        (b"p: {m: {input: *rate}}", ", line 1: is not valid YAML: found undefined alias"),
        (b"\xff\xfe\x00", ": is not UTF-8; save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_yaml(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(PricingError) as error:
        PriceBook.load([path])
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PricingError, match=r"none\.yaml: cannot be read .*; check `pricing` in metrion\.yaml"):
        PriceBook.load([tmp_path / "none.yaml"])
    with pytest.raises(PricingError, match="cannot be read"):
        PriceBook.load([tmp_path])


# --- against genai-prices ---------------------------------------------------------------------------------------------

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


# --- what is billed under several models, or for several responses ----------------------------------------------------

SHARED = """
p:
  m: {input: 2, output: 10, fees: {web_search: 10, request: 1000}, above: {100000: {input: 4}},
      service_tiers: {flex: {input: 1, output: 5}}}
  adviser: {input: 5, output: 25}
"""


def shared(*shares: tuple[str | None, Usage], **totals: Any) -> Usage:
    return Usage(
        input_tokens=sum(share.input_tokens or 0 for _, share in shares),
        output_tokens=sum(share.output_tokens or 0 for _, share in shares),
        shares=shares,
        **totals,
    )


def test_each_share_is_priced_under_its_own_model(tmp_path: Path) -> None:
    own = Usage(input_tokens=1000, output_tokens=100, server_tools={"web_search_requests": 1})
    asked = Usage(input_tokens=2000, output_tokens=10)
    got = cost(book(tmp_path, SHARED), shared((None, own), ("adviser", asked), ("m", asked)))
    assert got.parts == {
        "input": Decimal("0.006"), "output": Decimal("0.0011"), "web_search": Decimal("0.01"), "request": Decimal(2),
        "adviser:input": Decimal("0.01"), "adviser:output": Decimal("0.00025"),
    }  # fmt: skip
    assert got.usd == sum(got.parts.values())
    assert got.source is CostSource.COMPUTED


@pytest.mark.parametrize("model", ["nobody-knows", "adviser"])
def test_a_share_without_a_price_leaves_the_whole_without_one(model: str, tmp_path: Path) -> None:
    own, asked = Usage(input_tokens=1, output_tokens=0), Usage(input_tokens=1, output_tokens=0, modes=("fast",))
    usage = shared((None, own), (model, asked))
    got = cost(book(tmp_path, SHARED), usage)
    assert (got.usd, got.source) == (None, CostSource.UNPRICED)


def test_nothing_of_a_model_is_needed_that_has_no_share(tmp_path: Path) -> None:
    asked = Usage(input_tokens=1_000_000, output_tokens=0)
    assert cost(book(tmp_path, SHARED), shared(("adviser", asked)), model=None).parts == {"adviser:input": Decimal(5)}


def test_a_share_that_is_not_billed_costs_nothing(tmp_path: Path) -> None:
    refused = Usage(input_tokens=1_000_000, output_tokens=0, unbilled=True)
    asked = Usage(input_tokens=1_000_000, output_tokens=0)
    got = cost(book(tmp_path, SHARED), shared((None, refused), ("adviser", asked)))
    assert (got.source, got.parts) == (CostSource.COMPUTED, {"adviser:input": Decimal(5)})


def test_all_shares_are_billed_whatever_the_counts_are_of(tmp_path: Path) -> None:
    own, asked = Usage(input_tokens=1000, output_tokens=0), Usage(input_tokens=2000, output_tokens=10)
    usage = dataclasses.replace(own, shares=(("m", own), ("adviser", asked)))
    got = cost(book(tmp_path, SHARED.replace(", request: 1000", "")), usage)
    assert got.parts == {
        "input": Decimal("0.002"), "adviser:input": Decimal("0.01"), "adviser:output": Decimal("0.00025"),
    }  # fmt: skip
    assert got.usd == Decimal("0.01225")


@pytest.mark.parametrize(
    "usage",
    [
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(output_tokens=1))),
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(input_tokens=1, cache_read_tokens=1))),
        shared((None, Usage(input_tokens=1, output_tokens=1)), ("adviser", Usage(input_tokens=2**63, output_tokens=1))),
        Usage(output_tokens=9, largest_input_tokens=5),
    ],
)
def test_a_sum_of_which_a_part_is_not_known_has_no_cost(usage: Usage, tmp_path: Path) -> None:
    got = cost(book(tmp_path, SHARED), usage)
    assert (got.usd, got.source) == (None, CostSource.UNKNOWN)


def test_long_contexts_go_by_the_longest_of_what_is_added_up(tmp_path: Path) -> None:
    prices = book(tmp_path, SHARED.replace(", request: 1000", ""))
    many = Usage(input_tokens=1_000_000, output_tokens=0, largest_input_tokens=50_000)
    long = Usage(input_tokens=1_000_000, output_tokens=0, largest_input_tokens=100_001)
    assert cost(prices, many).parts == {"input": Decimal(2)}
    assert cost(prices, long).parts == {"input": Decimal(4)}
    assert cost(prices, shared((None, many), (None, long))).parts == {"input": Decimal(6)}


@pytest.mark.parametrize("tier", ["flex", "ON_DEMAND_FLEX"])
def test_a_tier_may_have_another_name_at_vertex(tier: str, tmp_path: Path) -> None:
    prices = book(tmp_path, SHARED.replace(", request: 1000", ""))
    assert cost(prices, Usage(input_tokens=1_000_000), tier=tier).usd == Decimal(1)


def test_searches_of_gemini_fall_under_the_fee_for_searches(tmp_path: Path) -> None:
    prices = book(tmp_path, "p:\n  m: {input: 1, fees: {web_search: 14}}\n")
    got = cost(prices, Usage(input_tokens=0, unreported_tools={"google_search": 2, "google_maps": 1}))
    assert got.parts == {"web_search": Decimal("0.028")}
