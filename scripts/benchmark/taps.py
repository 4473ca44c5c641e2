"""What reading adds to a chunk of a stream, in every wire format, and what a large response holds of memory.

The streams are recorded ones, an event to a chunk, where there are recordings; else the simulator's.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import time
import tracemalloc
from collections.abc import Iterator

from metrion.metering.tap import Tap
from metrion.simulator.answers import Request, provider_answer
from scripts.benchmark.results import Extent, Result
from tests.corpus import CORPUS, encode, exchanges
from tests.recordings import route

QUIET = "tap, a chunk without usage, median"
TELLING = "tap, any other chunk, median"
HELD = "tap, memory held of 10 MB"

STREAMS = 40
"""As many streams of each wire format are read."""
SIMULATED = (
    ("openai_chat", "openai", "/v1/chat/completions"),
    ("anthropic_messages", "anthropic", "/v1/messages"),
    ("gemini", "google", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
)
_ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}], "stream": True}
_EVENT = re.compile(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)


def measure(extent: Extent) -> Iterator[Result]:
    """See the module."""
    streams = _streams(extent.count(STREAMS))
    for dialect, streamed in streams.items():
        best: dict[tuple[int, int], float] = {}
        quiet: set[tuple[int, int]] = set()
        end = time.perf_counter() + extent.part(0.06) / len(streams)
        rounds = 0
        while not rounds or time.perf_counter() < end:
            for number, events in enumerate(streamed):
                tap = Tap(dialect, content_type="text/event-stream", content_encoding=None, status=200)
                for at, event in enumerate(events):
                    started = time.perf_counter()
                    tap.feed(event)
                    took = (time.perf_counter() - started) * 1e6
                    place = number, at
                    if not rounds:
                        quiet |= {place} if _is_quiet(event) and place[1] else set()
                    best[place] = min(best.get(place, took), took)
            rounds += 1
        for name, places in ((QUIET, quiet), (TELLING, best.keys() - quiet)):
            if places:
                yield Result(name, dialect, statistics.median(best[place] for place in places), "µs")
    for coding in ("identity", "gzip"):
        yield Result(HELD, f"embeddings, {coding}", _held(coding), "MB")


def _is_quiet(event: bytes) -> bool:
    """Return whether an event has nothing that is metered."""
    for null in (b'"usage":null', b'"usage": null', b'"finish_reason":null', b'"finish_reason": null'):
        event = event.replace(null, b"")
    return not any(mark in event for mark in (b"sage", b"finish", b"[DONE]", b"message_", b'"error"'))


def _streams(most: int) -> dict[str, list[list[bytes]]]:
    """Return streams by wire format, at most so many of each, as their events."""
    found: dict[str, list[list[bytes]]] = {}
    for exchange in exchanges() if CORPUS.is_dir() else ():
        dialect = route(exchange).dialect
        if exchange.streamed and dialect is not None and len(found.setdefault(dialect, [])) < most:
            found[dialect].append(_EVENT.findall(exchange.response_body))
    if found:
        return found
    body = json.dumps(_ASKED).encode()
    for dialect, provider, path in SIMULATED:
        headers = {"authorization": "Bearer key", "x-api-key": "key", "x-goog-api-key": "key"}
        answer = provider_answer(provider, Request("POST", path, "alt=sse", headers, body, 1))
        found[dialect] = [list(answer.pieces)]
    return found


def _held(coding: str) -> float:
    """Return the most megabytes that reading a response of 10 MB holds, beyond the chunk in hand."""
    rng = random.Random(1)
    vectors = [{"object": "embedding", "embedding": [rng.uniform(-1, 1) for _ in range(1536)]} for _ in range(320)]
    response = {"object": "list", "data": vectors, "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    body = encode(json.dumps(response).encode(), coding)
    tap = Tap("openai_embeddings", content_type="application/json", content_encoding=coding, status=200)
    tracemalloc.start()
    for start in range(0, len(body), 65536):
        tap.feed(body[start : start + 65536])
    tap.finish()
    most = tracemalloc.get_traced_memory()[1] - 65536
    tracemalloc.stop()
    if tap.reading.usage is None or tap.reading.usage.input_tokens != 8:
        raise ValueError("the response that is measured is not read")
    return most / 1e6
