"""How pricing.yaml is made and compared: scripts/prices. No test asks the network."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.pricing import PriceBook
from scripts.prices import additions, blocks, comparison, lists
from scripts.prices.lists import Kind
from scripts.prices.package import GENAI_PRICES
from scripts.prices.writing import rendered
from tests.pricing.books import book

TODAY = datetime(2026, 11, 28)  # noqa: DTZ001 -- events have naive UTC times


# --- blocks: what genai-prices matches, as names ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ({"equals": "gpt-4o"}, ["gpt-4o"]),
        ({"starts_with": "claude-opus-4-1"}, ["claude-opus-4-1", "claude-opus-4-1-latest"]),
        ({"contains": "claude-opus-4@"}, ["claude-opus-4", "claude-opus-4-latest"]),
        ({"contains": "moderation"}, []),
        ({"starts_with": "ft:gpt-4o-2024-"}, ["ft:gpt-4o"]),
        ({"starts_with": "computer-use"}, ["computer-use"]),
        (
            {"starts_with": "gemini-3-flash-preview-"},
            [
                "gemini-3-flash-preview",
                "gemini-3-flash-preview-[0-9][0-9]-[0-9][0-9]",
                "gemini-3-flash-preview-[0-9][0-9]-20[0-9][0-9]",
            ],
        ),
        ({"regex": r"^gpt-6-sol-\d{4}-\d{2}-\d{2}$"}, []),
        ({"or_": [{"equals": "a"}, {"starts_with": "b-"}]}, ["a", "b"]),
    ],
)
def test_names(clause: dict[str, Any], names: list[str]) -> None:
    assert blocks.names(clause) == names


@pytest.mark.parametrize("clause", [{"regex": "^gpt-(4|5)"}, {"not": {"equals": "a"}}])
def test_a_clause_that_is_not_known_ends_the_program(clause: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="genai-prices"):
        blocks.names(clause)


def test_us_only_multiplies_batches_and_fast_mode_too() -> None:
    tiers = {"batch": {"input": "2.5"}, "fast": [{"from": "2026-01-01", "input": "10"}], "flex": {"input": "1"}}
    assert blocks.us_only({"input": "5", "fees": {"web_search": "10"}}, tiers) == {
        "us": {"input": "5.5"},
        "batch+us": {"input": "2.75"},
        "fast+us": [{"from": "2026-01-01", "input": "11"}],
    }


# --- additions: what is kept by hand ----------------------------------------------------------------------------------


def merged(block: dict[str, Any], name: str = "m") -> dict[str, Any]:
    models: dict[str, Any] = {
        "m": {"comment": "", "match": ["alias", "other"], "input": "1", "output": "4",
              "service_tiers": {"batch": {"input": "0.5", "output": "2"}}},
        "dated": {"comment": "", "rates": [
            {"input": "1", "output": "4"},
            {"from": "2027-01-01", "input": "2", "output": "8", "above": {9: {"input": "3"}}},
        ]},
    }  # fmt: skip
    about = {"source": "https://example.com", "checked": "2026-11-28"}
    return additions.merge({"p": models}, {"p": {name: [about | block]}})["p"]


def test_names_are_added() -> None:
    assert merged({"match": ["another"]})["m"]["match"] == ["alias", "other", "another"]


def test_rates_that_the_package_lacks_are_added_in_their_order() -> None:
    block = merged({"input_audio": "40"})["m"]
    assert [*block] == ["comment", "match", "input", "input_audio", "output", "service_tiers"]
    assert block["comment"] == "input_audio: https://example.com, checked 2026-11-28."


def test_cached_tokens_may_be_a_part_of_the_input() -> None:
    models = merged({"cache_read_of_input": "0.1"}, "*")
    assert models["m"]["cache_read"] == "0.1"
    assert models["m"]["service_tiers"]["batch"]["cache_read"] == "0.05"
    assert [rates["cache_read"] for rates in models["dated"]["rates"]] == ["0.1", "0.2"]


def test_a_tier_may_be_a_multiple_of_the_standard_rates() -> None:
    models = merged({"service_tiers": {"flex": {"from": "2026-10-15", "times": "0.5", "output": "3"}}}, "dated")
    assert models["dated"]["service_tiers"]["flex"] == [
        {"from": "2026-10-15", "input": "0.5", "output": "3"},
        {"from": "2027-01-01", "input": "1", "output": "3", "above": {9: {"input": "1.5"}}},
    ]


def test_a_name_that_belongs_to_another_model_is_taken_from_it() -> None:
    models = merged({"instead_of": "m", "input": "7"}, "alias")
    assert models["m"]["match"] == ["other"]
    assert models["alias"]["input"] == "7"


def test_a_wrong_price_is_replaced_for_one_release_of_the_package() -> None:
    block = merged({"replaces": GENAI_PRICES, "input": "7"})["m"]
    assert (block["match"], block["input"], "output" in block) == (["alias", "other"], "7", False)


def test_what_has_no_price_is_left_out_and_says_why() -> None:
    extra = {"p": {"m*": [{"unpriced": "Sold by the yard.", "source": "https://example.com", "checked": "2026-11-28"}]}}
    models = additions.merge({"p": {"m-1": {"comment": "", "input": "1"}, "n": {"comment": "", "input": "1"}}}, extra)
    assert [*models["p"]] == ["n"]
    assert "- m*: Sold by the yard. https://example.com" in rendered(models, additions.unpriced(extra))


@pytest.mark.parametrize(
    ("name", "block", "problem"),
    [
        ("m", {"input": "2"}, "genai-prices has a rate for input now; take it out"),
        ("m", {"service_tiers": {"batch": {"times": "0.5"}}}, "genai-prices has rates for batch now"),
        ("m", {"input_audio": "2", "match": ["x"]}, "cannot be added to a model that genai-prices has: match"),
        ("m", {"replaces": "0.0.1", "input": "2"}, "look at what genai-prices"),
        ("x", {"match": ["y"]}, "has no rates, and genai-prices lacks the model"),
        ("x", {"instead_of": "m", "input": "2"}, "genai-prices does not give this name to m any more"),
        ("x", {"fees": {"web_search": "10"}}, "has fees and no rates"),
        ("x", {"comment": "nothing"}, "has no rates"),
    ],
)
def test_what_cannot_be_merged_ends_the_program(name: str, block: dict[str, Any], problem: str) -> None:
    with pytest.raises(SystemExit, match=problem):
        merged(block, name)


def test_a_key_that_is_there_twice_ends_the_program(tmp_path: Path) -> None:
    path = tmp_path / "extra.yaml"
    path.write_text("p:\n  m: {input: 1}\n  m: {output: 1}\n")
    with pytest.raises(SystemExit, match="line 3: m is there twice"):
        additions.read_extra(path)


# --- lists: two published lists in one form ---------------------------------------------------------------------------

LITELLM = b"""{
  "sample_spec": {"litellm_provider": "one of ...", "input_cost_per_token": 0.0},
  "gpt-9": {"litellm_provider": "openai", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,
            "cache_creation_input_token_cost_above_1hr": 2e-06, "input_cost_per_token_batches": 6.25e-07,
            "input_cost_per_token_above_272k_tokens_priority": 5e-06, "max_tokens": 9, "mode": "chat"},
  "mistral/ocr": {"litellm_provider": "mistral", "ocr_cost_per_page": 0.002},
  "mistral/ears": {"litellm_provider": "mistral", "input_cost_per_second": 5e-05},
  "high/1024-x-1024/gpt-image-1": {"litellm_provider": "openai", "input_cost_per_image": 0.1},
  "bedrock/claude": {"litellm_provider": "bedrock", "input_cost_per_token": 1e-06},
  "openai/film": {"litellm_provider": "openai", "output_cost_per_video_per_second": 0.1}
}"""

MODELS_DEV = b"""{
  "chat": {"chat:gpt-9": {"id": "gpt-9", "cost": {"input": 1.25, "output": 10, "cacheRead": 0, "cacheWrite": 0.5,
           "tiers": [{"inputTokensAbove": 272000, "input": 2.5, "output": 15, "cacheRead": 0}]}}},
  "openai-decisions": {"x": {"id": "gpt-9", "cost": {"input": 9}}}
}"""


def test_litellm() -> None:
    assert lists.from_litellm(lists.decoded(LITELLM)) == {
        "openai": {
            "gpt-9": {
                Kind("input"): Decimal("1.25"),
                Kind("output"): Decimal(10),
                Kind("cache_write_1h"): Decimal(2),
                Kind("input", "batch"): Decimal("0.625"),
                Kind("input", "priority", 272_000): Decimal(5),
            },
            "film": {},
        },
        "mistral": {"ocr": {Kind("document_page"): Decimal(2)}, "ears": {Kind("audio_hour"): Decimal("0.18")}},
    }


def test_models_dev() -> None:
    assert lists.from_models_dev({"openai": lists.decoded(MODELS_DEV)}) == {
        "openai": {
            "gpt-9": {
                Kind("input"): Decimal("1.25"),
                Kind("output"): Decimal(10),
                Kind("cache_write"): Decimal("0.5"),
                Kind("input", above=272_000): Decimal("2.5"),
                Kind("output", above=272_000): Decimal(15),
            }
        }
    }


# --- comparison -------------------------------------------------------------------------------------------------------

OURS = """
openai:
  gpt-9:
    input: 1.25
    cache_read: 0.125
    output: 12
    above: {272000: {input: 2.5, output: 15}}
    fees: {request: 3}
    service_tiers: {batch: {input: 0.625}}
mistral:
  ears: {audio_hour: 0.18}
"""


@pytest.fixture
def price(tmp_path: Path) -> comparison.Prices:
    return comparison.Prices(book(tmp_path, OURS), TODAY)


@pytest.mark.parametrize(
    ("provider", "model", "kind", "expected"),
    [
        ("openai", "gpt-9", Kind("input"), "1.25"),
        ("openai", "gpt-9", Kind("input", above=272_000), "2.5"),
        ("openai", "gpt-9", Kind("output", above=272_000), "15"),
        ("openai", "gpt-9", Kind("cache_read"), "0.125"),
        ("openai", "gpt-9", Kind("cache_write_1h"), None),
        ("openai", "gpt-9", Kind("reasoning"), "12"),
        ("openai", "gpt-9", Kind("input", "batch"), "0.625"),
        ("openai", "gpt-9", Kind("input", "priority"), None),
        ("openai", "gpt-9", Kind("audio_hour"), None),
        ("openai", "gpt-8", Kind("input"), None),
        ("mistral", "ears", Kind("audio_hour"), "0.18"),
    ],
)
def test_what_a_price_book_says(
    price: comparison.Prices, provider: str, model: str, kind: Kind, expected: str | None
) -> None:
    assert price(provider, model, kind) == (None if expected is None else Decimal(expected))


def test_compare(price: comparison.Prices) -> None:
    published = {
        "LiteLLM": lists.from_litellm(lists.decoded(LITELLM)),
        "models.dev": lists.from_models_dev({"openai": lists.decoded(MODELS_DEV)}),
    }
    rows = comparison.compare(published, price)
    assert [(row.provider, row.model, row.of, row.ours, row.theirs) for row in rows] == [
        ("mistral", "ocr", "model", None, (("LiteLLM", "document_page 2"),)),
        ("openai", "film", "model", None, (("LiteLLM", "in a unit of its own"),)),
        ("openai", "gpt-9", "cache_write", None, (("models.dev", "0.5"),)),
        ("openai", "gpt-9", "cache_write_1h", None, (("LiteLLM", "2"),)),
        ("openai", "gpt-9", "input above 272,000, priority", None, (("LiteLLM", "5"),)),
        ("openai", "gpt-9", "output", Decimal(12), (("LiteLLM", "10"), ("models.dev", "10"))),
    ]


def test_a_list_that_says_0_differs_from_no_price_in_nothing(price: comparison.Prices) -> None:
    free = {"openai": {"gpt-9": {Kind("input"): Decimal("1.25"), Kind("audio_hour"): Decimal(0)}}}
    assert comparison.compare({"LiteLLM": free}, price) == []


def test_each_row_has_the_first_verdict_that_covers_it(price: comparison.Prices) -> None:
    rows = comparison.compare({"LiteLLM": lists.from_litellm(lists.decoded(LITELLM))}, price)
    verdicts = [
        *comparison.reasons({"openai": {"fil*": {"unpriced": "By the second.", "source": "https://example.com"}}}),
        comparison.Verdict("openai", ("gpt-9",), ("output",), "here", "The page says so."),
        comparison.Verdict("openai", ("*",), ("*",), "open", "Nobody knows."),
    ]
    said = comparison.page(rows, verdicts, {"LiteLLM": "the list of LiteLLM"})
    assert "**no price**: By the second. Source: https://example.com" in said
    assert "**here**: The page says so.\n\n| model | what | here | elsewhere |\n|---|---|---|---|\n" in said
    assert "| `gpt-9` | output | 12 | LiteLLM: 10 |" in said
    assert comparison.unjudged(rows, verdicts) == ["mistral > ocr: model: — here, LiteLLM: document_page 2"]


def test_every_verdict_is_whole() -> None:
    verdicts = comparison.read_verdicts()
    assert len(verdicts) > 10
    for verdict in verdicts:
        assert verdict.right in {"here", "there", "open", "neither"}
        assert verdict.why


def test_the_page_is_not_left_with_open_rows() -> None:
    page = (comparison.VERDICTS.with_name("compared.md")).read_text(encoding="utf-8")
    assert "No verdict yet" not in page


def test_a_price_per_second_is_compared_by_the_hour() -> None:
    entries = json.loads('{"x": {"litellm_provider": "xai", "input_cost_per_second": 2.778e-05}}', parse_float=Decimal)
    assert lists.from_litellm(entries)["xai"]["x"][Kind("audio_hour")] == Decimal("0.100008")


def test_the_shipped_book_has_what_the_prices_are_compared_with() -> None:
    shipped = PriceBook.load([Path(__file__).resolve().parents[2] / "pricing.yaml"])
    price = comparison.Prices(shipped, TODAY)
    assert price("anthropic", "claude-opus-5-5", Kind("cache_write_1h")) == Decimal(8)
    assert price("google", "gemini-2.5-pro", Kind("cache_read", "flex", 200_000)) == Decimal("0.25")
