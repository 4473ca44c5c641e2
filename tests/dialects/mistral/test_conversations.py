"""Mistral's conversations, whole and event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.mistral.conversations import DIALECT
from metrion.metering.tap import Tap
from metrion.model import EndReason, Reading
from tests.dialects.read import drafted, read_usage

RAW = {
    "prompt_tokens": 188,
    "completion_tokens": 55,
    "total_tokens": 7355,
    "connector_tokens": 7112,
    "connectors": {"web_search": 1, "code_interpreter": 0},
}


def test_what_connectors_say_is_input() -> None:
    expected = {"input_tokens": 7300, "output_tokens": 55, "server_tools": {"web_search": 1}, "averaged": True}
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


def tapped(*documents: dict[str, Any]) -> Reading:
    """What is read of a body, or of the events of a stream."""
    content_type = "application/json" if len(documents) == 1 else "text/event-stream"
    tap = Tap("mistral_conversations", content_type=content_type, content_encoding=None, status=200)
    for document in documents:
        data = json.dumps(document)
        tap.feed((data if len(documents) == 1 else f"event: {document['type']}\ndata: {data}\n\n").encode())
    tap.finish()
    return tap.reading


STARTED = {"type": "conversation.response.started", "conversation_id": "conv_1"}
SAID = {"type": "message.output.delta", "model": "mistral-medium-2505", "content": "usage"}


def test_an_error_ends_a_stream() -> None:
    failed = {"type": "conversation.response.error", "message": "Service tier capacity exceeded.", "code": 3505}
    reading = tapped(STARTED, SAID, failed)
    assert (reading.stream_error, reading.terminal, reading.error_type, reading.usage) == (True, True, "3505", None)


HANDOFF = {"previous_agent_id": "ag_1", "next_agent_id": "ag_2"}


@pytest.mark.parametrize(
    ("documents", "is_sure"),
    [
        ([{"outputs": [{"type": "message.output", "model": "m"}], "usage": RAW}], True),
        ([{"outputs": [HANDOFF | {"type": "agent.handoff"}, {"type": "message.output", "model": "m"}], "usage": RAW}],
         False),
        ([STARTED, SAID, {"type": "conversation.response.done", "usage": RAW}], True),
        ([STARTED, {"type": "agent.handoff.done", "next_agent_id": "ag_2"}, SAID,
          {"type": "conversation.response.done", "usage": RAW}], False),
    ],
)  # fmt: skip
def test_what_several_agents_used_together_has_no_price(documents: list[dict[str, Any]], *, is_sure: bool) -> None:
    reading = tapped(*documents)
    assert reading.usage is not None
    assert reading.usage.input_tokens == 7300
    assert reading.has_final_usage(EndReason.COMPLETE) is is_sure
    assert reading.warnings == (() if is_sure else ("several agents share one usage",))
