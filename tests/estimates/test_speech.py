"""The characters of what is to be spoken."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from metrion.estimates import EstimateInput, Sample, estimate, estimate_input
from metrion.metering.request_reader import RequestReader
from metrion.metering.tap import Tap
from metrion.model import EndReason, Reading, Usage
from tests.corpus import encode, exchanges, needs_corpus
from tests.made import Made

TTS = {"model": "tts-1", "voice": "nova", "input": "hello"}
TOLD = Usage(input_tokens=3, output_tokens=9, raw="{}")
SILENT = Reading()


def sample(body: bytes, *, encoding: str | None = None, content_type: str = "application/json") -> tuple[Sample, str]:
    kept = Sample()
    reader = RequestReader(content_type=content_type, content_encoding=encoding, sample=kept)
    reader.feed(body)
    reader.finish()
    return kept, reader.model or "requested"


def taken(body: bytes, reading: Reading = SILENT, *, by_character: bool = True, **change: Any) -> EstimateInput | None:
    end_reason = change.pop("end_reason", EndReason.COMPLETE)
    kept, model = sample(body, **change)
    return estimate_input(
        dialect="openai_speech",
        reading=reading,
        end_reason=end_reason,
        model_requested=model,
        streamed=False,
        request=kept,
        response=None,
        by_character=by_character,
    )


def characters(found: EstimateInput | None) -> int | None:
    usage = estimate(found) if found is not None else None
    return (usage.unreported_tools or {}).get("input_character") if usage else None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("hello", 5),
        ("", 0),
        ("two  spaces,\ta tab\nand a line", 29),
        ("Grüße", 5),
        ("「あたし」", 5),
        ("👋", 1),
        ("👩‍👩‍👧", 5),  # three people, joined by two characters that do not show
        ("e\N{COMBINING ACUTE ACCENT}", 2),
        ("\ud83d", 1),  # half of a pair
        ("x" * 4096, 4096),
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_characters_are_code_points(text: str, count: int, ensure_ascii: bool) -> None:
    body = json.dumps(TTS | {"input": text}, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")
    assert characters(taken(body)) == count


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        json.dumps(TTS).encode()[:-1],
        b"[1]",
        b'"hello"',
        json.dumps({"model": "tts-1"}).encode(),
        json.dumps(TTS | {"input": None}).encode(),
        json.dumps(TTS | {"input": ["a", "b"]}).encode(),
        json.dumps(TTS | {"input": 5}).encode(),
        b'{"model": "tts-1", "input": "\xff"}',
        b"[" * 100_000,
        Made(lambda: json.dumps(TTS | {"input": "x" * (5 << 20)}).encode()),
    ],
)
def test_what_is_not_there_whole_is_not_counted(body: bytes) -> None:
    assert characters(taken(body)) is None


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_a_request_may_be_compressed(encoding: str) -> None:
    assert characters(taken(encode(json.dumps(TTS).encode(), encoding), encoding=encoding)) == 5


@pytest.mark.parametrize(
    "change", [{"encoding": "unheard-of"}, {"encoding": "gzip"}, {"content_type": "audio/mpeg"}], ids=str
)
def test_a_request_that_cannot_be_read_is_not_counted(change: dict[str, Any]) -> None:
    assert characters(taken(json.dumps(TTS).encode(), **change)) is None


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 5),
        ({"by_character": False}, None),
        ({"reading": Reading(error_type="server_error")}, None),
        ({"reading": Reading(stream_error=True)}, None),
        # what was asked for is billed, however much of it was heard
        ({"end_reason": EndReason.CLIENT_ABORT}, 5),
        ({"end_reason": EndReason.UPSTREAM_ERROR}, 5),
        ({"end_reason": EndReason.TIMEOUT}, 5),
        ({"reading": Reading(usage=TOLD, terminal=True)}, 5),
    ],
    ids=str,
)
def test_when_they_are_counted(change: dict[str, Any], count: int | None) -> None:
    assert characters(taken(json.dumps(TTS).encode(), **change)) == count


def test_what_was_reported_stays_beside_them() -> None:
    found = taken(json.dumps(TTS).encode(), Reading(usage=TOLD, terminal=True))
    assert found is not None
    assert estimate(found) == Usage(input_tokens=3, output_tokens=9, raw="{}", unreported_tools={"input_character": 5})


def test_no_word_shows_and_another_process_may_count() -> None:
    found = taken(json.dumps(TTS | {"input": "a secret"}).encode())
    assert found is not None
    assert "secret" not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301  # our own


@needs_corpus
def test_recorded_requests_for_speech() -> None:
    counted = {}
    for exchange in exchanges({"audio"}, {"openai", "openrouter"}):
        if exchange.path.endswith("/audio/speech"):
            tap = Tap(
                "openai_speech",
                content_type=exchange.response_headers.get("content-type"),
                content_encoding=None,
                status=exchange.status,
            )
            tap.feed(exchange.response_body)
            tap.finish()
            found = taken(exchange.request_body, tap.reading)
            assert found is not None
            counted[found.model, characters(found)] = exchange.id
    assert {("tts-1", 5), ("gpt-4o-mini-tts", 64), ("hexgrad/kokoro-82m", 64)} <= counted.keys()
