"""Answers, requests and messages that nobody should send, through the proxy: they pass byte for byte, and its row and
its log say what is known and what is not.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import brotli
import pytest
import zstandard

from tests.made import Made
from tests.processes import Proxy, eventually
from tests.simulated import Received, Simulator
from tests.websocket import Client, EchoServer

SECRET = "zebras quarrel"
"""It stands in every answer, and nowhere in the log."""


def sse(*documents: str) -> bytes:
    return "".join(f"data: {document}\n\n" for document in documents).encode()


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to ask, and an answer in its format with ``INPUT`` in place of a count; the output's is 5."""

    provider: str
    target: str
    content_type: str
    body: bytes
    counted_as: str

    def with_input(self, value: bytes) -> bytes:
        return self.body.replace(b"INPUT", value)


JSON, EVENTS = "application/json", "text/event-stream"
CHAT = (
    '{"id": "c", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "message": {"content": "zebras quarrel"}, '
    '"finish_reason": "stop"}], "usage": {"prompt_tokens": INPUT, "completion_tokens": 5, "total_tokens": 14}}'
)
CHUNK = (
    '{"id": "c", "model": "gpt-4o-2024-08-06", "choices": [{"delta": {"content": "zebras quarrel"}}], "usage": null}'
)
RESPONSE = (
    '{"id": "r", "model": "gpt-5", "status": "completed", "output": [{"text": "zebras quarrel"}], "usage": '
    '{"input_tokens": INPUT, "output_tokens": 5, "total_tokens": 14}}'
)
MESSAGES = (
    '{"type": "message_start", "message": {"id": "m", "model": "claude-haiku-4-5-20251001", "usage": {"input_tokens": '
    'INPUT, "output_tokens": 1}}}',
    '{"type": "content_block_delta", "delta": {"text": "zebras quarrel"}}',
    '{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}',
    '{"type": "message_stop"}',
)
GEMINI = (
    '{"candidates": [{"content": {"parts": [{"text": "zebras quarrel"}]}, "finishReason": "STOP"}], "modelVersion": '
    '"gemini-2.5-flash", "responseId": "r", "usageMetadata": {"promptTokenCount": INPUT, "candidatesTokenCount": 5}}'
)
GENERATE = "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent"

KINDS = {
    "chat": Kind("openai", "/openai/v1/chat/completions", JSON, CHAT.encode(), "usage.prompt_tokens"),
    "chat stream": Kind(
        "openai", "/openai/v1/chat/completions", EVENTS, sse(CHUNK, CHAT, "[DONE]"), "usage.prompt_tokens"
    ),
    "responses": Kind(
        "openai",
        "/openai/v1/responses",
        EVENTS,
        sse(f'{{"type": "response.completed", "response": {RESPONSE}}}'),
        "usage.input_tokens",
    ),
    "messages": Kind("anthropic", "/v1/messages", EVENTS, sse(*MESSAGES), "usage.input_tokens"),
    "gemini stream": Kind("google", f"{GENERATE}?alt=sse", EVENTS, sse(GEMINI), "usage.promptTokenCount"),
    "gemini array": Kind("google", GENERATE, JSON, f"[{GEMINI}]".encode(), "usage.promptTokenCount"),
    "mistral": Kind("mistral", "/mistral/v1/chat/completions", JSON, CHAT.encode(), "usage.prompt_tokens"),
    "grok": Kind("xai", "/grok/v1/chat/completions", EVENTS, sse(CHUNK, CHAT, "[DONE]"), "usage.prompt_tokens"),
    "embeddings": Kind(
        "openai",
        "/openai/v1/embeddings",
        JSON,
        b'{"model": "text-embedding-3-small", "data": ["zebras quarrel"], "usage": {"prompt_tokens": INPUT, '
        b'"completion_tokens": 5}}',
        "usage.prompt_tokens",
    ),
    "transcription": Kind(
        "openai",
        "/openai/v1/audio/transcriptions",
        JSON,
        b'{"text": "zebras quarrel", "usage": {"type": "tokens", "input_tokens": INPUT, "output_tokens": 5}}',
        "usage.input_tokens",
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
STREAM, PLAIN, ARRAY = KINDS["chat stream"], KINDS["chat"], KINDS["gemini array"]


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a request."""

    status: int
    body: bytes
    event: dict[str, Any]
    warnings: list[str]
    """What the log says of its provider and path."""
    received: Received

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        return self.event["input_tokens"], self.event["output_tokens"]


def call(
    proxy: Proxy,
    simulator: Simulator,
    kind: Kind,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    request: bytes = b'{"model": "asked-for"}',
    request_headers: Mapping[str, str] | None = None,
    warns: int = 0,
) -> Came:
    """Have the provider answer with this body. ``warns``: the log, which is written beside, is to say so much of it."""
    label = uuid.uuid4().hex
    answer = simulator.register_answer(
        label, pieces=[body], headers=[("content-type", kind.content_type), *(headers or {}).items()], chunked=True
    )
    own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label, "content-type": JSON}
    logged = proxy.log.stat().st_size
    about = f"{kind.provider} {kind.target.partition('?')[0]}: "

    def warnings() -> list[str]:
        log = proxy.log.read_bytes()[logged:].decode()
        assert SECRET not in log
        return [line.partition(about)[2] for line in log.splitlines() if about in line]

    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.request("POST", kind.target, request, own | simulator.select(answer) | dict(request_headers or {}))
    response = connection.getresponse()
    got = response.read()
    connection.close()
    event = proxy.event(label)
    (received,) = simulator.received(1)
    found = eventually(warnings, until=lambda lines: len(lines) >= warns)
    return Came(response.status, got, event, found, received)


# --- answers ----------------------------------------------------------------------------------------------------------


@every_kind
def test_an_answer_that_is_in_order_has_its_tokens_and_no_warning(
    kind: Kind, serve: Proxy, simulator: Simulator
) -> None:
    came = call(serve, simulator, kind, kind.with_input(b"9"))
    assert (came.tokens, came.event["usage_source"], came.warnings) == ((9, 5), "reported", [])


NO_COUNTS = {
    "text": b'"9"', "negative": b"-9", "2^63": b"9223372036854775808", "1e400": b"1e400", "NaN": b"NaN",
    "5000 digits": b"9" * 5000, "fraction": b"9.5", "true": b"true", "nested": b'{"prompt_tokens": 9}', "list": b"[9]",
    "lone surrogate": b'"\\ud800"',
}  # fmt: skip


@every_kind
def test_a_count_that_is_none_is_unknown_and_told(kind: Kind, serve: Proxy, simulator: Simulator) -> None:
    for value in NO_COUNTS.values() if kind is STREAM else (NO_COUNTS["text"], NO_COUNTS["2^63"], NO_COUNTS["nested"]):
        body = kind.with_input(value)
        came = call(serve, simulator, kind, body, warns=1)
        assert (came.status, came.body) == (200, body)
        assert (came.tokens, came.event["usage_source"]) == ((None, 5), "reported"), value
        assert (came.event["cost_source"], came.event["cost_usd"]) == ("unknown", None), value
        assert came.warnings == [f"{kind.counted_as} is no count"], value


@every_kind
def test_a_count_that_is_not_reported_is_no_zero(kind: Kind, serve: Proxy, simulator: Simulator) -> None:
    came = call(serve, simulator, kind, kind.with_input(b"null"))
    assert (came.tokens, came.warnings) == ((None, 5), [])
    if came.event["operation"] not in ("embeddings", "audio"):
        assert came.event["cost_source"] == "unknown"  # half of a usage is no bill


@every_kind
def test_a_usage_that_is_no_object_is_told(kind: Kind, serve: Proxy, simulator: Simulator) -> None:
    body = (
        kind.with_input(b"9")
        .replace(b'"usage": {', b'"usage": 5, "x": {')
        .replace(b'"usageMetadata": {', b'"usageMetadata": [], "x": {')
    )
    came = call(serve, simulator, kind, body, warns=1)
    assert (came.body, came.event["usage"]) == (body, None)
    assert came.event["usage_source"] == "estimated" or came.event["cost_source"] == "unknown"
    assert [warning.partition(" is ")[2] for warning in came.warnings][:1] == ["no object"]


ODD: list[Callable[[bytes, bytes], bytes]] = [
    lambda body, name: body.replace(b'"%b": 9' % name, b'"%b": 1, "%b": 9' % (name, name)),
    lambda body, _: body.replace(b"zebras", b"\xff\xfe\xed\xa0\x80 zebras"),
    lambda body, _: body.replace(b"zebras", b"\\ud800 \\udfff zebras"),
    lambda body, _: body.replace(b"{", b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b", ", 1),
    lambda body, _: body.replace(b"{", b'{"long": "' + b"x" * (1 << 20) + b'", ', 1),
    lambda body, _: body + b"x" * (1 << 20),
]
"""What changes nothing of what is told: names twice, what is no character, depth, length, a tail."""


@every_kind
def test_an_odd_answer_is_read_all_the_same(kind: Kind, serve: Proxy, simulator: Simulator) -> None:
    name = kind.counted_as.removeprefix("usage.").encode()
    for number, change in enumerate(ODD):
        body = change(kind.with_input(b"9"), name)
        assert body != kind.with_input(b"9")
        came = call(serve, simulator, kind, body)
        assert came.body == body
        assert (number, came.tokens, came.event["cost_source"] != "unknown", came.warnings) == (
            number,
            (9, 5),
            True,
            [],
        )


@every_kind
def test_an_answer_that_breaks_off_has_no_cost_of_what_there_was(
    kind: Kind, serve: Proxy, simulator: Simulator
) -> None:
    body = kind.with_input(b"9")
    for end in (len(body) // 2, body.index(b'": 5') + 4):
        came = call(serve, simulator, kind, body[:end])
        assert came.body == body[:end]
        assert came.event["usage_source"] == "estimated" or came.event["cost_source"] == "unknown"
        assert set(came.warnings) <= {"the JSON body ends early, or is broken"}


BROKEN: dict[str, tuple[Kind, bytes | Made, tuple[int, int] | None, str | None]] = {
    "a name twice": (PLAIN, PLAIN.with_input(b'1, "prompt_tokens": 9'), (9, 5), None),
    "a usage twice": (PLAIN, PLAIN.with_input(b"9").replace(b'"usage"', b'"usage": {"prompt_tokens": 1}, "usage"'),
                      (9, 5), None),
    "no UTF-8": (PLAIN, PLAIN.with_input(b"9").replace(b"zebras", b"\xff\xfe zebras"), (9, 5), None),
    "no UTF-8 in a stream": (STREAM, STREAM.with_input(b"9").replace(b"zebras", b"\xed\xa0\x80 zebras"), (9, 5), None),
    "lone surrogates": (PLAIN, PLAIN.with_input(b'9, "\\ud800": "\\udfff"'), (9, 5), None),
    "deep": (PLAIN, b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", " + PLAIN.with_input(b"9")[1:], (9, 5), None),
    "deep usage": (PLAIN, PLAIN.with_input(b"[" * 100_000 + b"]" * 100_000), None, "usage is too large to be read"),
    "deep and open": (PLAIN, b'{"x": ' + b"[" * 100_000, None, "the JSON body ends early, or is broken"),
    "deep in a stream": (STREAM, sse(CHUNK, '{"usage": ' + "[" * 100_000) + STREAM.with_input(b"9"), (9, 5),
                         "an event is no JSON"),
    "cut off": (PLAIN, PLAIN.with_input(b"9")[:-30], None, "the JSON body ends early, or is broken"),
    "half an event": (STREAM, STREAM.with_input(b"9").replace(b"}}\n\ndata: [DONE]", b"\n\ndata: [DONE]"), None,
                      "an event is no JSON"),
    "no JSON": (PLAIN, b"zebras quarrel", None, "the body is no JSON"),
    "a line without end": (STREAM, Made(lambda: sse(CHUNK) + b"data: " + b"x" * (5 << 20)), None,
                           "an event is no JSON"),
    "a line of JSON without end": (STREAM, Made(lambda: sse(CHUNK) + b'data: {"usage": {"x": "' + b"x" * (5 << 20)),
                                   None, "the last event ends early"),
    "data lines": (STREAM, Made(lambda: sse(CHUNK) + b"data: x\n" * (1 << 18) + b"\n" + STREAM.with_input(b"9")),
                   (9, 5), "an event is no JSON"),
    "empty lines": (STREAM, Made(lambda: sse(CHUNK) + b"\n" * (2 << 20) + STREAM.with_input(b"9")), (9, 5), None),
}  # fmt: skip
"""Whose usage counts all the same, or is not there; and what is warned of."""


@pytest.mark.parametrize(("kind", "body", "tokens", "warning"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_answer_passes(
    kind: Kind, body: bytes, tokens: tuple[int, int] | None, warning: str | None, serve: Proxy, simulator: Simulator
) -> None:
    came = call(serve, simulator, kind, body, warns=1 if warning else 0)
    assert (came.status, came.body == body, came.event["response_bytes"]) == (200, True, len(body))
    assert came.event["end_reason"] == "complete"
    assert came.warnings == ([warning] if warning else [])
    if tokens is None:
        assert came.event["usage_source"] == "estimated" or came.event["cost_source"] == "unknown"
    else:
        assert (came.tokens, came.event["cost_source"]) == (tokens, "computed")


@pytest.mark.parametrize(
    "kind", [STREAM, KINDS["messages"], KINDS["gemini stream"]], ids=["chat", "messages", "gemini"]
)
def test_an_error_event_in_a_stream_that_began_well(kind: Kind, serve: Proxy, simulator: Simulator) -> None:
    first, _, _ = kind.with_input(b"9").partition(b"\n\n")
    error = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "zebras quarrel"}}'
    body = b"\n\n".join([first, error, b""])
    came = call(serve, simulator, kind, body)
    assert came.body == body
    assert (came.event["status"], came.event["end_reason"]) == (200, "stream_error")
    assert (came.event["error_type"], came.warnings) == ("overloaded_error", [])
    assert came.event["cost_source"] == "unknown"


BOMB = 30 << 20


@pytest.mark.parametrize("kind", [PLAIN, STREAM, KINDS["messages"], ARRAY], ids=["chat", "stream", "messages", "array"])
@pytest.mark.parametrize(
    ("claim", "pack", "warning"),
    [
        ("gzip", bytes, "the body is not gzip"),
        ("br", gzip.compress, "the body is not br"),
        ("zstd", brotli.compress, "the body is not zstd"),
        ("deflate", zstandard.compress, "the body is not deflate"),
        ("compress", bytes, "the content-encoding is none of br, deflate, gzip, x-gzip, zstd"),
        ("gzip", lambda body: gzip.compress(body)[:60], "the gzip body ends early"),
        (
            "gzip",
            lambda body: gzip.compress(b"\n" * BOMB + body),
            "the body is more than 100 times as large once decoded",
        ),
        ("gzip, br", lambda body: brotli.compress(gzip.compress(body)), None),
        ("GZIP", lambda body: gzip.compress(body[:99]) + gzip.compress(body[99:]), None),
    ],
    ids=["gzip: plain", "br: gzip", "zstd: br", "deflate: zstd", "unknown", "cut off", "bomb", "two", "members"],
)
def test_a_coding_that_is_not_what_it_says(
    claim: str, pack: Callable[[bytes], bytes], warning: str | None, kind: Kind, serve: Proxy, simulator: Simulator
) -> None:
    body = pack(kind.with_input(b"9"))
    came = call(serve, simulator, kind, body, headers={"content-encoding": claim}, warns=0 if warning is None else 1)
    assert (came.status, came.body == body, came.event["end_reason"]) == (200, True, "complete")
    if warning is None:
        assert (came.tokens, came.event["cost_source"], came.warnings) == ((9, 5), "computed", [])
    else:
        assert (came.event["cost_source"], came.event["cost_usd"], came.warnings) == ("unknown", None, [warning])


def test_an_answer_that_is_nothing_but_work(serve: Proxy, simulator: Simulator) -> None:
    body = brotli.compress(b"[" + b"1," * (BOMB // 2), quality=2)
    came = call(serve, simulator, ARRAY, body, headers={"content-encoding": "br"}, warns=1)
    assert (came.body, came.warnings) == (body, ["the body takes too much work to read"])


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "model"),
    [
        (b'{"model": "m", "messages": [', {}, "m"),
        (b'{"messages" [], "model": "m"}', {}, None),
        (b'{"model": "m", "x": ' + b"[" * 100_000, {}, "m"),
        (b"[" * 100_000, {}, None),
        (b'{"model": ' + b'{"a":' * 100_000, {}, None),
        (b'{"model": "\\ud800"}', {}, "\ufffd"),
        (b'{"model": "a", "model": "m"}', {}, "m"),
        (b'{"model": "\xff"}', {}, "\ufffd"),
        (b'{"model": 1e400}', {}, None),
        (b"\x00" * 1000, {}, None),
        (gzip.compress(b'{"model": "m"}'), {"content-encoding": "gzip"}, "m"),
        (Made(lambda: gzip.compress(b'{"model": "m", "x": "' + b"x" * BOMB)), {"content-encoding": "gzip"}, "m"),
        (Made(lambda: gzip.compress(b'{"model": "m", ' + b'"a":1,' * (BOMB // 6))), {"content-encoding": "gzip"}, "m"),
        (b'{"model": "m"}', {"content-encoding": "gzip"}, None),
        (b'{"model": "m"}', {"content-encoding": "zebra"}, None),
        (b"--x\r\n" * 50_000, {"content-type": "multipart/form-data; boundary=x"}, None),
    ],
    ids=["open", "broken", "deep", "all deep", "deep model", "surrogate", "twice", "no UTF-8", "no name", "zeros",
         "gzip", "bomb", "work", "no gzip", "unknown coding", "empty fields"],
)  # fmt: skip
def test_a_strange_request_reaches_the_provider_as_it_is(
    body: bytes, headers: dict[str, str], model: str | None, serve: Proxy, simulator: Simulator
) -> None:
    came = call(serve, simulator, PLAIN, PLAIN.with_input(b"9"), request=body, request_headers=headers)
    assert came.received.body_sha256 == hashlib.sha256(body).hexdigest()
    coding = headers.get("content-encoding")
    assert came.received.header("content-encoding") == ([coding.encode()] if coding else [])
    assert (came.event["model_requested"], came.event["request_bytes"]) == (model, len(body))
    assert (came.tokens, came.event["cost_source"]) == ((9, 5), "computed")


# --- sessions ---------------------------------------------------------------------------------------------------------


DONE = '{"type": "response.done", "response": {"id": "%s", "model": "gpt-realtime", "usage": %s}}'
TURN = '{"usageMetadata": {"promptTokenCount": %s, "responseTokenCount": 5}}'


@pytest.mark.parametrize(
    ("target", "good", "bad", "rows"),
    [
        (
            "/openai/v1/realtime?model=gpt-realtime",
            DONE % ("good", '{"input_tokens": 9, "output_tokens": 5}'),
            [
                DONE % ("text", '{"input_tokens": "9", "output_tokens": 5}'),
                DONE % ("huge", '{"input_tokens": 9223372036854775808, "output_tokens": 5}'),
                DONE % ("list", "[9]"),
                DONE % ("deep", "[" * 20_000),
                DONE % ("twice", '{"input_tokens": 9, "input_tokens": 9, "output_tokens": 5}'),
                DONE % ("surrogate", '{"input_tokens": "\\ud800", "output_tokens": 5}'),
                '{"type": "response.done", "response": {"usage": {"input_tokens": 9',
                '{"response.done": ' * 1500,
                '{"type": ["response.done"]}',
            ],
            [(None, 5), (None, 5), (None, None), (None, None), (9, 5), (None, 5), (None, None)],
        ),
        (
            "/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            TURN % "9",
            [
                TURN % '"9"',
                TURN % "-1",
                '{"usageMetadata": 5}',
                '{"usageMetadata": {"promptTokenCount": 9',
                '{"usageMetadata": {}}',
            ],
            [(None, 5), (None, 5), (None, None)],
        ),
    ],
    ids=["openai", "gemini"],
)  # fmt: skip
def test_a_session_goes_on_after_bad_messages(
    target: str,
    good: str,
    bad: list[str],
    rows: list[tuple[int | None, int | None]],
    realtime: Proxy,
    echo: EchoServer,
) -> None:
    label = uuid.uuid4().hex
    headers = [(b"authorization", f"Bearer {realtime.token}".encode()), (b"x-metrion-user", label.encode())]
    client = Client(realtime.port, target, headers)
    assert client.status == 101
    said = ["no JSON", "\ud7ff \x00", *bad, good]
    assert [client.ask(text) for text in said] == [text if text.startswith("{") else text.upper() for text in said]
    client.close()
    query = f"SELECT * FROM events WHERE user_label = '{label}' ORDER BY event_id"  # noqa: S608 -- our own label
    found = eventually(lambda: realtime.events(query), until=lambda rows_now: len(rows_now) == len(rows) + 2)
    (closing,) = (row for row in found if row["latency_ms"] is not None)
    billed = [row for row in found if row["latency_ms"] is None]
    # Those of one millisecond are in no order.
    assert Counter((row["input_tokens"], row["output_tokens"]) for row in billed) == Counter([*rows, (9, 5)])
    assert {row["cost_source"] for row in billed if None in (row["input_tokens"], row["output_tokens"])} == {"unknown"}
    assert closing["end_reason"] == "complete"
    assert SECRET not in realtime.log.read_text()
