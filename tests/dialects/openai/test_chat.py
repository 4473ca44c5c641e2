"""Usage objects as servers that speak chat completions have sent them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.chat import DIALECT, usage
from metrion.dialects.reading.usage_reader import UsageReader
from tests.dialects.read import drafted

OPENAI = {
    "prompt_tokens": 1210,
    "completion_tokens": 73,
    "total_tokens": 1283,
    "prompt_tokens_details": {"cached_tokens": 1152, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0, "accepted_prediction_tokens": 0},
}
XAI = {
    "prompt_tokens": 307,
    "completion_tokens": 26,
    "total_tokens": 560,
    "prompt_tokens_details": {"text_tokens": 307, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 306},
    "completion_tokens_details": {"reasoning_tokens": 227, "audio_tokens": 0},
    "num_sources_used": 0,
    "cost_in_usd_ticks": 1497500,
}
VOXTRAL = {
    "prompt_audio_seconds": 4,
    "prompt_tokens": 9,
    "total_tokens": 585,
    "completion_tokens": 201,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
}
OPENROUTER = {
    "prompt_tokens": 8174,
    "completion_tokens": 30,
    "total_tokens": 8204,
    "cost": Decimal("0.0133176"),
    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 12, "audio_tokens": 3, "video_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": None, "image_tokens": 7, "audio_tokens": 0},
    "server_tool_use_details": {"web_search_requests": 1, "web_fetch_requests": 0},
}
PERPLEXITY = {
    "prompt_tokens": 33,
    "completion_tokens": 7163,
    "total_tokens": 7196,
    "reasoning_tokens": 73997,
    "num_search_queries": 18,
    "cost": {"total_cost": Decimal("0.8171")},
}
DEEPSEEK = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "prompt_cache_hit_tokens": 16}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            OPENAI,
            {"input_tokens": 1210, "cache_read_tokens": 1152, "output_tokens": 73, "reasoning_tokens": 64,
             "input_audio_tokens": 0, "output_audio_tokens": 0},
            id="OpenAI: cached and reasoning tokens are parts",
        ),
        pytest.param(
            XAI,
            {"input_tokens": 307, "cache_read_tokens": 306, "output_tokens": 253, "reasoning_tokens": 227,
             "input_audio_tokens": 0, "input_image_tokens": 0, "output_audio_tokens": 0, "server_tools": {},
             "provider_cost_usd": Decimal("0.00014975")},
            id="xAI: reasoning is beside the completion",
        ),
        pytest.param(
            {"prompt_tokens": 7, "completion_tokens": 17, "total_tokens": 544, "model": "google/gemini-2.5-flash"},
            {"input_tokens": 7, "output_tokens": 537},
            id="Gemini: thoughts are only in the total",
        ),
        pytest.param(
            {"prompt_tokens": 7, "total_tokens": 544, "model": "gemini-2.5-flash"},
            {"input_tokens": 7, "output_tokens": 537},
            id="Gemini: nothing but thoughts",
        ),
        pytest.param(
            VOXTRAL,
            {"input_tokens": 384, "cache_read_tokens": 0, "output_tokens": 201, "input_audio_tokens": 375,
             "server_tools": {"prompt_audio_seconds": 4}},
            id="Mistral: audio is beside the prompt",
        ),
        pytest.param(
            {"prompt_tokens": 64, "completion_tokens": 6, "total_tokens": 70, "num_cached_tokens": 32},
            {"input_tokens": 64, "cache_read_tokens": 32, "output_tokens": 6},
            id="Mistral: cached tokens by their old name",
        ),
        pytest.param(
            OPENROUTER,
            {"input_tokens": 8174, "cache_read_tokens": 0, "cache_write_tokens": 12, "output_tokens": 30,
             "input_audio_tokens": 3, "output_image_tokens": 7, "output_audio_tokens": 0, "input_video_tokens": 5,
             "server_tools": {"web_search_requests": 1}, "provider_cost_usd": Decimal("0.0133176")},
            id="OpenRouter: cost and tools",
        ),
        pytest.param(
            PERPLEXITY,
            {"input_tokens": 33, "output_tokens": 7163, "reasoning_tokens": 73997,
             "server_tools": {"num_search_queries": 18}, "provider_cost_usd": Decimal("0.8171")},
            id="Perplexity: cost in parts",
        ),
        pytest.param(
            DEEPSEEK,
            {"input_tokens": 20, "cache_read_tokens": 16, "output_tokens": 5},
            id="DeepSeek: cache hits",
        ),
        pytest.param(
            {"prompt_tokens": 8, "total_tokens": 8},
            {"input_tokens": 8, "output_tokens": 0},
            id="nothing was generated",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 5230,
             "prompt_tokens_details": {"cached_tokens": 5000}, "cache_creation_input_tokens": 200},
            {"input_tokens": 5210, "cache_read_tokens": 5000, "cache_write_tokens": 200, "output_tokens": 20},
            id="a gateway that counts as Anthropic does: the cache is beside the prompt",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 5260, "cache_read_input_tokens": 5000,
             "prompt_tokens_details": {"cache_creation_tokens": 200},
             "completion_tokens_details": {"reasoning_tokens": 30}},
            {"input_tokens": 5210, "cache_read_tokens": 5000, "cache_write_tokens": 200, "output_tokens": 50,
             "reasoning_tokens": 30},
            id="cache and reasoning are both beside",
        ),
        *(
            pytest.param(
                {"prompt_tokens": 500, "completion_tokens": 20, "total_tokens": 520, **written},
                {"input_tokens": 500, "output_tokens": 20, "cache_write_tokens": 200, **lives},
                id=f"writes, named as {written}",
            )
            for written, lives in (
                ({"prompt_tokens_details": {"cache_creation_tokens": 200}}, {}),
                ({"prompt_tokens_details": {"cache_write_tokens": 200}}, {}),
                ({"prompt_tokens_details": {"cache_creation_input_tokens": 200}}, {}),
                ({"cache_creation_tokens": 200}, {}),
                ({"prompt_tokens_details": {"cache_write_tokens": 0}, "cache_creation_input_tokens": 200}, {}),
                ({"prompt_tokens_details": {
                    "cache_creation_tokens": 200,
                    "cache_creation_token_details": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
                }}, {"cache_write_1h_tokens": 150}),
                ({"prompt_tokens_details": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150}},
                 {"cache_write_1h_tokens": 150}),
                ({"cache_creation_input_tokens": 200,
                  "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0}},
                 {"cache_write_1h_tokens": 0}),
            )
        ),
        pytest.param(
            {"prompt_tokens": 90, "completion_tokens": 12, "total_tokens": 3102, "connector_tokens": 3000,
             "connectors": {"web_search": 2, "image_generation": 1}},
            {"input_tokens": 3090, "output_tokens": 12, "server_tools": {"web_search": 2, "image_generation": 1}},
            id="Mistral: connectors",
        ),
        *(
            pytest.param(
                {"prompt_tokens": 1, "completion_tokens": 1, "cost": Decimal(cost), **raw},
                {"input_tokens": 1, "output_tokens": 1, **({"provider_cost_usd": Decimal(charged)} if charged else {})},
                id=f"OpenRouter: {cost} {raw}",
            )
            for cost, raw, charged in (
                ("0", {"is_byok": True, "cost_details": {"upstream_inference_cost": Decimal("0.0360795")}},
                 "0.0360795"),
                ("0.5", {"is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, "1.5"),
                ("0.5", {"is_byok": True, "cost_details": {"upstream_inference_input_cost": 1,
                                                            "upstream_inference_output_cost": 2}}, "3.5"),
                ("0.5", {"is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
                ("0", {"is_byok": True}, None),
                ("0.5", {"is_byok": False, "cost_details": {"upstream_inference_cost": Decimal("0.5")}}, "0.5"),
            )
        ),
        pytest.param(
            {"prompt_tokens": None, "completion_tokens": 3, "prompt_tokens_details": None},
            {"output_tokens": 3},
            id="null is not reported",
        ),
        pytest.param(
            {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0},
            {"input_tokens": 0, "output_tokens": 0, "provider_cost_usd": Decimal(0)},
            id="0 is 0",
        ),
        pytest.param({"cost_in_usd_ticks": 0}, {"provider_cost_usd": Decimal(0)}, id="cost only"),
        pytest.param({"something": "else"}, {}, id="nothing known"),
    ],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    reader = UsageReader(raw, model=raw.get("model"))
    found = usage(reader)
    assert {name: value for name in found.__slots__ if (value := getattr(found, name)) is not None} == expected
    assert reader.warnings == []


@pytest.mark.parametrize(
    ("raw", "expected", "warning"),
    [
        ({"prompt_tokens": "12"}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": True}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": -1}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": Decimal("1.5")}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": 1 << 63}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": [1]}, {}, "usage.prompt_tokens is no count"),
        ({"prompt_tokens": (1 << 63) - 1}, {"input_tokens": (1 << 63) - 1}, None),
        ({"prompt_tokens": 1, "completion_tokens": "2", "total_tokens": 3}, {"input_tokens": 1},
         "usage.completion_tokens is no count"),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": "3"}, {"input_tokens": 1, "output_tokens": 2},
         "usage.total_tokens is no count"),
        ({"prompt_tokens_details": 5}, {}, "usage.prompt_tokens_details is no object"),
        ({"server_tool_use": [1]}, {}, "usage.server_tool_use is no object"),
        ({"server_tool_use": {"web_search_requests": 2, "secret": "1"}}, {"server_tools": {"web_search_requests": 2}},
         "usage.server_tool_use.* is no count"),
        ({"cost": -1}, {}, "usage.cost is no amount of money"),
        ({"cost": Decimal("NaN")}, {}, "usage.cost is no amount of money"),
        ({"cost": True}, {}, "usage.cost is no amount of money"),
        ({"cost": "1"}, {}, "usage.cost is no amount of money"),
        *(
            ({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": total, **more}, {},
             "usage.total_tokens is contradicted by its parts")
            for total, more in ((10, {}), (0, {}), (100, {}), (544, {"model": "mistral-large-latest"}))
        ),
        ({"prompt_tokens": 7, "total_tokens": 544}, {}, "usage.total_tokens is contradicted by its parts"),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 3},
          "cache_read_input_tokens": 4}, {"input_tokens": 9, "output_tokens": 1},
         "usage.cache_read_input_tokens is contradicted by prompt_tokens_details.cached_tokens"),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cache_creation_tokens": 5,
          "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}},
         {"input_tokens": 9, "output_tokens": 1, "cache_write_tokens": 5},
         "usage.prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens is contradicted by what "
         "was written in all"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_reported(raw: dict[str, Any], expected: dict[str, Any], warning: str | None) -> None:
    reader = UsageReader(raw)
    found = usage(reader)
    assert {name: value for name in found.__slots__ if (value := getattr(found, name)) is not None} == expected
    assert reader.warnings == ([] if warning is None else [warning])


def test_money_keeps_its_digits() -> None:
    raw = json.loads('{"cost": 0.1000000000000000000000000000000000001}', parse_float=Decimal)
    assert str(usage(UsageReader(raw)).provider_cost_usd) == "0.1000000000000000000000000000000000001"
    assert str(usage(UsageReader({"cost_in_usd_ticks": (1 << 63) - 1})).provider_cost_usd) == "922337203.6854775807"


@pytest.mark.parametrize(
    ("document", "generation_id", "pending"),
    [
        ({"request_id": "f15c114e-f47d-40ca-8d5c-8c23d656eeb6"}, "f15c114e-f47d-40ca-8d5c-8c23d656eeb6", True),
        ({"request_id": 5}, None, True),
        ({"request_id": "20251103", "id": "chatcmpl-1", "choices": [], "usage": DEEPSEEK}, "chatcmpl-1", False),
        ({"id": "chatcmpl-1", "object": "chat.completion", "choices": []}, "chatcmpl-1", False),
    ],
    ids=["xAI: deferred", "no id", "Zhipu has both ids", "done"],
)
def test_a_completion_that_is_deferred_is_nothing_but_an_id(
    document: dict[str, Any], generation_id: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, document)
    assert (draft.generation_id, draft.pending) == (generation_id, pending)


@pytest.mark.parametrize(
    ("beside", "inside", "tier"),
    [
        ("default", {}, "default"),
        ("flex", {"service_tier": None}, "flex"),
        (None, {"service_tier": "standard"}, None),
        (None, {"service_tier": "priority"}, "priority"),
    ],
)
def test_the_tier_stands_beside_the_usage_or_inside_it(
    beside: str | None, inside: dict[str, Any], tier: str | None
) -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert drafted(DIALECT, {"service_tier": beside, "usage": {**counts, **inside}}).service_tier == tier
