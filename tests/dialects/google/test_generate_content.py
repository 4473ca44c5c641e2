"""Answers of Gemini, whole and chunk by chunk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.google.generate_content import DIALECT
from metrion.dialects.reading.usage_check import check
from metrion.metering.tap import Tap
from tests.dialects.read import drafted, read_usage


def details(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items()]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            {"promptTokenCount": 440, "promptTokensDetails": details(TEXT=341), "thoughtsTokenCount": 27,
             "toolUsePromptTokenCount": 86, "toolUsePromptTokensDetails": details(TEXT=86),
             "candidatesTokenCount": 5, "candidatesTokensDetails": details(TEXT=5), "totalTokenCount": 558},
            {"input_tokens": 526, "output_tokens": 32, "reasoning_tokens": 27},
            id="thoughts are output, what tools say is input",
        ),
        pytest.param(
            {"promptTokenCount": 3297, "promptTokensDetails": details(TEXT=83, VIDEO=2893, AUDIO=321),
             "cachedContentTokenCount": 2918, "cacheTokensDetails": details(AUDIO=284, TEXT=73, VIDEO=2561)},
            {"input_tokens": 3297, "cache_read_tokens": 2918, "input_audio_tokens": 321, "input_video_tokens": 2893,
             "cache_read_audio_tokens": 284, "cache_read_image_tokens": 0},
            id="modalities of the prompt and of the cache",
        ),
        pytest.param(
            {"promptTokenCount": 345, "promptTokensDetails": details(TEXT=87, DOCUMENT=200, IMAGE=58),
             "cachedContentTokenCount": 230, "cacheTokensDetails": details(DOCUMENT=172)},
            {"input_tokens": 345, "cache_read_tokens": 230, "input_image_tokens": 258, "cache_read_image_tokens": 172},
            id="documents are images; an incomplete split says nothing of the rest",
        ),
        pytest.param(
            {"promptTokenCount": 9, "candidatesTokenCount": 1290, "candidatesTokensDetails": details(IMAGE=1290)},
            {"input_tokens": 9, "output_tokens": 1290, "output_image_tokens": 1290},
            id="an image",
        ),
        pytest.param(
            {"promptTokenCount": 100, "candidatesTokenCount": 20,
             "promptTokensDetails": [{"modality": 1, "tokenCount": 40}, {"modality": 2, "tokenCount": 30},
                                     {"modality": 3, "tokenCount": 10}, {"modality": 4, "tokenCount": 15},
                                     {"modality": 5, "tokenCount": 5}],
             "candidatesTokensDetails": [{"modality": 1, "tokenCount": 20}]},
            {"input_tokens": 100, "output_tokens": 20, "input_image_tokens": 35, "input_video_tokens": 10,
             "input_audio_tokens": 15},
            id="enums as numbers",
        ),
        pytest.param(
            {"promptTokenCount": 4, "promptTokenDetails": details(TEXT=1, IMAGE=3)},
            {"input_tokens": 4, "input_image_tokens": 3},
            id="embeddings spell the details otherwise",
        ),
        pytest.param({"promptTokenCount": 8, "totalTokenCount": 8}, {"input_tokens": 8}, id="nothing was generated"),
        pytest.param(
            {"promptTokenCount": 8, "promptTokensDetails": [{"modality": "AUDIO"}, {"modality": "TEXT"}]},
            {"input_tokens": 8},
            id="a count that is left out is not reported",
        ),
        pytest.param(
            {"promptTokenCount": 0, "candidatesTokenCount": 0, "cachedContentTokenCount": 0},
            {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0},
            id="0 is 0",
        ),
        pytest.param({"promptTokenCount": None, "promptTokensDetails": None}, {}, id="null is not reported"),
    ],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_usage(DIALECT, raw) == (expected, [])


@pytest.mark.parametrize(
    ("raw", "expected", "warning"),
    [
        ({"promptTokenCount": "8", "toolUsePromptTokenCount": 2}, {}, "usage.promptTokenCount is no count"),
        ({"promptTokenCount": 8, "toolUsePromptTokenCount": -2}, {}, "usage.toolUsePromptTokenCount is no count"),
        ({"candidatesTokenCount": 8, "thoughtsTokenCount": 1.5}, {}, "usage.thoughtsTokenCount is no count"),
        ({"promptTokensDetails": {"TEXT": 1}}, {}, "usage.promptTokensDetails is no array"),
        ({"promptTokensDetails": [5]}, {}, "usage.promptTokensDetails.* is no object"),
        ({"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": "5"}]}, {},
         "usage.promptTokensDetails.*.tokenCount is no count"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_reported(raw: dict[str, Any], expected: dict[str, Any], warning: str) -> None:
    assert read_usage(DIALECT, raw) == (expected, [warning])


def chunk(model: str = "gemini-2.5-flash", reason: object = None, **members: Any) -> dict[str, Any]:
    return {"modelVersion": model, "responseId": "r1", "candidates": [{"finishReason": reason}], **members}


def grounded(model: str, *queries: str) -> dict[str, Any]:
    return {
        "modelVersion": model,
        "candidates": [{"groundingMetadata": {"webSearchQueries": list(queries), "groundingChunks": [{"web": {}}]}}],
    }


def test_the_latest_totals_count_and_a_chunk_without_any_erases_nothing() -> None:
    draft = drafted(
        DIALECT,
        chunk(usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 7}),
        chunk(usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 5, "serviceTier": "flex"}),
        chunk(reason="STOP"),
        chunk(usageMetadata={"trafficType": "ON_DEMAND_FLEX"}),
        chunk(usageMetadata=None),
    )
    assert draft.usage == {"promptTokenCount": 9, "candidatesTokenCount": 5, "serviceTier": "flex"}
    assert (draft.model, draft.generation_id, draft.finish_reason) == ("gemini-2.5-flash", "r1", "STOP")
    assert draft.service_tier == "ON_DEMAND_FLEX"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (chunk(reason=1), "STOP"),
        (chunk(reason=2), "MAX_TOKENS"),
        (chunk(reason=7), "7"),
        (chunk(reason=0), None),
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
        ({"candidates": [5, {"finishReason": ["STOP"]}], "promptFeedback": 5}, None),
    ],
)
def test_why_it_ended(document: dict[str, Any], reason: str | None) -> None:
    assert drafted(DIALECT, document).finish_reason == reason


@pytest.mark.parametrize(("traffic", "tier"), [(1, "ON_DEMAND"), (2, "PROVISIONED_THROUGHPUT"), (4, "ON_DEMAND_FLEX"),
                                               ("ON_DEMAND_PRIORITY", "ON_DEMAND_PRIORITY"), (0, None)])  # fmt: skip
def test_tiers_of_vertex(traffic: object, tier: str | None) -> None:
    assert drafted(DIALECT, chunk(usageMetadata={"trafficType": traffic})).service_tier == tier


@pytest.mark.parametrize(
    ("documents", "tools"),
    [
        ([grounded("gemini-2.5-flash", "a", "b")], {"google_search": 1}),
        ([grounded("gemini-2.0-flash", "a"), grounded("gemini-2.0-flash", "b")], {"google_search": 1}),
        ([grounded("gemini-3-pro-preview", "", "a", "b", "a")], {"google_search": 2}),
        ([grounded("gemini-3.5-flash", "a"), grounded("gemini-3.5-flash", "a", "b")], {"google_search": 2}),
        ([grounded("publishers/google/models/gemini-2.5-pro", "a", "b")], {"google_search": 1}),
        ([grounded("gemini-3-flash", "")], {}),
        ([grounded("gemini-3-flash")], {}),
        ([{"candidates": [{"groundingMetadata": {"groundingChunks": [{"web": {}}, {"maps": {"placeId": "p"}}]}}]}],
         {"google_maps": 1}),
        ([{"candidates": [{"groundingMetadata": {"groundingChunks": [{"maps": None}, {"maps": 5}]}}]}], {}),
        ([{"candidates": [{"groundingMetadata": {"groundingChunks": [{"maps": {"uri": "u"}}]}}]}], {"google_maps": 1}),
        ([{"modelVersion": "gemini-3.1-flash-image", "candidates": [{"groundingMetadata": {
            "webSearchQueries": ["a"], "imageSearchQueries": ["a", "b", "", "b"]}}]}], {"google_search": 3}),
        ([{"candidates": [{"groundingMetadata": {"webSearchQueries": [5, None]}}, {"groundingMetadata": 7}]}], {}),
    ],
)  # fmt: skip
def test_searches_are_counted_as_they_are_billed(documents: list[dict[str, Any]], tools: dict[str, int]) -> None:
    assert drafted(DIALECT, *documents).unreported_tools == tools


@pytest.mark.parametrize(
    ("model", "billed", "tools"),
    [
        ("gemini-3-flash", [{"tool": "GOOGLE_SEARCH_RETRIEVAL", "successfulToolCallCount": 2}], {"google_search": 2}),
        ("gemini-3-flash", [{"tool": "google_search", "successfulToolCallCount": 1},
                            {"tool": "GOOGLE_MAPS", "successfulToolCallCount": 3}],
         {"google_search": 1, "google_maps": 3}),
        ("gemini-2.5-flash", [{"tool": "google_search", "successfulToolCallCount": 2}], {"google_search": 1}),
        ("gemini-3-flash", [{"tool": "NEW_TOOL", "successfulToolCallCount": 1}], {"new_tool": 1}),
        ("gemini-3-flash", [{"tool": "google_search", "successfulToolCallCount": 0}, {"tool": "x"}], {}),
    ],
)  # fmt: skip
def test_calls_that_the_usage_says_are_billed_are_not_counted_twice(
    model: str, billed: list[dict[str, Any]], tools: dict[str, int]
) -> None:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 1, "billedToolCalls": billed}
    body = grounded(model, "a", "b") | {"usageMetadata": usage}
    tap = Tap("gemini", content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(body).encode())
    found = tap.reading.usage
    assert found is not None
    assert found.server_tools == tools
    assert (found.unreported_tools is None) is ("google_search" in tools)


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({"totalTokenCount": 30}, (10, 20)),
        ({"totalTokenCount": 29}, (10, 20)),
        ({"totalTokenCount": 45}, (None, None)),
        ({"totalTokenCount": 10}, (None, None)),
        ({"totalTokenCount": 35, "toolUsePromptTokenCount": 5}, (15, 20)),
        ({"totalTokenCount": 35, "thoughtsTokenCount": 5}, (10, 25)),
        ({"cachedContentTokenCount": 11, "totalTokenCount": 30}, (10, 20)),
        ({"cachedContentTokenCount": 11}, (None, 20)),
    ],
)
def test_a_total_that_its_parts_do_not_explain_is_a_doubt(more: dict[str, int], counts: tuple[int | None, ...]) -> None:
    raw = {"promptTokenCount": 10, "candidatesTokenCount": 20, **more}
    checked = check(raw, DIALECT)
    assert (checked.usage.input_tokens, checked.usage.output_tokens) == counts
    assert checked.usage.cache_read_tokens is None
    assert checked.is_doubtful is (None in counts or "cachedContentTokenCount" in more)


def test_what_the_usage_does_not_count_stays_apart() -> None:
    body = grounded("gemini-3-pro-preview", "a", "b") | {"usageMetadata": {"promptTokenCount": 9}}
    tap = Tap("gemini", content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(body).encode())
    usage = tap.reading.usage
    assert usage is not None
    assert (usage.input_tokens, usage.server_tools, usage.unreported_tools) == (9, None, {"google_search": 2})
