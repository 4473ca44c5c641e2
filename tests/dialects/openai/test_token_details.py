"""Usage objects of OpenAI's APIs after chat, and what others send in their place."""

from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.token_details import usage
from metrion.dialects.reading.usage_reader import UsageReader
from tests.dialects.read import reported

RESPONSES = {
    "input_tokens": 9512,
    "input_tokens_details": {"cached_tokens": 1800, "cache_write_tokens": 7706},
    "output_tokens": 16,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 9528,
}
IMAGES = {
    "input_tokens": 431,
    "input_tokens_details": {"image_tokens": 388, "text_tokens": 43},
    "output_tokens": 1364,
    "output_tokens_details": {"image_tokens": 1056, "text_tokens": 308},
    "total_tokens": 1795,
}
REALTIME = {
    "total_tokens": 200,
    "input_tokens": 139,
    "output_tokens": 61,
    "input_token_details": {
        "text_tokens": 43,
        "audio_tokens": 90,
        "image_tokens": 6,
        "cached_tokens": 69,
        "cached_tokens_details": {"text_tokens": 1, "audio_tokens": 64, "image_tokens": 4},
    },
    "output_token_details": {"text_tokens": 18, "audio_tokens": 43, "reasoning_tokens": 7},
}
XAI = {
    "input_tokens": 5689,
    "input_tokens_details": {"cached_tokens": 2048},
    "output_tokens": 444,
    "output_tokens_details": {"reasoning_tokens": 245},
    "total_tokens": 6133,
    "num_sources_used": 0,
    "num_server_side_tools_used": 2,
    "cost_in_usd_ticks": 160708500,
    "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 0, "mcp_calls": None},
}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            RESPONSES,
            {"input_tokens": 9512, "cache_read_tokens": 1800, "cache_write_tokens": 7706, "output_tokens": 16,
             "reasoning_tokens": 5},
            id="Responses: details are parts",
        ),
        *(
            pytest.param(
                {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {
                    "cache_write_tokens": 7,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 7 - long, "ttl_12h_tokens": long}}},
                {"input_tokens": 9, "cache_write_tokens": 7, "output_tokens": 1, **modes},
                id=f"{long} of 7 written for 12 hours",
            )
            for long, modes in ((0, {}), (7, {"modes": ("cache_12h",)}))
        ),
        pytest.param(
            IMAGES,
            {"input_tokens": 431, "input_image_tokens": 388, "output_tokens": 1364, "output_image_tokens": 1056},
            id="images: text and images on both sides",
        ),
        pytest.param(
            REALTIME,
            {"input_tokens": 139, "cache_read_tokens": 69, "cache_read_audio_tokens": 64, "cache_read_image_tokens": 4,
             "input_audio_tokens": 90, "input_image_tokens": 6, "output_tokens": 61, "output_audio_tokens": 43,
             "reasoning_tokens": 7},
            id="realtime: modalities, of cached tokens too",
        ),
        pytest.param(
            XAI,
            {"input_tokens": 5689, "cache_read_tokens": 2048, "output_tokens": 444, "reasoning_tokens": 245,
             "server_tools": {"web_search_calls": 2, "num_server_side_tools_used": 2},
             "provider_cost_usd": Decimal("0.0160708500")},
            id="xAI: reasoning is within the output; cost and tools",
        ),
        pytest.param(
            XAI | {"total_tokens": 5689 + 444 + 245},
            {"input_tokens": 5689, "cache_read_tokens": 2048, "output_tokens": 689, "reasoning_tokens": 245,
             "server_tools": {"web_search_calls": 2, "num_server_side_tools_used": 2},
             "provider_cost_usd": Decimal("0.0160708500")},
            id="reasoning beside the output, as the total says",
        ),
        pytest.param(
            {"input_tokens": 11, "input_tokens_details": None, "output_tokens": 56, "output_tokens_details": {}},
            {"input_tokens": 11, "output_tokens": 56},
            id="no details",
        ),
        pytest.param(
            {"input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0},
            {"input_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0},
            id="0 is 0",
        ),
        pytest.param(
            {"prompt_tokens": 5, "completion_tokens": 1537, "total_tokens": 1542, "cost": Decimal("0.03422675"),
             "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 1120}},
            {"input_tokens": 5, "output_tokens": 1537, "reasoning_tokens": 0, "output_image_tokens": 1120,
             "provider_cost_usd": Decimal("0.03422675")},
            id="OpenRouter's images: the usage of chat",
        ),
        pytest.param({"cost_in_usd_ticks": 700000000}, {"provider_cost_usd": Decimal("0.07")}, id="cost only"),
        pytest.param({"something": "else"}, {}, id="nothing known"),
    ],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    reader = UsageReader(raw)
    assert (reported(usage(reader)), reader.warnings) == (expected, [])


@pytest.mark.parametrize(
    ("raw", "expected", "warning"),
    [
        ({"input_tokens": "12"}, {}, "usage.input_tokens is no count"),
        ({"input_tokens": True, "output_tokens": 1}, {"output_tokens": 1}, "usage.input_tokens is no count"),
        ({"output_tokens": -1}, {}, "usage.output_tokens is no count"),
        ({"output_tokens": Decimal("1.5")}, {}, "usage.output_tokens is no count"),
        ({"output_tokens": 1 << 63}, {}, "usage.output_tokens is no count"),
        ({"input_tokens": 1, "input_tokens_details": [5]}, {"input_tokens": 1},
         "usage.input_tokens_details is no object"),
        ({"input_tokens": 1, "input_token_details": {"audio_tokens": "1"}}, {"input_tokens": 1},
         "usage.input_token_details.audio_tokens is no count"),
        ({"input_tokens": 5, "output_tokens": 2, "total_tokens": 100}, {},
         "usage.total_tokens is contradicted by its parts"),
        ({"input_tokens": 5, "output_tokens": 2, "total_tokens": 6}, {},
         "usage.total_tokens is contradicted by its parts"),
        ({"total_tokens": "9", "input_tokens": 1, "output_tokens": 2}, {"input_tokens": 1, "output_tokens": 2},
         "usage.total_tokens is no count"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_reported(raw: dict[str, Any], expected: dict[str, Any], warning: str) -> None:
    reader = UsageReader(raw)
    assert (reported(usage(reader)), reader.warnings) == (expected, [warning])
