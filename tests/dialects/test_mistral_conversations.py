"""Mistral's conversations, whole and event by event."""

from __future__ import annotations

from metrion.dialects.mistral_conversations import DIALECT
from tests.dialects.reading import drafted, read_usage

RAW = {
    "prompt_tokens": 188,
    "completion_tokens": 55,
    "total_tokens": 7355,
    "connector_tokens": 7112,
    "connectors": {"web_search": 1, "code_interpreter": 0},
}


def test_what_connectors_say_is_input() -> None:
    expected = {"input_tokens": 7300, "output_tokens": 55, "server_tools": {"web_search": 1}}
    assert read_usage(DIALECT, RAW) == (expected, [])
    without = {"prompt_tokens": 3, "completion_tokens": 2, "connector_tokens": None, "connectors": None}
    assert read_usage(DIALECT, without) == ({"input_tokens": 3, "output_tokens": 2}, [])
    broken = {"prompt_tokens": 3, "connector_tokens": "1"}
    assert read_usage(DIALECT, broken) == ({}, ["usage.connector_tokens is no count"])


def test_whole_and_streamed() -> None:
    outputs = [{"type": "tool.execution"}, {"type": "message.output", "model": "mistral-medium-2505"}]
    whole = drafted(DIALECT, {"conversation_id": "conv_1", "outputs": outputs, "usage": RAW})
    streamed = drafted(
        DIALECT,
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        {"type": "message.output.delta", "model": "mistral-medium-2505", "content": "usage"},
        {"type": "conversation.response.done", "usage": RAW},
    )
    for draft in (whole, streamed):
        assert (draft.model, draft.generation_id, draft.usage) == ("mistral-medium-2505", "conv_1", RAW)
