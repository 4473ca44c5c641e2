"""Usages that cannot be trusted, from the body to the reading: no cost is computed, and a warning names the path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.metering.tap import Tap
from metrion.model import Reading, Usage


def read(dialect: str, body: dict[str, Any]) -> Reading:
    tap = Tap(dialect, content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps(body).encode())
    tap.finish()
    return tap.reading


def chat(**usage: Any) -> tuple[str, dict[str, Any]]:
    return "openai_chat", {"model": "m", "choices": [{"finish_reason": "stop"}], "usage": usage}


def response(**usage: Any) -> tuple[str, dict[str, Any]]:
    return "openai_responses", {"model": "m", "status": "completed", "usage": usage}


def message(**usage: Any) -> tuple[str, dict[str, Any]]:
    return "anthropic_messages", {"type": "message", "model": "m", "stop_reason": "end_turn", "usage": usage}


TOTAL = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
SUM = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}


@pytest.mark.parametrize(
    ("answer", "unknown", "known", "path"),
    [
        (chat(**TOTAL, prompt_tokens_details={"cached_tokens": 5000}), {"cache_read_tokens"}, {"input_tokens": 10},
         "usage.cache_read_tokens"),
        (chat(prompt_tokens=10, completion_tokens=20, prompt_tokens_details={"cached_tokens": 5000}),
         {"cache_read_tokens", "input_tokens"}, {"output_tokens": 20}, "usage.cache_read_tokens"),
        (chat(**TOTAL, completion_tokens_details={"reasoning_tokens": 500}), {"reasoning_tokens"},
         {"output_tokens": 20}, "usage.reasoning_tokens"),
        (chat(**TOTAL, prompt_tokens_details={"audio_tokens": 11}), {"input_audio_tokens"}, {"input_tokens": 10},
         "usage.input_audio_tokens"),
        (chat(**TOTAL, prompt_tokens_details={"audio_tokens": 6, "image_tokens": 6}),
         {"input_audio_tokens", "input_image_tokens"}, {"input_tokens": 10}, "usage.input_audio_tokens"),
        (chat(**TOTAL, completion_tokens_details={"audio_tokens": 21}), {"output_audio_tokens"}, {"output_tokens": 20},
         "usage.output_audio_tokens"),
        (chat(**TOTAL | {"total_tokens": 31}), {"input_tokens", "output_tokens"}, {}, "usage.total_tokens"),
        (response(**SUM, input_tokens_details={"cached_tokens": 11}), {"cache_read_tokens"}, {"input_tokens": 10},
         "usage.cache_read_tokens"),
        (response(**SUM, output_tokens_details={"reasoning_tokens": 21}), {"reasoning_tokens"}, {"output_tokens": 20},
         "usage.reasoning_tokens"),
        (response(**SUM | {"total_tokens": 29}), {"input_tokens", "output_tokens"}, {}, "usage.total_tokens"),
        (message(input_tokens=10, output_tokens=20, output_tokens_details={"thinking_tokens": 21}),
         {"output_tokens", "reasoning_tokens"}, {"input_tokens": 10}, "usage.reasoning_tokens"),
        (message(input_tokens=10, output_tokens=20, cache_creation_input_tokens=10_000,
                 cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}),
         {"cache_write_1h_tokens"}, {"input_tokens": 10_010, "cache_write_tokens": 10_000},
         "usage.cache_creation.ephemeral_5m_input_tokens"),
        (message(input_tokens=10, output_tokens=20, fallback_credit={"status": {"type": "redeemed"}}), set(),
         {"input_tokens": 10, "output_tokens": 20}, "usage.input_tokens"),
        (("openai_audio", {"text": "", "usage": SUM | {"total_tokens": 99}}), {"input_tokens", "output_tokens"}, {},
         "usage.total_tokens"),
        (("gemini_interactions", {"model": "m", "status": "completed", "usage": {
            "total_input_tokens": 1, "total_output_tokens": 2, "total_tokens": 9}}),
         {"input_tokens", "output_tokens"}, {}, "usage.total_tokens"),
        (("mistral_conversations", {"conversation_id": "c", "outputs": [], "usage": TOTAL | {"total_tokens": 99}}),
         {"input_tokens", "output_tokens"}, {}, "usage.total_tokens"),
        (("openai_embeddings", {"object": "list", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 8}}),
         {"input_tokens"}, {}, "usage.total_tokens"),
    ],
)  # fmt: skip
def test_what_is_contradicted_is_unknown(
    answer: tuple[str, dict[str, Any]], unknown: set[str], known: dict[str, int], path: str
) -> None:
    reading = read(*answer)
    usage = reading.usage or Usage()
    assert reading.doubtful
    assert reading.warnings[0].startswith(f"{path} is contradicted by ")
    assert {name: getattr(usage, name) for name in unknown} == dict.fromkeys(unknown)
    assert {name: getattr(usage, name) for name in known} == known
    assert usage.raw == json.dumps(answer[1]["usage"])


@pytest.mark.parametrize(
    "answer",
    [
        chat(**TOTAL, prompt_tokens_details={"cached_tokens": 10, "audio_tokens": 10}),
        chat(**TOTAL | {"total_tokens": 50}, completion_tokens_details={"reasoning_tokens": 20}),
        response(**SUM, input_tokens_details={"cached_tokens": 10}, output_tokens_details={"reasoning_tokens": 20}),
        message(input_tokens=10, output_tokens=20, cache_creation_input_tokens=100,
                cache_creation={"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}),
        message(input_tokens=10, output_tokens=20,
                fallback_credit={"status": {"type": "not_applied", "reason": "expired"}}),
        message(input_tokens=10, output_tokens=20, fallback_credit=None),
    ],
)  # fmt: skip
def test_what_agrees_is_no_doubt(answer: tuple[str, dict[str, Any]]) -> None:
    reading = read(*answer)
    assert (reading.doubtful, reading.warnings) == (False, ())


def test_a_count_that_two_explanations_fit_is_a_doubt() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 20}, "completion_tokens_details": {"reasoning_tokens": 20}}
    assert read(*chat(prompt_tokens=30, completion_tokens=40, total_tokens=90, **details)).doubtful
    certain = read(*chat(prompt_tokens=30, completion_tokens=10, total_tokens=60, **details))
    assert certain.usage is not None
    assert (certain.usage.input_tokens, certain.usage.output_tokens, certain.doubtful) == (30, 30, False)
