"""What goes over the wire: requests as an SDK sends them and answers as a provider does, each unlike the one before.

The Content-Length, one header, the id and the usage vary from message to message; nothing else does. Knows nothing of
Metrion, so that another commit's code can be measured with the same messages.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VARIANTS = 97
"""Bodies of so many lengths; the number of a message goes into each of them."""
STREAM_CHUNKS = 202
"""Events of a stream before its ``[DONE]``, unless a request asks for another number."""

MODEL = "gpt-4o-2024-08-06"
MARK = "x-bench"
"""The header that says whose a request is and which of them."""
_WORDS = ("amber", "basalt", "copper", "drift", "ember", "fjord", "granite", "harbour", "indigo", "juniper")
_NUMBER = "########"
_CONTEXT = "Answer briefly and name the colour that fits best. " * 12

SDK_FIELDS: Mapping[str, str] = {
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.6.1",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.6.1",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.13.0",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
PROVIDER_FIELDS: Mapping[str, str] = {
    "date": "Tue, 01 Jul 2025 12:00:00 GMT",
    "server": "cloudflare",
    "access-control-expose-headers": "X-Request-ID",
    "openai-organization": "bench",
    "openai-processing-ms": "412",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999961",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "alt-svc": 'h3=":443"; ma=86400',
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The usage that an answer reports."""

    input: int
    cached: int
    output: int


def words(count: int) -> str:
    """Return a text of so many words."""
    return " ".join(itertools.islice(itertools.cycle(_WORDS), count))


def fields(lines: Mapping[str, str]) -> str:
    """Write header fields."""
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items())


# --- requests ---------------------------------------------------------------------------------------------------------


def request_body(number: int, *, stream: bool) -> bytes:
    """Return a body of about a kilobyte."""
    asked = {
        "messages": [
            {"role": "system", "content": _CONTEXT},
            {"role": "user", "content": f"Which of these is a colour: {words(1 + number % VARIANTS % 31)}?"},
        ],
        "model": "gpt-4o",
        "temperature": 0.2,
    }
    return _compact(asked | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {}))


def requests(port: int, path: str, own: Mapping[str, str], mark: str, *, stream: bool) -> Iterator[bytes]:
    """Yield requests without end, each as it goes onto the wire. ``own``: fields beside an SDK's."""
    variants = []
    for number in range(VARIANTS):
        body = request_body(number, stream=stream)
        lines = {"host": f"127.0.0.1:{port}", **SDK_FIELDS, **own, "content-length": str(len(body))}
        before = f"POST {path} HTTP/1.1\r\n{fields(lines)}{MARK}: {mark}:".encode()
        variants.append((before, b"\r\n\r\n" + body))
    for number in itertools.count():
        before, after = variants[number % VARIANTS]
        yield b"%b%08d%b" % (before, number, after)


# --- answers ----------------------------------------------------------------------------------------------------------


def tokens(number: int) -> Tokens:
    """Return the usage of the answer of this number."""
    read = 100 + number * 37 % 9000
    return Tokens(input=read, cached=read // 2, output=1 + number * 11 % 500)


def usage(told: Tokens) -> dict[str, Any]:
    """Word a usage as chat completions do."""
    return {
        "prompt_tokens": told.input,
        "completion_tokens": told.output,
        "total_tokens": told.input + told.output,
        "prompt_tokens_details": {"cached_tokens": told.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


class PlainAnswers:
    """Whole answers, each as it goes onto the wire."""

    def __init__(self) -> None:
        self._variants = [self._variant(number) for number in range(VARIANTS)]

    def answer(self, number: int) -> bytes:
        """Return the answer of this number; the usage in it is ``tokens(number % VARIANTS)``."""
        head, between, body = self._variants[number % VARIANTS]
        return b"%b%08d%b%08d%b" % (head, number, between, number, body)

    @staticmethod
    def _variant(number: int) -> tuple[bytes, bytes, bytes]:
        message = {"role": "assistant", "content": words(1 + number % 13), "refusal": None}
        body = _compact(
            {
                "id": f"chatcmpl-{_NUMBER}",
                "object": "chat.completion",
                "created": 1_760_000_000,
                "model": MODEL,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": usage(tokens(number)),
                "service_tier": "default",
                "system_fingerprint": "fp_bench",
            }
        )
        head = answer_head(_NUMBER, {"content-type": "application/json", "content-length": str(len(body))})
        before, between, after = (head + body).split(_NUMBER.encode())
        return before, between, after


class StreamedAnswers:
    """Streams of so many chunks: server-sent events, the last of them the usage."""

    def __init__(self, chunks: int = STREAM_CHUNKS) -> None:
        spoken = itertools.islice(itertools.cycle(_WORDS), max(0, chunks - 3))
        deltas: list[dict[str, Any]] = [{"content": f" {word}"} for word in spoken]
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        self._events = [*(_chunk(delta) for delta in (opening, *deltas)), _chunk({}, finish="stop")]

    def events(self, number: int) -> Iterator[bytes]:
        """Yield the events of the stream of this number, ``[DONE]`` too; the usage is ``tokens(number)``."""
        identity = b"%08d" % number
        for event in self._events:
            yield event.replace(_NUMBER.encode(), identity)
        yield _event({"choices": [], "usage": usage(tokens(number))}).replace(_NUMBER.encode(), identity)
        yield b"data: [DONE]\n\n"

    @staticmethod
    def head(number: int) -> bytes:
        """Return the head of the stream of this number."""
        framing = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
        return answer_head(f"{number:08d}", framing)


def answer_head(number: str, framing: Mapping[str, str]) -> bytes:
    """Return the head of a response."""
    lines = {**framing, **PROVIDER_FIELDS, "x-request-id": f"req_{number}"}
    return f"HTTP/1.1 200 OK\r\n{fields(lines)}\r\n".encode()


def framed(piece: bytes) -> bytes:
    """Return a piece of a body as an HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event({"choices": [choice], "usage": None})


def _event(own: Mapping[str, Any]) -> bytes:
    shared = {
        "id": f"chatcmpl-{_NUMBER}",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": MODEL,
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    }
    return b"data: " + _compact({**shared, **own}) + b"\n\n"


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
