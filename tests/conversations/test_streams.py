"""A stream gives the document that the same answer would have been without streaming."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.conversations.streams import joined


def called(call: dict[str, Any]) -> dict[str, Any]:
    return {"model": "gpt", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


ANTHROPIC: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"model": "claude", "role": "assistant", "content": [], "usage": {"input_tokens": 9}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m."}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "add", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a"'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]  # fmt: skip
CHAT: list[dict[str, Any]] = [
    {"model": "gpt", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"model": "gpt", "choices": [{"index": 0, "delta": {"content": "Hel"}}]},
    {"model": "gpt", "choices": [{"index": 0, "delta": {"content": "lo"}}, {"index": 1, "delta": {"content": "Hi"}}]},
    called({"index": 0, "id": "c", "function": {"name": "add", "arguments": ""}}),
    called({"index": 0, "function": {"arguments": "{}"}}),
    {"model": "gpt", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"model": "gpt", "choices": [], "usage": {"total_tokens": 3}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "document"),
    [
        (
            ANTHROPIC,
            {
                "model": "claude",
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hmm."},
                    {"type": "tool_use", "id": "t", "name": "add", "input": '{"a": 1}'},
                ],
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 9, "output_tokens": 7},
            },
        ),
        (
            CHAT,
            {
                "model": "gpt",
                "usage": {"total_tokens": 3},
                "choices": [
                    {
                        "message": {
                            "role": "assistant",
                            "content": "Hello",
                            "tool_calls": [{"id": "c", "function": {"name": "add", "arguments": "{}"}}],
                        },
                        "finish_reason": "stop",
                    },
                    {"message": {"content": "Hi"}},
                ],
            },
        ),
        (
            [
                {"candidates": [{"content": {"role": "model", "parts": [{"text": "Oh", "thought": True}]}}]},
                {"candidates": [{"content": {"role": "model", "parts": [{"text": "The "}]}}]},
                {"candidates": [{"content": {"parts": [{"text": "Ebro."}]}, "finishReason": "STOP"}]},
                {"modelVersion": "g"},
            ],
            {
                "modelVersion": "g",
                "candidates": [
                    {
                        "content": {"role": "model", "parts": [{"text": "Oh", "thought": True}, {"text": "The Ebro."}]},
                        "finishReason": "STOP",
                    }
                ],
            },
        ),
        (
            [
                {"type": "response.created", "response": {"model": "gpt", "output": []}},
                {"type": "response.output_text.delta", "output_index": 0, "delta": "On"},
                {"type": "response.output_text.delta", "output_index": 0, "delta": "ce"},
            ],
            {"model": "gpt", "output": [{"type": "message", "content": "Once"}]},
        ),
        (
            [
                {"type": "message.output.delta", "output_index": 0, "role": "assistant", "model": "m", "content": "He"},
                {"type": "message.output.delta", "output_index": 0, "content": "y"},
                {"type": "conversation.response.done", "usage": {"total_tokens": 1}},
            ],
            {
                "usage": {"total_tokens": 1},
                "outputs": [{"type": "message.output", "role": "assistant", "model": "m", "content": "Hey"}],
            },
        ),
        (
            [
                {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking", "thinking": ["Hm"]}]}}]},
                {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking", "thinking": ["m."]}]}}]},
                {"choices": [{"index": 0, "delta": {"content": "4"}}]},
                {"choices": [{"index": 0, "delta": {"content": "2"}}]},
            ],
            {"choices": [{"message": {"content": [{"type": "thinking", "thinking": ["Hm", "m."]}, "42"]}}]},
        ),
        (
            [
                {"type": "message_start", "message": {}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "One."}},
                {"type": "message_start", "message": {}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Two."}},
            ],
            {"content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]},
        ),
        ([{"error": {"message": "no"}}], {"error": {"message": "no"}}),
    ],
    ids=["anthropic", "chat", "google", "responses", "mistral", "thinking in parts", "two messages", "error"],
)  # fmt: skip
def test_the_document_of_a_stream(events: list[Any], document: dict[str, Any]) -> None:
    assert joined(events) == document


@pytest.mark.parametrize("events", [[], [1, None, "x", []], [{"type": "ping"}], [{"object": "list"}]])
def test_events_of_no_known_format(events: list[Any]) -> None:
    assert joined(events) is None


@pytest.mark.parametrize("whole", [ANTHROPIC, CHAT])
def test_a_stream_that_is_cut_off_gives_what_there_is(whole: list[Any]) -> None:
    for end in range(1, len(whole)):
        assert isinstance(joined(whole[:end]), dict)


@pytest.mark.parametrize("wrong", [None, 1, "x", [], {}, [None], {"index": "x"}, [[{}]]])
def test_members_of_a_wrong_type_raise_nothing(wrong: Any) -> None:
    for event in (*ANTHROPIC, *CHAT):
        for name in event:
            joined([{**event, name: wrong}, *ANTHROPIC])
            joined([{**event, name: wrong}, *CHAT])
    for event in (
        {"candidates": wrong},
        {"candidates": [{"content": wrong}]},
        {"type": "response.x.delta", "delta": wrong},
    ):
        joined([event])
