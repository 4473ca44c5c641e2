"""Sessions with Gemini's Live API, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.google.live import LiveReader
from metrion.model import Reading
from tests.corpus import at_least, sessions
from tests.dialects.read import reported

SETUP = b'{"setup": {"model": "models/gemini-2.5-flash-native-audio-latest", "tools": []}}'
TURN = {
    "serverContent": {"turnComplete": True},
    "usageMetadata": {
        "promptTokenCount": 1251,
        "responseTokenCount": 63,
        "totalTokenCount": 1314,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1250}, {"modality": "AUDIO", "tokenCount": 1}],
        "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 3}, {"modality": "AUDIO", "tokenCount": 60}],
        "thoughtsTokenCount": 28,
        "toolUsePromptTokenCount": 10,
    },
}


def message(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def received(reader: LiveReader, document: dict[str, Any]) -> Reading:
    reading = reader.received(message(document))
    assert reading is not None
    return reading


def test_each_turn_is_billed_by_itself() -> None:
    reader = LiveReader()
    reader.sent(SETUP)
    assert reader.received(b'{"setupComplete": {}}') is None
    assert reader.received(b'{"serverContent": {"modelTurn": {"parts": []}}}') is None
    reading = received(reader, TURN)
    assert reading.usage is not None
    assert reported(reading.usage) == {
        "input_tokens": 1261, "output_tokens": 91, "reasoning_tokens": 28, "input_audio_tokens": 1,
        "output_audio_tokens": 60, "raw": json.dumps(TURN["usageMetadata"]),
    }  # fmt: skip
    assert (reading.model, reading.finish_reason, reading.terminal) == (
        "models/gemini-2.5-flash-native-audio-latest", "turn_complete", True,
    )  # fmt: skip
    reader.sent(b'{"realtime_input": {"text": "\\"setup\\": {\\"model\\": \\"other\\"}"}}')
    second = received(reader, {"usageMetadata": {"promptTokenCount": 2000, "serviceTier": "standard"}})
    assert (second.model, second.service_tier, second.finish_reason) == (reading.model, "standard", None)
    assert second.usage is not None
    assert (second.usage.input_tokens, second.usage.output_tokens) == (2000, None)


def test_searches_of_a_turn_are_billed_with_it() -> None:
    reader = LiveReader("gemini-3.1-flash-live-preview")
    grounded = {"serverContent": {"groundingMetadata": {"webSearchQueries": ["a", "b", "", "a"]}}}
    assert reader.received(message(grounded)) is None
    first, second = received(reader, TURN), received(reader, TURN)
    assert first.usage is not None
    assert second.usage is not None
    assert (first.usage.unreported_tools, second.usage.unreported_tools) == ({"google_search": 2}, None)
    assert first.usage.server_tools is None


@pytest.mark.parametrize(
    "junk",
    [b"", b"usageMetadata", b'{"usageMetadata"', b'{"usageMetadata": {}}', b"\xff" * 9,
     b'[{"usageMetadata": {"promptTokenCount": 1}}]', b'{"usageMetadata": {"trafficType": "ON_DEMAND"}}'],
)  # fmt: skip
def test_junk_is_passed_over(junk: bytes) -> None:
    reader = LiveReader()
    reader.sent(junk)
    assert reader.received(junk) is None
    assert received(reader, TURN).model is None


@pytest.mark.parametrize(
    ("broken", "tokens", "warning"),
    [
        (b'{"usageMetadata": 5}', None, "usageMetadata is no object"),
        (b'{"usageMetadata": {"promptTokenCount": 9, "responseTokenCount": "5"}}', (9, None),
         "usage.responseTokenCount is no count"),
        (b'{"usageMetadata": {"promptTokenCount": 9, "responseTokenCount": 5}, "serverContent": {', (9, 5),
         "a message is no JSON"),
        (b'{"usageMetadata": {"responseTokenCount": 9223372036854775807, "thoughtsTokenCount": 1}}', (None, None),
         "the sum for output_tokens is no count"),
    ],
)  # fmt: skip
def test_a_turn_whose_usage_cannot_be_read_is_billed_all_the_same(
    broken: bytes, tokens: tuple[int | None, int | None] | None, warning: str
) -> None:
    reader = LiveReader()
    reading = reader.received(broken)
    assert reading is not None
    assert (reading.usage and (reading.usage.input_tokens, reading.usage.output_tokens)) == tokens
    assert reading.warnings == (warning,)
    assert reading.doubtful or reading.cut_short
    assert received(reader, TURN).warnings == ()


def test_a_turn_without_its_input_has_no_cost() -> None:
    assert received(LiveReader(), {"usageMetadata": {"responseTokenCount": 1}}).doubtful
    assert not received(LiveReader(), {"usageMetadata": {"promptTokenCount": 1}}).doubtful  # 0 is left out


def test_a_count_that_is_none_is_a_warning() -> None:
    reading = received(LiveReader(), {"usageMetadata": {"promptTokenCount": "5", "responseTokenCount": 1}})
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (None, 1)
    assert reading.warnings == ("usage.promptTokenCount is no count",)


def test_recorded_sessions() -> None:
    turns = 0
    for session in sessions({"google"}):
        reader, readings = LiveReader(), list[Reading]()
        for frame in session["frames"]:
            data = message(frame["data"])
            if frame["dir"] == "sent":
                reader.sent(data)
            elif reading := reader.received(data):
                readings.append(reading)
        setup = session["frames"][0]["data"]["setup"]
        expected = [
            (setup["model"], turn["input"] + turn["tool"], turn["output"] + turn["thoughts"], turn["thoughts"])
            for turn in session["expected"]["totals"]["per_event"]
        ]
        read = [(each.model, each.usage) for each in readings]
        assert [
            (model, usage.input_tokens, usage.output_tokens or 0, usage.reasoning_tokens or 0)
            for model, usage in read
            if usage
        ] == expected, session["id"]
        turns += len(expected)
    assert turns >= at_least(8, 2)
