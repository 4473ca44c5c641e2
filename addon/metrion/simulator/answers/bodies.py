"""Bodies: values in, an answer with the bytes that a provider sends for them out."""

from __future__ import annotations

import json
from collections.abc import Iterable

from metrion.simulator.answers.request import Json
from metrion.simulator.delivery import Answer


def json_answer(status: int, body: object, *headers: tuple[str, str]) -> Answer:
    """Return an answer whose body is one JSON value."""
    return Answer(status, (("content-type", "application/json"), *headers), (encoded(body),))


def sse_answer(events: Iterable[bytes], *headers: tuple[str, str]) -> Answer:
    """Return a stream of server-sent events."""
    return Answer(200, (("content-type", "text/event-stream; charset=utf-8"), *headers), tuple(events), chunked=True)


def encoded(body: object) -> bytes:
    """Write JSON without spaces, as the providers do."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def data_event(body: object) -> bytes:
    """Write an event that has data only."""
    return b"data: %b\n\n" % encoded(body)


def named_event(body: Json) -> bytes:
    """Write an event that is named after the body's ``type``."""
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), encoded(body))


def fragments(text: str) -> list[str]:
    """Cut a text into groups of a few words, as a stream has it."""
    words = text.split(" ")
    groups = [" ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
    return [groups[0], *(f" {group}" for group in groups[1:])]
