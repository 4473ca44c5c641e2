"""Streams that end otherwise than they should: without a blank line, with zeros, with an error behind output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.metering.tap import Tap
from metrion.model import Reading, Usage

CHUNK = {"id": "c", "model": "m", "choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]}
CALLED = {"id": "c", "model": "m", "choices": [{"delta": {"tool_calls": [{"function": {"arguments": ""}}]}}]}
ROLE = {"id": "c", "model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]}
CHAT_USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
START = {"type": "message_start", "message": {"id": "m", "model": "claude", "content": [],
         "usage": {"input_tokens": 11, "output_tokens": 1}}}  # fmt: skip
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed",
             "usage": {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16}}}  # fmt: skip
GEMINI = {"modelVersion": "gemini-2.5-flash", "responseId": "r",
          "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
          "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 5, "totalTokenCount": 16}}  # fmt: skip
TEXT = {"type": "response.output_text.delta", "delta": "Hi"}
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress", "usage": None}}
ERROR = {"error": {"type": "server_error", "message": "secret"}}


def sse(*documents: dict[str, Any] | str) -> bytes:
    """The events, the last one without its blank line."""
    return b"\n\n".join(
        (f"event: {document['type']}\n" if isinstance(document, dict) and "type" in document else "").encode()
        + b"data: "
        + (document if isinstance(document, str) else json.dumps(document)).encode()
        for document in documents
    )


def read(dialect: str, body: bytes, size: int = 1 << 20) -> Reading:
    tap = Tap(dialect, content_type="text/event-stream", content_encoding=None, status=200)
    for at in range(0, len(body), size):
        tap.feed(body[at : at + size])
    tap.finish()
    return tap.reading


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
@pytest.mark.parametrize(
    ("dialect", "documents"),
    [
        ("openai_chat", [CHUNK, {"choices": [], "usage": CHAT_USAGE}]),
        ("openai_chat", [CHUNK, {"choices": [], "usage": CHAT_USAGE, "x": "y" * 40_000}]),
        ("openai_chat", [{"choices": [], "usage": CHAT_USAGE}, "[DONE]"]),
        ("openai_responses", [CREATED, COMPLETED]),
        ("gemini", [GEMINI]),
        ("anthropic_messages", [START, BLOCK, DELTA]),
    ],
)
def test_the_last_event_is_read_without_its_blank_line(
    dialect: str, documents: list[Any], size: int, end: bytes
) -> None:
    reading = read(dialect, sse(*documents) + end, size)
    usage = reading.usage or Usage()
    assert (usage.input_tokens, usage.output_tokens, reading.warnings) == (11, 5, ())


@pytest.mark.parametrize("cut", [1, 2, 10, 25])
@pytest.mark.parametrize(
    ("dialect", "documents"),
    [("openai_chat", [CHUNK, {"usage": CHAT_USAGE}]), ("openai_responses", [CREATED, COMPLETED]), ("gemini", [GEMINI])],
)
def test_nothing_is_read_of_a_last_event_that_is_cut(dialect: str, documents: list[Any], cut: int) -> None:
    reading = read(dialect, sse(*documents)[:-cut])
    assert (reading.usage, reading.terminal) == (None, False)


@pytest.mark.parametrize(
    ("dialect", "documents"),
    [
        ("openai_chat", [{**CHUNK, "usage": CHAT_USAGE}, {"choices": [], "usage": dict.fromkeys(CHAT_USAGE, 0)}]),
        ("anthropic_messages", [START, DELTA | {"usage": {"input_tokens": 0, "output_tokens": 5}}]),
        ("anthropic_messages", [START, DELTA, {"type": "message_delta", "usage": {"output_tokens": 0}}]),
        ("gemini", [GEMINI, {"usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0}}]),
        ("gemini", [GEMINI, {"usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11}}]),
    ],
)
def test_a_last_event_of_zeros_does_not_win(dialect: str, documents: list[Any]) -> None:
    usage = read(dialect, sse(*documents)).usage or Usage()
    assert (usage.input_tokens, usage.output_tokens) == (11, 5)


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    ("dialect", "documents", "has_output"),
    [
        ("openai_chat", [CHUNK, ERROR], True),
        ("openai_chat", [CALLED, ERROR], True),
        ("openai_chat", [ROLE, ERROR], False),
        ("openai_chat", [ERROR], False),
        ("openai_chat", [{"id": "c", "choices": [{"text": " a"}]}, ERROR], True),
        ("openai_responses", [CREATED, TEXT, {"type": "error", "code": "x", "message": "y"}], True),
        ("openai_responses", [CREATED, {"type": "error", "code": "x", "message": "y"}], False),
        ("openai_responses", [CREATED, TEXT, {"type": "response.failed", "response": {"status": "failed"}}], True),
        ("anthropic_messages", [START, BLOCK, {"type": "error", **ERROR}], True),
        ("anthropic_messages", [START, {"type": "error", **ERROR}], False),
        ("gemini", [{"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}, ERROR], True),
        ("gemini", [ERROR], False),
        ("mistral_conversations", [{"type": "message.output.delta", "content": "Hi"},
                                   {"type": "conversation.response.error", "code": 3}], True),
    ],
)  # fmt: skip
def test_whether_there_was_output_before_an_error(
    dialect: str, documents: list[Any], size: int, *, has_output: bool
) -> None:
    reading = read(dialect, sse(*documents) + b"\n\n", size)
    assert (reading.stream_error, reading.has_output) == (True, has_output)


def test_output_in_an_array_is_seen() -> None:
    tap = Tap("gemini", content_type="application/json", content_encoding=None, status=200)
    for byte in json.dumps([GEMINI, ERROR]).encode():
        tap.feed(bytes([byte]))
    tap.finish()
    assert tap.reading.has_output
