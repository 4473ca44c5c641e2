"""Whatever an answer says, no cost is ``computed`` that leaves out a count, a tool or a tier which is in it.

An answer is put together out of things that are billed, in the words of each API; every one of them has to show as a
part of a cost that is computed. What no price covers must leave no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.pricing import PriceBook
from tests.test_no_wrong_number import (
    CHAT,
    MESSAGES,
    NATIVE,
    RESPONSES,
    chat,
    events,
    gemini,
    message,
    metered,
    response,
)

MODEL = """
    m: {input: 1, output: 2, cache_read: 4, cache_write: 8, cache_write_1h: 16, input_audio: 32, output_audio: 64,
        fees: {web_search: 10}, service_tiers: {flex: {input: 0.5, output: 1}}}
"""
ALL = "\n".join(f"{provider}:{MODEL}" for provider in ("openai", "anthropic", "google"))

type Part = tuple[Mapping[str, Any], str | None]
"""What is added to an answer, and the part of its cost that it is; ``None``: no price covers it."""

IN, OUT = "prompt_tokens_details", "completion_tokens_details"
OF_CHAT: tuple[Part, ...] = (
    ({"usage": {IN: {"cached_tokens": 10}}}, "cache_read"),
    ({"usage": {IN: {"cache_creation_tokens": 20}}}, "cache_write"),
    ({"usage": {IN: {"audio_tokens": 30}}}, "input_audio"),
    ({"usage": {OUT: {"audio_tokens": 40}}}, "output_audio"),
    ({"usage": {OUT: {"image_tokens": 50}}}, None),
    ({"usage": {"server_tool_use": {"web_search_requests": 2}}}, "web_search"),
    ({"usage": {"server_tool_use": {"something_else": 1}}}, None),
    ({"service_tier": "scale"}, None),
)
OF_RESPONSES: tuple[Part, ...] = (
    ({"usage": {"input_tokens_details": {"cached_tokens": 10}}}, "cache_read"),
    ({"usage": {"input_tokens_details": {"cache_write_tokens": 20}}}, "cache_write"),
    ({"usage": {"input_tokens_details": {"audio_tokens": 30}}}, "input_audio"),
    ({"usage": {"output_tokens_details": {"image_tokens": 50}}}, None),
    ({"output": [{"type": "web_search_call", "status": "completed"}]}, "web_search"),
    ({"tool_usage": {"something_else": {"num_requests": 1}}}, None),
    ({"service_tier": "priority"}, None),
)
OF_MESSAGES: tuple[Part, ...] = (
    ({"usage": {"cache_read_input_tokens": 10}}, "cache_read"),
    ({"usage": {"cache_creation_input_tokens": 20}}, "cache_write"),
    ({"usage": {"server_tool_use": {"web_search_requests": 1}}}, "web_search"),
    ({"usage": {"server_tool_use": {"something_else": 1}}}, None),
    ({"usage": {"service_tier": "priority"}}, None),
    ({"usage": {"speed": "fast"}}, None),
    ({"usage": {"inference_geo": "us"}}, None),
)
COUNTS = "usageMetadata"
OF_GEMINI: tuple[Part, ...] = (
    ({COUNTS: {"cachedContentTokenCount": 10}}, "cache_read"),
    ({COUNTS: {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}]}}, "input_audio"),
    ({COUNTS: {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 50}]}}, None),
    ({"candidates": [{"groundingMetadata": {"webSearchQueries": ["a"]}}]}, "web_search"),
    ({"candidates": [{"groundingMetadata": {"groundingChunks": [{"maps": {"placeId": "x"}}]}}]}, None),
    ({COUNTS: {"serviceTier": "priority"}}, None),
)

APIS = {
    "chat": (CHAT, chat("m", 500, 500), OF_CHAT),
    "responses": (RESPONSES, response("m", 500, 500), OF_RESPONSES),
    "messages": (MESSAGES, message("m", input_tokens=500, output_tokens=500), OF_MESSAGES),
    "gemini": (NATIVE, gemini("m", 500, 500), OF_GEMINI),
}


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    path: Path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(ALL)
    return PriceBook.load([path])


def merged(answer: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(answer.get(name), dict):
            merged(answer[name], value)
        elif isinstance(value, list) and isinstance(answer.get(name), list) and answer[name]:
            merged(answer[name][0], value[0])
        else:
            answer[name] = value
    return answer


@pytest.mark.parametrize("api", APIS)
@given(data=st.data())
def test_all_that_an_answer_used_shows_in_its_cost(api: str, prices: PriceBook, data: st.DataObject) -> None:
    path, answer, parts = APIS[api]
    chosen = data.draw(st.lists(st.sampled_from(parts), unique_by=lambda part: repr(part[0])))
    answer, due = deepcopy(answer), {"input", "output"}
    for more, part in chosen:
        merged(answer, deepcopy(more))
        due.add(part or "no price")
    streamed = api == "chat" and data.draw(st.booleans())
    body = events({**answer, "choices": [], "object": "chat.completion.chunk"}, b"[DONE]") if streamed else answer
    event = metered(prices, path, body)
    if event.cost_source == "computed":
        assert due - set(event.cost_parts or {}) == set()
    else:
        assert event.cost_usd is None or event.cost_source == "estimated"
        # How much of the sound came from the cache is not told, and sound from the cache has no price.
        assert "no price" in due or {"cache_read", "input_audio"} <= due or event.cost_source == "estimated"
