"""Interactions, whole and event by event."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects.google.interactions import DIALECT
from tests.dialects.read import drafted, read_documents, read_usage

RAW = {
    "total_tokens": 229, "total_input_tokens": 9, "total_cached_tokens": 0, "total_output_tokens": 13,
    "total_tool_use_tokens": 0, "total_thought_tokens": 207, "raw_prompt_token": 33,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 9}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            RAW,
            {"input_tokens": 9, "cache_read_tokens": 0, "output_tokens": 220, "reasoning_tokens": 207},
            id="as recorded",
        ),
        pytest.param(
            {"total_input_tokens": 100, "total_tool_use_tokens": 50, "total_output_tokens": 1300,
             "total_cached_tokens": 30,
             "input_tokens_by_modality": [{"modality": "audio", "tokens": 60}, {"modality": "image", "tokens": 20}],
             "tool_use_tokens_by_modality": [{"modality": "document", "tokens": 50}],
             "cached_tokens_by_modality": [{"modality": "audio", "tokens": 30}],
             "output_tokens_by_modality": [{"modality": "image", "tokens": 1290}, {"modality": "text", "tokens": 10}]},
            {"input_tokens": 150, "cache_read_tokens": 30, "output_tokens": 1300, "input_audio_tokens": 60,
             "input_image_tokens": 70, "output_image_tokens": 1290, "cache_read_audio_tokens": 30,
             "cache_read_image_tokens": 0},
            id="modalities",
        ),
    ],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_usage(DIALECT, raw) == (expected, [])


def test_a_stream_tells_its_usage_when_it_is_completed() -> None:
    begun = {"id": "v1_a", "model": "gemini-3-flash-preview", "status": "in_progress"}
    done = {**begun, "status": "completed", "service_tier": "standard", "usage": RAW}
    events: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": begun},
        {"event_type": "interaction.status_update", "interaction_id": "v1_a", "status": "in_progress"},
        {"event_type": "step.delta", "delta": {"text": "usage"}},
    ]
    draft = drafted(DIALECT, *events)
    assert (draft.usage, draft.finish_reason, draft.pending) == (None, None, False)
    draft = drafted(DIALECT, *events, {"event_type": "interaction.completed", "interaction": done})
    assert draft.usage == RAW
    assert (draft.model, draft.generation_id, draft.finish_reason, draft.service_tier, draft.pending) == (
        "gemini-3-flash-preview", "v1_a", "completed", "standard", False,
    )  # fmt: skip


@pytest.mark.parametrize(("status", "pending"), [("in_progress", True), ("completed", False), (None, False)])
def test_a_background_interaction_is_pending(status: str | None, *, pending: bool) -> None:
    assert drafted(DIALECT, {"id": "v1_a", "agent": "deep-research", "status": status}).pending is pending


@pytest.mark.parametrize(
    ("model", "counts", "tools"),
    [
        ("gemini-3-flash-preview", [("google_search", 3), ("google_maps", 1)], {"google_search": 3, "google_maps": 1}),
        ("gemini-2.5-flash", [("google_search", 3)], {"google_search": 1}),
        ("gemini-3-flash-preview", [("google_search", 0)], {}),
    ],
)
def test_searches_are_counted_as_they_are_billed(
    model: str, counts: list[tuple[str, int]], tools: dict[str, int]
) -> None:
    told = [{"type": name, "count": count} for name, count in counts]
    document = {"model": model, "usage": {**RAW, "grounding_tool_count": told}}
    found = read_documents(DIALECT, document)
    assert (found["server_tools"], found.get("unreported_tools")) == (tools, None)
