"""The tap against every recorded chat and message, and against bad bodies. Cuts have ``test_cuts.py``."""

from __future__ import annotations

import gzip
import json
import random
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import brotli
import pytest
import zstandard

from metrion.dialects import DIALECTS
from metrion.metering.tap import Tap
from metrion.model import Reading, Usage
from tests.corpus import Exchange, at_least, exchanges
from tests.made import Made

DIALECT_OF_KIND = {"chat": "openai_chat", "messages": "anthropic_messages"}

EXPECTED_NAMES = {
    "input_tokens": "input_tokens_total",
    "output_tokens": "output_tokens_total",
    **{
        name: name
        for name in (
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "reasoning_tokens",
            "input_audio_tokens",
            "input_image_tokens",
            "output_audio_tokens",
            "output_image_tokens",
            "audio_seconds",
        )
    },
}


def recorded() -> list[Exchange]:
    return exchanges(DIALECT_OF_KIND)


def tap_for(exchange: Exchange, content_encoding: str | None = None) -> Tap:
    return Tap(
        DIALECT_OF_KIND[exchange.kind],
        content_type=exchange.response_headers.get("content-type"),
        content_encoding=content_encoding,
        status=exchange.status,
    )


def read(tap: Tap, *pieces: bytes) -> Reading:
    for piece in pieces:
        tap.feed(piece)
    tap.finish()
    return tap.reading


def read_body(
    body: bytes,
    dialect: str | None = "openai_chat",
    status: int = 200,
    content_type: str | None = None,
    content_encoding: str | None = None,
) -> Reading:
    tap = Tap(dialect, content_type=content_type, content_encoding=content_encoding, status=status)
    return read(tap, body)


# --- recorded exchanges -----------------------------------------------------------------------------------------------


def differences(exchange: Exchange, reading: Reading) -> dict[str, tuple[Any, Any]]:
    """What differs from the independent reading; ``None`` is another value than 0."""
    usage, expected = reading.usage or Usage(), exchange.expected
    cost = usage.provider_cost_usd
    pairs = {
        "has_usage": (reading.usage is not None, expected["has_usage"]),
        "model": (reading.model, expected["model"]),
        "service_tier": (reading.service_tier, expected["service_tier"]),
        "server_tools": (dict(usage.server_tools or {}), expected["server_tools"]),
        "provider_cost_usd": (None if cost is None else float(cost), expected["provider_cost_usd"]),
        **{name: (getattr(usage, ours), expected[name]) for ours, name in EXPECTED_NAMES.items()},
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in exchange.ambiguous}


def test_every_recorded_exchange_reads_as_an_independent_parser_reads_it() -> None:
    wrong: dict[str, Any] = {}
    read_rightly, all_of_them = Counter[tuple[str, str, bool]](), Counter[tuple[str, str, bool]]()
    for exchange in recorded():
        kind = (exchange.provider, exchange.kind, exchange.streamed)
        all_of_them[kind] += 1
        if found := differences(exchange, read(tap_for(exchange), exchange.response_body)):
            wrong[exchange.id] = found
        else:
            read_rightly[kind] += 1
    for (provider, name, streamed), count in sorted(all_of_them.items()):
        right = read_rightly[provider, name, streamed]
        print(f"{provider:12} {name:9} {'stream' if streamed else 'plain':6} {right:4} of {count:4}")  # noqa: T201  # for pytest -rP
    assert wrong == {}
    assert sum(all_of_them.values()) > at_least(1000, 20)


def test_the_raw_usage_is_the_providers_own() -> None:
    for exchange in recorded():
        usage = read(tap_for(exchange), exchange.response_body).usage
        raw = json.loads(usage.raw) if usage is not None and usage.raw is not None else None
        assert raw == exchange.expected["raw_usage"] or exchange.flags & {"several_messages_in_one_body"}, exchange.id


def test_a_stream_that_came_to_its_end_is_terminal_and_no_other() -> None:
    for exchange in recorded():
        ended = "error_in_stream" in exchange.flags or not exchange.flags & {"no_done_sentinel", "truncated_stream"}
        assert read(tap_for(exchange), exchange.response_body).terminal is (exchange.streamed and ended), exchange.id


def test_no_recorded_error_is_without_a_type() -> None:
    failed = [exchange for exchange in recorded() if exchange.status >= 400 or "error_in_stream" in exchange.flags]
    assert len(failed) > at_least(40, 5)
    for exchange in failed:
        reading = read(tap_for(exchange), exchange.response_body)
        unreadable = exchange.response_body.startswith(b"base64:")
        assert (reading.error_type is None) is unreadable, exchange.id
        assert reading.stream_error is ("error_in_stream" in exchange.flags)
        assert reading.usage is None


# --- cuts -------------------------------------------------------------------------------------------------------------


ANTHROPIC_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def usage_of_events(dialect: str, events: list[bytes]) -> Iterator[tuple[int | None, int | None]]:
    """Input and output after each event, read in the plainest way."""
    latest: dict[str, Any] = {}
    for event in events:
        data = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
        document = json.loads(data) if data.strip().startswith(b"{") else {}
        usage = document.get("message", document).get("usage") or {}
        if dialect == "openai_chat":
            latest = usage or (document.get("x_groq") or {}).get("usage") or latest
            prompt, total = latest.get("prompt_tokens"), latest.get("total_tokens")
            yield (
                prompt,
                total - prompt if prompt is not None and total is not None else latest.get("completion_tokens"),
            )
        else:
            latest |= {name: value for name, value in usage.items() if value is not None}
            billed = [latest, *(each for each in latest.get("iterations") or () if each["type"] == "compaction")]
            read = [each.get(name) or 0 for each in billed for name in ANTHROPIC_INPUT]
            yield (sum(read), sum(each["output_tokens"] for each in billed)) if latest else (None, None)


def test_cut_off_at_any_event_the_usage_is_what_was_told_by_then() -> None:
    rng = random.Random(3)
    for exchange in recorded():
        if not exchange.streamed:
            continue
        body = exchange.response_body.replace(b"\r\n", b"\n")
        events = [event + b"\n\n" for event in body.split(b"\n\n") if event.strip()]
        dialect = DIALECT_OF_KIND[exchange.kind]
        tap = tap_for(exchange)
        cut_at = rng.randrange(len(events))
        for at, (event, expected) in enumerate(zip(events, usage_of_events(dialect, events), strict=True)):
            tap.feed(event)
            usage = tap.reading.usage or Usage()
            assert (usage.input_tokens, usage.output_tokens) == expected, (exchange.id, event)
            if at == cut_at:
                half = events[at + 1][: len(events[at + 1]) // 2] if at + 1 < len(events) else b""
                assert read(tap_for(exchange), b"".join(events[: at + 1]), half) == tap.reading
        tap.finish()
        assert bool(tap.reading.warnings) is ("contradicted" in exchange.flags)


# --- what is cheap ----------------------------------------------------------------------------------------------------

OPENING = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5","service_tier":"default",'
    b'"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}],"usage":null}\n\n'
)
WORD = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5","service_tier":"default",'
    b'"system_fingerprint":null,"choices":[{"index":0,"delta":{"content":" \\"usage\\":{}"},"logprobs":null,'
    b'"finish_reason":null}],"usage":null,"obfuscation":"abcdefgh"}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-5","service_tier":"default","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def test_chunks_without_news_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    tap = Tap("openai_chat", content_type="text/event-stream", content_encoding=None, status=200)
    tap.feed(OPENING)

    def parse(*_: object) -> None:
        raise AssertionError("parsed")

    with monkeypatch.context() as patch:
        patch.setattr("metrion.parsing.sse._fields", parse)
        for variant in (WORD, WORD.replace(b'":', b'": '), WORD.replace(b"\n", b"\r\n"), b": keep-alive\n\n"):
            tap.feed(variant)
    reading = read(tap, LAST, DONE)
    assert reading.warnings == ()
    assert reading.terminal
    assert reading.usage is not None
    assert reading.usage.output_tokens == 5


@pytest.mark.parametrize(
    ("dialect", "quiet", "last"),
    [
        ("openai_audio", '{"type":"transcript.text.delta","delta":" a"}', '{"type":"transcript.text.done","text":""}'),
        ("openai_images", '{"type":"image_generation.partial_image","b64_json":"aaaa"}',
         '{"type":"image_generation.completed"}'),
        ("mistral_conversations", '{"type":"tool.execution.delta","arguments":"\\"model\\""}',
         '{"type":"conversation.response.done"}'),
    ],
)  # fmt: skip
def test_formats_that_name_no_model_are_not_parsed_for_it(
    dialect: str, quiet: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tap = Tap(dialect, content_type="text/event-stream", content_encoding=None, status=200)
    tap.feed(b": begins\n\n")
    with monkeypatch.context() as patch:
        patch.setattr("metrion.metering.tap.Scanner", None)
        tap.feed(f"data: {quiet}\n\n".encode())
    assert not tap.terminal
    assert read(tap, f"data: {last}\n\n".encode()) == Reading(terminal=True)


def test_a_chunk_without_news_costs_microseconds() -> None:
    def microseconds() -> float:
        tap = Tap("openai_chat", content_type="text/event-stream", content_encoding=None, status=200)
        tap.feed(OPENING)
        began = time.process_time()
        for _ in range(2000):
            tap.feed(WORD)
        return (time.process_time() - began) / 2000 * 1e6

    assert min(microseconds() for _ in range(5)) < 15  # 3 on an idle machine of 2025; this is for machines that are not


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("identity", bytes),
        ("gzip", lambda body: gzip.compress(body, 1)),
        ("br", lambda body: brotli.compress(body, quality=1)),
        ("zstd", zstandard.compress),
    ],
    ids=["identity", "gzip", "br", "zstd"],
)
@pytest.mark.parametrize(
    "data",
    [
        Made(lambda: b'[{"b64_json": "%b"}]' % (b"QUJD" * 2_500_000)),
        Made(lambda: b"[%b[]]" % (b"[-0.012345678, 0.25, 1e-05], " * 360_000)),
    ],
    ids=["an image", "embeddings"],
)
def test_a_body_of_ten_megabytes_is_not_held(data: bytes, coding: str, pack: Callable[[bytes], bytes]) -> None:
    tap = Tap("openai_embeddings", content_type="application/json", content_encoding=coding, status=200)
    body = b'{"model": "m", "data": %b, "usage": {"prompt_tokens": 5}}' % data
    packed = pack(body)
    tracemalloc.start()
    for at in range(0, len(packed), 65536):
        tap.feed(packed[at : at + 65536])
    reading = read(tap)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.usage is not None
    assert reading.usage.input_tokens == 5
    assert peak < 1 << 20


LONG = b"x" * 40_000


@pytest.mark.parametrize(
    ("event", "warnings"),
    [
        (b"data: " + LONG + b"\n\n", ()),
        (b'data: {"choices": ["' + LONG + b"\n\n", ()),
        (b'data: {"usage": null, "x": "' + LONG + b'"}\n\n', ()),
        (b'data: {"x": "' + LONG + b'", "usage": {"prompt_tokens": 9, "completion_tokens": 6}}\n\n', ()),
        (b'data: {"x": "' + LONG + b'", "usage": {"prompt_tokens": 9, "comp\n\n', ("an event is no JSON",)),
        (b'data: "' + LONG + b'"usage"\n\n', ("an event is no JSON",)),
        (b"data: " + LONG * 4 + b"\n\n", ("an event is no JSON",)),
        (b'data: {"usage": {"x": "' + LONG * 4, ("the last event ends early",)),
        (b'event: error\ndata: {"x": "' + LONG + b'", "error": {"type": "server_error"}}\n\n', ()),
    ],
    ids=["text", "broken", "null", "usage", "broken usage", "marked text", "junk", "open", "error"],
)
def test_a_long_event_is_read_as_one_that_comes_at_once(event: bytes, warnings: tuple[str, ...]) -> None:
    body = OPENING + LAST + event
    readings = []
    for size in (1 << 16, 16_000, 9_999, 4_096, 61):
        tap = Tap("openai_chat", content_type="text/event-stream", content_encoding=None, status=200)
        readings.append(read(tap, *(body[at : at + size] for at in range(0, len(body), size))))
    assert readings[0].warnings == warnings
    assert all(reading == readings[0] for reading in readings)


# --- bad bodies -------------------------------------------------------------------------------------------------------

SSE = OPENING + LAST + DONE
JSON = b'{"id": "c1", "model": "m", "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}'


@pytest.mark.parametrize(
    ("body", "expected", "warnings"),
    [
        pytest.param(b"", Usage(), (), id="empty"),
        pytest.param(b"\n \r\n", Usage(), (), id="blank"),
        pytest.param(b"upstream went away", Usage(), (), id="text"),
        pytest.param(b"\x00\xff\xfe" * 100, Usage(), (), id="binary"),
        pytest.param(JSON[:-30], Usage(), ("the JSON body ends early, or is broken",), id="cut off before the usage"),
        pytest.param(JSON[:-2], Usage(), ("the JSON body ends early, or is broken",), id="cut off in the usage"),
        pytest.param(
            JSON[:-1], Usage(input_tokens=1), ("the JSON body ends early, or is broken",), id="cut off after the usage"
        ),
        pytest.param(JSON + b"}}", Usage(input_tokens=1), (), id="something after the end"),
        pytest.param(b"\xef\xbb\xbf\n" + JSON, Usage(input_tokens=1), (), id="BOM"),
        pytest.param(JSON.replace(b"1}", b'"1"}'), Usage(), ("usage.prompt_tokens is no count",), id="a string"),
        pytest.param(JSON.replace(b"1}", b"NaN}"), Usage(), ("usage.prompt_tokens is no count",), id="NaN"),
        pytest.param(JSON.replace(b"1}", b"1e5}"), Usage(), ("usage.prompt_tokens is no count",), id="a float"),
        pytest.param(JSON.replace(b"1}", b"9" * 9000 + b"}"), Usage(), ("usage.prompt_tokens is no count",), id="huge"),
        pytest.param(JSON.replace(b"1}", b"1,,}"), Usage(), ("usage is no valid JSON",), id="broken usage"),
        pytest.param(
            JSON.replace(b"1}", b'1,"x":' + b"[" * 32_000 + b"]" * 32_000 + b"}"),
            Usage(),
            ("usage is no valid JSON",),
            id="deep usage",
        ),
        pytest.param(JSON.replace(b"stop", b"\xff\xfe"), Usage(input_tokens=1), (), id="invalid UTF-8"),
        pytest.param(JSON[:-1] + b',"usage":{"prompt_tokens":2}}', Usage(input_tokens=2), (), id="usage twice"),
        pytest.param(JSON[:-1] + b',"usage":null}', Usage(), (), id="usage twice, then null"),
        pytest.param(b'{"x":' * 50_000 + JSON + b"}" * 50_000, Usage(), (), id="deep"),
        pytest.param(SSE[:-1], Usage(input_tokens=9, output_tokens=5), (), id="half an event"),
        pytest.param(OPENING + LAST[:-1], Usage(input_tokens=9, output_tokens=5), (), id="half a blank line"),
        pytest.param(OPENING + LAST[:-2], Usage(input_tokens=9, output_tokens=5), (), id="no blank line"),
        pytest.param(OPENING + LAST[:-3], Usage(), (), id="half the event with the usage"),
        pytest.param(
            OPENING + LAST[:-30] + b"\n\n", Usage(), ("an event is no JSON",), id="an event with half a document"
        ),
        pytest.param(OPENING + b"data: {]}\n\n\xff\n\n" + LAST, Usage(input_tokens=9, output_tokens=5), (), id="junk"),
        pytest.param(
            OPENING + LAST.replace(b"9", b"-9"), Usage(output_tokens=5), ("usage.prompt_tokens is no count",), id="< 0"
        ),
        pytest.param(
            OPENING + LAST.replace(b'"choices":[]', b'"choices":[{"delta":{"content":"' + b"x" * 300_000 + b'"}}]'),
            Usage(input_tokens=9, output_tokens=5),
            (),
            id="a large event",
        ),
        pytest.param(
            OPENING + LAST + LAST.replace(b'{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}', b"null"),
            Usage(input_tokens=9, output_tokens=5),
            (),
            id="null after the usage",
        ),
        pytest.param(
            OPENING + LAST.replace(b"14", b"19").replace(b"5,", b"1,") + LAST,
            Usage(input_tokens=9, output_tokens=5),
            (),
            id="running totals",
        ),
    ],
)
def test_bad_bodies(body: bytes, expected: Usage, warnings: tuple[str, ...]) -> None:
    for pieces in ([body], [body[at : at + 61] for at in range(0, len(body), 61)]):
        tap = Tap("openai_chat", content_type=None, content_encoding=None, status=200)
        reading = read(tap, *pieces)
        usage = reading.usage or Usage()
        assert (usage.input_tokens, usage.output_tokens) == (expected.input_tokens, expected.output_tokens)
        assert reading.warnings == warnings
        if usage.raw is not None:
            json.loads(usage.raw, parse_int=len)  # int() refuses the longest


@pytest.mark.parametrize(
    ("content_encoding", "body", "warning"),
    [
        ("gzip", SSE, "the body is not gzip"),
        ("br", b"{" + SSE, "the body is not br"),
        ("zstd", SSE, "the body is not zstd"),
        ("deflate", SSE, "the body is not deflate"),
        ("gzip", gzip.compress(OPENING + LAST)[:-6], "the gzip body ends early"),
        ("zstd", zstandard.compress(OPENING + LAST)[:-6], "the zstd body ends early"),
        ("compress", SSE, "the content-encoding is none of br, deflate, gzip, x-gzip, zstd"),
        ("deflate", zlib.compress(bytes(1 << 26)), "the body is more than 100 times as large once decoded"),
    ],
)  # fmt: skip
def test_encodings_that_lie(content_encoding: str, body: bytes, warning: str) -> None:
    assert read_body(body, content_encoding=content_encoding).warnings == (warning,)


def test_a_client_that_leaves_after_the_terminal_event_leaves_nothing_to_warn_of() -> None:
    packer = zlib.compressobj(wbits=31)
    flushed = packer.compress(SSE) + packer.flush(zlib.Z_SYNC_FLUSH)
    reading = read_body(flushed, content_encoding="gzip", content_type="text/event-stream")
    assert reading.terminal
    assert reading.warnings == ()


@pytest.mark.parametrize("dialect", [name for name, dialect in DIALECTS.items() if not dialect.lines])
def test_an_exception_within_is_a_warning_and_silence(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret content")

    tap = Tap(dialect, content_type="text/event-stream", content_encoding=None, status=200)
    monkeypatch.setattr("metrion.parsing.sse.EventReader.feed", fail)
    tap.feed(SSE)
    monkeypatch.undo()
    assert read(tap, SSE) == Reading(warnings=("RuntimeError while reading",))


def test_a_reading_that_fails_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    tap = Tap("openai_chat", content_type="application/json", content_encoding=None, status=200)
    tap.feed(JSON)
    monkeypatch.setattr("metrion.metering.tap.finish", None)
    assert tap.reading == Reading(warnings=("TypeError while reading",))


# --- which bodies are read, and how -----------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    assert read_body(
        b'{"id":"c1","model":"grok-3","service_tier":"priority","choices":[{"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":9,"reasoning_tokens":4,"cost_in_usd_ticks":7}}'
    ) == Reading(
        model="grok-3",
        service_tier="priority",
        generation_id="c1",
        finish_reason="length",
        usage=Usage(
            input_tokens=3,
            output_tokens=6,
            reasoning_tokens=4,
            provider_cost_usd=Decimal("7E-10"),
            raw='{"prompt_tokens":3,"completion_tokens":2,"total_tokens":9,"reasoning_tokens":4,"cost_in_usd_ticks":7}',
        ),
    )


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json", True),
        ("application/vnd.api+json;v=1", True),
        (None, True),
        ("", True),
        ("text/plain", True),
        ("audio/mpeg", False),
        ("text/html", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
@pytest.mark.parametrize("body", [JSON, SSE])
def test_the_first_byte_tells_what_a_legible_body_is(body: bytes, content_type: str | None, *, is_read: bool) -> None:
    assert (read_body(body, content_type=content_type).usage is not None) is is_read


@pytest.mark.parametrize(
    ("dialect", "status", "error_type"),
    [
        (None, 200, None),
        (None, 429, "rate_limit_error"),
        ("a format of tomorrow", 529, "rate_limit_error"),
        ("anthropic_messages", 429, "rate_limit_error"),
        ("openai_chat", 400, "rate_limit_error"),
        ("openai_chat", 200, "rate_limit_error"),
    ],
)
def test_the_type_of_an_error_is_read_whoever_sent_it(dialect: str | None, status: int, error_type: str | None) -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"secret"},"model":"m","usage":{"x":1}}'
    reading = read_body(body, dialect, status)
    assert reading.error_type == error_type
    assert not reading.stream_error
    assert (reading.model is None) is (dialect not in DIALECTS)
    assert "secret" not in repr(reading)


@pytest.mark.parametrize(
    ("dialect", "status", "body", "is_error"),
    [
        pytest.param("openai_chat", 200, {"error": {"code": 502}, "user_id": "u"}, True, id="OpenRouter"),
        pytest.param("openai_chat", 502, {"error": {"code": 502, "message": "no"}}, False, id="the status says so"),
        pytest.param("openai_chat", 200, {"object": "error", "message": "no", "code": 40001}, True, id="vLLM"),
        pytest.param("openai_responses", 200, {"status": "failed", "error": {"code": "x"}}, True, id="failed"),
        pytest.param("openai_responses", 200, {"status": "completed", "error": None}, False, id="completed"),
        pytest.param("openai_evals", 200, {"status": "queued", "error": {"code": ""}}, False, id="not over"),
        pytest.param("mistral_ocr", 200, {"pages": []}, False, id="no usage"),
    ],
)  # fmt: skip
def test_an_error_that_comes_with_a_success(dialect: str, status: int, body: dict[str, Any], *, is_error: bool) -> None:
    reading = read_body(json.dumps(body).encode(), dialect, status)
    assert (reading.is_error, reading.stream_error, reading.usage) == (is_error, False, None)


@pytest.mark.parametrize("status", [200, 503])
def test_an_error_within_an_array(status: int) -> None:
    start = b'[{"modelVersion":"gemini-2.5-pro","usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":1}}'
    error = b',\n{"error":{"code":503,"message":"secret","status":"UNAVAILABLE"}}\n]'
    reading = read_body(start + error, "gemini", status)
    assert (reading.error_type, reading.stream_error, reading.terminal) == ("UNAVAILABLE", status == 200, True)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens, reading.warnings) == (4, 1, ())
    cut = read_body(start + error[:9], "gemini", status)
    assert (cut.terminal, cut.warnings) == (False, ("the JSON body ends early, or is broken",))
    assert cut.usage == reading.usage


def test_an_error_event_within_a_stream() -> None:
    start = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1","model":"c","usage":'
    start += b'{"input_tokens":4,"output_tokens":1}}}\n\n'
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    reading = read_body(start + error, "anthropic_messages")
    assert (reading.error_type, reading.stream_error, reading.terminal) == ("overloaded_error", True, True)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (4, 1)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_terminal_is_not_before_the_blank_line_and_not_after_it(line_end: bytes) -> None:
    body = SSE.replace(b"\n", line_end)
    tap = Tap("openai_chat", content_type="text/event-stream", content_encoding=None, status=200)
    terminal_after = None
    for at in range(len(body)):
        tap.feed(body[at : at + 1])
        if tap.terminal and terminal_after is None:
            terminal_after = at + 1
    # After CR the blank line has passed, whether or not LF follows.
    assert terminal_after == len(body) - (line_end == b"\r\n")


@pytest.mark.parametrize("text", [b"[DONE]", b"message_stop", b"data: [DONE]\\n\\n"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_terminal_events_within_a_text_are_text(dialect: str, text: bytes) -> None:
    assert not read_body(OPENING + WORD.replace(b" \\", text + b" \\"), dialect).terminal
