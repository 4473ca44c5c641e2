"""Realtime sessions, recorded and made up: what each message of them bills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.realtime import FORMAT, RealtimeReader
from metrion.dialects.reading.usage_check import check
from metrion.model import Reading, Usage
from tests.corpus import at_least, sessions
from tests.dialects.read import reported

OTHERS = {"google"}
"""Their sessions speak another format."""

TOTALS = {
    "input_tokens_total": "input_tokens",
    "output_tokens_total": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}


def recorded() -> list[dict[str, Any]]:
    return [session for session in sessions() if session["provider"] not in OTHERS]


def readings(session: dict[str, Any]) -> Iterator[Reading]:
    reader = RealtimeReader()
    for frame in session["frames"]:
        message = json.dumps(frame["data"]).encode()
        if frame["dir"] == "sent":
            reader.sent(message)
        elif (reading := reader.received(message)) is not None:
            yield reading


def test_every_recorded_session_bills_what_an_independent_parser_counts() -> None:
    for session in recorded():
        found, expected = list(readings(session)), session["expected"]
        usages = [reading.usage or Usage() for reading in found]
        assert [json.loads(usage.raw or "null") for usage in usages] == [
            event["usage"] for event in expected["usage_events"]
        ], session["id"]
        responses = [
            usage
            for usage, event in zip(usages, expected["usage_events"], strict=True)
            if event["type"] == "response.done"
        ]
        totals = {ours: sum(getattr(usage, name) or 0 for usage in responses) for ours, name in TOTALS.items()}
        assert {"responses": len(responses), **totals} == expected["totals"], session["id"]
        for reading, event in zip(found, expected["usage_events"], strict=True):
            assert reading.warnings == ()
            if event["type"] == "response.done":
                assert (reading.model, reading.generation_id) == (expected["model"], event["response_id"])
            else:
                assert reading.model in ("gpt-4o-transcribe", "gpt-realtime-whisper")
    assert len(recorded()) >= at_least(21)


USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
SESSION = {
    "type": "session.updated",
    "session": {"model": "gpt-realtime-2", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}},
}
DONE = {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "usage": USAGE}}
HEARD = {
    "type": "conversation.item.input_audio_transcription.completed",
    "item_id": "item_1",
    "transcript": "secret",
    "usage": {"type": "duration", "seconds": 3},
}


def read(*messages: dict[str, Any], model: str | None = None) -> list[tuple[Any, ...]]:
    reader = RealtimeReader(model)
    found = [reader.received(json.dumps(message).encode()) for message in messages]
    return [
        (reading.model, reading.generation_id, reading.finish_reason, reading.error_type,
         None if reading.usage is None else {k: v for k, v in reported(reading.usage).items() if k != "raw"})
        for reading in found if reading is not None
    ]  # fmt: skip


READ = {"input_tokens": 9, "output_tokens": 5}


def changed(**response: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": DONE["response"] | response}  # type: ignore[operator]  # it is a dict


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([DONE], [("asked-for", "resp_1", "completed", None, READ)], id="the model of the path"),
        pytest.param(
            [SESSION, DONE, DONE], [("gpt-realtime-2", "resp_1", "completed", None, READ)] * 2, id="the session's model"
        ),
        pytest.param(
            [SESSION, HEARD],
            [("gpt-4o-mini-transcribe", "item_1", None, None, {"audio_seconds": 3.0})],
            id="what was heard is another model's",
        ),
        pytest.param([SESSION, {k: v for k, v in HEARD.items() if k != "usage"}], [], id="a transcript without usage"),
        pytest.param(
            [changed(status="cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})],
            [("asked-for", "resp_1", "turn_detected", None, READ)],
            id="a response that the client talked over",
        ),
        pytest.param(
            [changed(status="failed", usage=None,
                     status_details={"type": "failed", "error": {"code": "rate_limit_exceeded", "message": "secret"}})],
            [("asked-for", "resp_1", "failed", "rate_limit_exceeded", None)],
            id="a response that failed",
        ),
        pytest.param([changed(usage=None)], [("asked-for", "resp_1", "completed", None, None)], id="no usage"),
        pytest.param(
            [{"type": "response.done", "response": {"id": "r", "status": "completed", "usage": {}},
              "usage": USAGE | {"billable_audio_seconds": 2, "output_audio_seconds": 4.6}}],
            [("asked-for", "r", "completed", None, READ | {"audio_seconds": 2.0})],
            id="xAI's usage stands beside the response",
        ),
        pytest.param(
            [{"type": "response.completed",
              "response": {"id": "resp_2", "model": "gpt-5.1", "status": "completed", "usage": USAGE, "output": []}}],
            [("gpt-5.1", "resp_2", "completed", None, READ)],
            id="Responses over a WebSocket",
        ),
        pytest.param(
            [{"type": "response.output_audio.delta", "delta": "response.done"},
             {"type": "error", "error": {"type": "invalid_request_error"}},
             {"type": "rate_limits.updated", "usage": USAGE}],
            [],
            id="nothing that is billed",
        ),
        pytest.param(
            [changed(usage={"input_tokens": "9", "output_tokens": 5})],
            [("asked-for", "resp_1", "completed", None, {"output_tokens": 5})],
            id="a malformed count",
        ),
    ],
)  # fmt: skip
def test_messages(messages: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    assert read(*messages, model="asked-for") == expected


def live(kind: str, seconds: object) -> dict[str, Any]:
    return {"event_id": "event_1", "type": kind, "usage": {"seconds": seconds}}


STARTED = {"type": "session.started", "session": {"id": "live_1", "model": "gpt-live-1", "status": "active"}}


def test_a_live_session_is_billed_by_what_was_added_to_it() -> None:
    closed = live("session.closed", 61.75) | {"reason": "close_requested", "session": STARTED["session"]}
    heard = [live("session.usage.updated", seconds) for seconds in (12.5, 12.5, 40)]
    assert read(STARTED, *heard, closed) == [
        ("gpt-live-1", "live_1", None, None, {"audio_seconds": seconds}) for seconds in (12.5, 27.5, 21.75)
    ]
    assert read(STARTED, {"type": "session.closed"}, live("session.usage.updated", "12")) == []


def lengths(*usages: dict[str, Any]) -> list[tuple[float | None, float | None, bool]]:
    """Of each report: what was active and what was paused since the one before, and whether it is doubtful."""
    reader = RealtimeReader()
    found = []
    for usage in usages:
        message = {"type": "session.usage.updated", "usage": usage}
        if (reading := reader.received(json.dumps(message).encode())) is not None:
            assert reading.usage is not None
            again = check(json.loads(reading.usage.raw or "", parse_float=Decimal), FORMAT).usage
            assert again.paused_seconds == reading.usage.paused_seconds
            found.append((reading.usage.audio_seconds, reading.usage.paused_seconds, reading.doubtful))
    return found


def test_what_a_live_session_was_paused_is_apart() -> None:
    assert lengths({"seconds": 100, "active": 40, "paused": 60}) == [(40, 60, False)]
    assert lengths(
        {"seconds": 30, "active": 20, "paused": 10},
        {"seconds": 30, "active": 20, "paused": 10},
        {"seconds": 50, "active": 20, "paused": 30},
        {"seconds": 100.5, "active": 60.5, "paused": 40},
        {"seconds": 0, "active": 0, "paused": 0},
    ) == [(20, 10, False), (0, 20, False), (40.5, 10, False)]
    assert lengths({"seconds": 100, "paused_seconds": 60}) == [(40, 60, False)]
    assert lengths({"seconds": 100, "active_seconds": 40}) == [(40, 60, False)]
    assert lengths({"seconds": 100}) == [(100, None, False)]


@pytest.mark.parametrize(
    "usage",
    [{"seconds": 100, "active": 40, "paused": 10}, {"seconds": 10, "active": 40}, {"seconds": 10, "paused": "6"}],
)
def test_lengths_that_contradict_one_another_have_no_cost(usage: dict[str, Any]) -> None:
    assert [is_doubtful for _, _, is_doubtful in lengths(usage)] == [True]


def test_what_a_live_session_delegates_is_billed_under_its_own_model() -> None:
    finished = {"type": "response.completed", "response": {"id": "r", "model": "gpt-6-sol", "status": "completed",
                                                            "service_tier": "default", "usage": USAGE}}  # fmt: skip
    decided = {"type": "decision.completed", "decision": {"model": "gpt-6-luna", "answers": [], "usage": USAGE}}
    delegated = [
        {"type": "response.event", "delegation_id": "d", "event": {"type": "response.output_text.delta", "delta": "a"}},
        {"type": "response.event", "delegation_id": "d", "event": finished},
        {"type": "decision.event", "delegation_id": "d", "event": decided},
        {"type": "decision.event", "event": {"type": "decision.completed", "decision": {"model": "gpt-6-luna"}}},
    ]
    assert read(STARTED, *delegated) == [
        ("gpt-6-sol", "r", "completed", None, READ),
        ("gpt-6-luna", None, None, None, READ),
    ]


@pytest.mark.parametrize(
    ("model", "message", "expected"),
    [
        ("voxtral-mini-transcribe-realtime-2602",
         {"type": "transcription.done", "model": "voxtral-mini-transcribe-realtime-2602", "text": "secret",
          "language": "en", "usage": {"prompt_audio_seconds": 12, "prompt_tokens": 4, "total_tokens": 195,
                                      "completion_tokens": 35}},
         {"input_tokens": 160, "output_tokens": 35, "server_tools": {"prompt_audio_seconds": 12},
          "audio_seconds": 12.0}),
        ("voxtral-mini-tts-2603",
         {"type": "speech.audio.done", "usage": {"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13}},
         {"input_tokens": 3, "output_tokens": 10}),
    ],
    ids=["transcribing", "speaking"],
)  # fmt: skip
def test_what_mistral_hears_and_says_is_billed_when_it_is_done(
    model: str, message: dict[str, Any], expected: dict[str, Any]
) -> None:
    created = {"type": "session.created", "session": {"request_id": "req_1", "model": model}}
    assert read(created, {"type": message["type"], "usage": None}, message) == [(model, "req_1", None, None, expected)]


@pytest.mark.parametrize("place", ["audio", "input_audio_transcription"])
def test_a_client_chooses_the_model_that_transcribes(place: str) -> None:
    reader = RealtimeReader()
    chosen: dict[str, Any] = {"model": "whisper-1"}
    reader.sent(
        json.dumps(
            {
                "type": "session.update",
                "session": {place: {"input": {"transcription": chosen}} if place == "audio" else chosen},
            }
        ).encode()
    )
    reading = reader.received(json.dumps(HEARD).encode())
    assert reading is not None
    assert reading.model == "whisper-1"


@pytest.mark.parametrize(
    "message",
    [b"", b"response.done", b'{"type":"response.done"', b'{"type":"response.done"}', b'["response.done"]',
     b'{"type":["response.done"]}', b'{"type":"response.done","response":[1]}', b"\xff\x00response.done\xfe",
     b'{"type":"session.updated","session":5}', b'{"a":' * 5000 + b'"response.done"'],
)  # fmt: skip
def test_no_message_raises_and_none_is_a_bill(message: bytes) -> None:
    reader = RealtimeReader()
    reader.sent(message + b'"session""model"')
    reading = reader.received(message)
    assert reading is None or reading.usage is None


@pytest.mark.parametrize(
    ("broken", "tokens", "warning"),
    [
        (b'{"type": "response.done", "response": {"id": "r", "usage": "none"}}', None, "response.usage is no object"),
        (b'{"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": -9, "output_tokens": 5}}}',
         (None, 5), "usage.input_tokens is no count"),
        (b'{"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": 9, "output_tokens": 5}, "o',
         (9, 5), "a message is no JSON"),
        (b'{"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": 9, "out', None,
         "a message is no JSON"),
        (b'{"type": "conversation.item.input_audio_transcription.completed", "usage": [9]}', None,
         "usage is no object"),
    ],
)  # fmt: skip
def test_a_response_whose_usage_cannot_be_read_is_billed_all_the_same(
    broken: bytes, tokens: tuple[int | None, int | None] | None, warning: str
) -> None:
    reader = RealtimeReader("gpt-realtime")
    reading = reader.received(broken)
    assert reading is not None
    assert (reading.usage and (reading.usage.input_tokens, reading.usage.output_tokens)) == tokens
    assert reading.warnings == (warning,)
    assert reading.doubtful or reading.cut_short


@pytest.mark.parametrize(
    ("message", "is_doubtful"),
    [
        (changed(usage={"output_tokens": 5}), True),
        (changed(usage={"input_tokens": 9}), True),
        (changed(usage=USAGE), False),
        (changed(usage={"output_tokens": 5, "billable_audio_seconds": 2}), False),
        (changed(usage={"output_tokens": 5, "billable_audio_seconds": "2"}), True),
        (HEARD, False),
        (HEARD | {"usage": {"type": "tokens", "output_tokens": 5}}, True),
        (live("session.usage.updated", 12), False),
        ({"type": "speech.audio.done", "usage": {"completion_tokens": 10}}, True),
    ],
    ids=["no input", "no output", "both", "seconds", "unreadable seconds", "heard, seconds",
         "heard, half of the tokens", "a live session", "spoken, no input"],
)  # fmt: skip
def test_half_of_the_tokens_has_no_cost_where_no_seconds_are_billed(
    message: dict[str, Any], *, is_doubtful: bool
) -> None:
    reading = RealtimeReader("gpt-realtime").received(json.dumps(message).encode())
    assert reading is not None
    assert reading.usage is not None
    assert reading.doubtful is is_doubtful


@pytest.mark.parametrize(
    "junk",
    [b"", b"response.done", b'["response.done"]', b'{"response.done', b"\xff response.done",
     b'{"type": ["response.done"]}', b'"' * 99 + b"response.done", b"[" * 99_999],
)  # fmt: skip
def test_junk_is_passed_over(junk: bytes) -> None:
    reader = RealtimeReader()
    reader.sent(b'{"type": "session.update", "session": {"model": ' + junk)
    assert reader.received(junk) is None
