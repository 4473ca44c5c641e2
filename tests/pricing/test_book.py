from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.model import CostSource, Usage
from metrion.pricing import PriceBook
from tests.pricing.books import DATED, NOW, PRICING, SERVED, SHARED, SOME, book, cost, shared

# --- where a cost comes from ------------------------------------------------------------------------------------------


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


# --- shares of other models -------------------------------------------------------------------------------------------


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


# --- tiers and fees ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["flex", "ON_DEMAND_FLEX"])
def test_a_tier_may_have_another_name_at_vertex(tier: str, tmp_path: Path) -> None:
    prices = book(tmp_path, SHARED.replace(", request: 1000", ""))
    assert cost(prices, Usage(input_tokens=1_000_000), tier=tier).usd == Decimal(2), "half of each step"


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


# --- memory -----------------------------------------------------------------------------------------------------------


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
