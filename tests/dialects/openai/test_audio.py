"""Transcriptions by tokens and by seconds, whole and streamed."""

from typing import Any

import pytest

from metrion.dialects.openai.audio import DIALECT
from metrion.metering.tap import Tap
from tests.dialects.read import drafted, read_documents, read_usage

TOKENS = {
    "type": "tokens",
    "total_tokens": 30,
    "input_tokens": 26,
    "input_token_details": {"text_tokens": 5, "audio_tokens": 21},
    "output_tokens": 4,
}
READ = {"input_tokens": 26, "input_audio_tokens": 21, "output_tokens": 4}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param([{"text": "Hello.", "usage": TOKENS}], READ, id="tokens"),
        pytest.param(
            [{"text": "Hello.", "duration": 3.7, "usage": TOKENS}], READ, id="tokens, and a length that is not billed"
        ),
        pytest.param(
            [{"text": "Hello.", "usage": {"type": "duration", "seconds": 4}}], {"audio_seconds": 4.0}, id="seconds"
        ),
        pytest.param(
            [{"task": "transcribe", "duration": 8.47, "usage": {"type": "duration", "seconds": 9}}],
            {"audio_seconds": 9.0},
            id="seconds as they are billed, rounded up",
        ),
        pytest.param([{"task": "transcribe", "duration": 8.47, "text": "x"}], {"audio_seconds": 8.47}, id="duration"),
        pytest.param([{"text": "", "duration": 0}], {"audio_seconds": 0.0}, id="0 is 0"),
        pytest.param([{"text": "Guten Tag!"}], {}, id="neither"),
        pytest.param([{"text": "x", "usage": None, "duration": None}], {}, id="null"),
        pytest.param(
            [{"model": "voxtral-mini-latest", "finish_reason": None, "usage": {
                "prompt_audio_seconds": 3, "prompt_tokens": 5, "total_tokens": 400, "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375}}}],
            {"input_tokens": 380, "cache_read_tokens": 0, "input_audio_tokens": 375, "output_tokens": 20,
             "audio_seconds": 3.0, "server_tools": {"prompt_audio_seconds": 3}},
            id="Mistral counts both",
        ),
        pytest.param(
            [{"model": "voxtral-mini-2507", "text": "x", "language": "en", "segments": [], "usage": {
                "prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635}}],
            {"input_tokens": 2629, "output_tokens": 635, "audio_seconds": 203.0,
             "server_tools": {"prompt_audio_seconds": 203}},
            id="Mistral counts what it heard in the total only",
        ),
        pytest.param(
            [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.delta", "delta": "lo"},
             {"type": "transcript.text.done", "text": "Hello", "usage": TOKENS}],
            READ,
            id="a stream",
        ),
        pytest.param([{"type": "transcript.text.delta", "delta": "usage"}], {}, id="a stream that was cut"),
    ],
)  # fmt: skip
def test_usage(documents: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, *documents) == expected


@pytest.mark.parametrize("seconds", ["4", -1, True, [1]])
def test_what_is_no_length_of_time_is_not_reported(seconds: object) -> None:
    assert read_usage(DIALECT, {"seconds": seconds}) == ({}, ["usage.seconds is no length of time"])


def test_mistral_names_its_model_and_openai_does_not() -> None:
    assert drafted(DIALECT, {"model": "voxtral-mini-latest", "text": "x"}).model == "voxtral-mini-latest"
    assert drafted(DIALECT, {"text": "x", "usage": TOKENS}).model is None


@pytest.mark.parametrize("name", ["transcript.text.done", "speech.audio.done", "transcription.done"])
def test_streams_end(name: str) -> None:
    tap = Tap("openai_audio", content_type="text/event-stream", content_encoding=None, status=200)
    tap.feed(b'data: {"type":"x.delta","delta":"' + name.encode() + b'"}\n\n')
    assert not tap.terminal
    tap.feed(b'data: {"type":"' + name.encode() + b'","usage":{"input_tokens":14,"output_tokens":101}}\n\n')
    assert tap.terminal
    assert tap.reading.usage is not None
    assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == (14, 101)


def test_sound_is_not_read() -> None:
    tap = Tap("openai_audio", content_type="audio/mpeg", content_encoding=None, status=200)
    tap.feed(b'{"usage":{"input_tokens":1}}')
    assert tap.reading.usage is None


def test_subtitles_are_no_usage() -> None:
    tap = Tap("openai_audio", content_type="text/plain; charset=utf-8", content_encoding=None, status=200)
    tap.feed(b"1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n2\n00:00:02,000 --> 00:00:04,000\ndata: x\n\n")
    tap.finish()
    assert (tap.reading.usage, tap.reading.warnings) == (None, ())
