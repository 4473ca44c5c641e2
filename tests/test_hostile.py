"""Bodies that nobody should send, and mutations of those that providers do: nothing is made up, held, quoted or stuck.

``METRION_TEST_EXAMPLES`` says how many mutations are tried of each kind: 100, in a long run many thousands.
"""

from __future__ import annotations

import gc
import gzip
import json
import random
import re
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from metrion.dialects import DIALECTS, SESSIONS
from metrion.dialects.dialect import Dialect
from metrion.estimates import Sample, estimate, estimate_input
from metrion.journal import writer as journal
from metrion.metering.meter import measure
from metrion.metering.request_reader import RequestReader
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Forward, Head, Inbound, Reading
from metrion.pricing import PriceBook
from tests.corpus import encode, encode_pieces
from tests.metering.test_cuts import raw_deflate, recorded
from tests.metering.test_meter import CALLER, OUTCOME, ROUTE

CANARY = "zebras quarrel"
MOST = (1 << 63) - 1
HELD = 400_000
"""Bytes that a reader may hold, whatever it has been fed."""
LONGEST = 1 << 20
"""Bytes of a mutation."""
SECONDS = 3.0
"""Of computing, that a chunk may take on the slowest machine; on a fast one the worst takes a tenth of it."""


# --- what must be true of whatever is read ----------------------------------------------------------------------------


@cache
def prices() -> PriceBook:
    return PriceBook.load([Path(__file__).parents[1] / "pricing.yaml"])


def stored(reading: Reading, end_reason: EndReason = EndReason.COMPLETE, status: int = 200) -> Event:
    event = measure(
        Inbound(b"POST", b"/openai/chat/completions", ()),
        Forward(ROUTE, CALLER, wire=Head(b"", ()), shown=Head(b"", ())),
        replace(OUTCOME, end_reason=end_reason, status=status),
        reading,
        prices(),
        model_requested="gpt-4o",
    )
    assert event is not None
    return event


def literals(value: Any) -> list[Any]:
    """What stands in a JSON value that is neither an object nor an array, however deep that is nested."""
    found, left = [], [value]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
        else:
            found.append(value)
    return found


def holds(reading: Reading, event: Event) -> None:
    """Assert what is true of every reading, and of its event."""
    assert not any(warning.endswith("while reading") for warning in reading.warnings), reading.warnings
    assert not any(word in warning for warning in reading.warnings for word in CANARY.split())
    assert len(reading.warnings) <= 16
    usage = reading.usage
    if usage is None:
        assert (event.usage_source, event.usage) == ("none", None)
    else:
        counts = {name: getattr(usage, name) for name in usage.__slots__ if name.endswith("_tokens")}
        tools = {**(usage.server_tools or {}), **(usage.unreported_tools or {})}
        for name, count in (*counts.items(), *tools.items()):
            assert count is None or (type(count) is int and 0 <= count <= MOST), name
        assert usage.audio_seconds is None or 0 <= usage.audio_seconds <= 10**9
        if 0 in {count for name, count in counts.items() if name not in DEDUCED}:  # then somebody said so
            said = json.loads(usage.raw or "null", parse_int=str, parse_float=str)
            assert {"0", "-0"} & {each for each in literals(said) if isinstance(each, str)}, usage.raw
        assert event.usage_source == ("estimated" if reading.estimated else "reported")
    assert event.cost_usd is None or 0 <= event.cost_usd < 10**6
    assert (event.cost_usd is None) == (event.cost_source in ("unknown", "unpriced"))
    assert usage is not None or event.cost_source in ("unknown", "not_billed")
    json.loads(journal.encode(event, "w", 1), parse_constant=pytest.fail)


DEDUCED = {"cache_read_audio_tokens", "cache_read_image_tokens"}
"""They are in no column. Where all that was read from a cache is told by its kind, what is not among that is 0."""

SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, Dialect, re.Pattern)


def held(root: object) -> int:
    """Bytes of everything that an object holds on to, beside what is there once for all."""
    seen, queue, total = set[int](), [root], 0
    while queue:
        value = queue.pop()
        if id(value) not in seen and not isinstance(value, SHARED) and type(value).__name__ != "_Format":
            seen.add(id(value))
            total += value.__sizeof__()
            queue += gc.get_referents(value)
    return total


def feed(reader: Tap | RequestReader, body: bytes, sizes: Sequence[int] = ()) -> None:
    at = 0
    for size in (*sizes, *[1 << 16] * (len(body) // (1 << 16) + 1)):
        before = time.thread_time()
        reader.feed(body[at : at + size])
        assert time.thread_time() - before < SECONDS
        at += size


# --- bombs, and what is made of nothing but work ----------------------------------------------------------------------

CHAT_OPENING = b'data: {"id": "c", "model": "m", "choices": []}\n\n'
JSON_TYPE, SSE_TYPE, LINES_TYPE = "application/json", "text/event-stream", "application/x-jsonl"

MADE_OF: dict[str, tuple[str, str, bytes, bytes]] = {
    "zeros": ("openai_chat", JSON_TYPE, b"", b"\0"),
    "space": ("openai_chat", JSON_TYPE, b'{"usage": {"prompt_tokens": 1},', b" "),
    "a string": ("openai_chat", JSON_TYPE, b'{"x": "', b"a"),
    "backslashes": ("openai_chat", JSON_TYPE, b'{"x": "', b"\\"),
    "brackets": ("openai_chat", JSON_TYPE, b'{"x": ', b"["),
    "brackets in a usage": ("openai_chat", JSON_TYPE, b'{"usage": ', b"["),
    "members": ("openai_chat", JSON_TYPE, b"{", b'"a":1,'),
    "escaped names": ("openai_chat", JSON_TYPE, b"{", b'"\\u0061":1,'),
    "choices": ("openai_chat", JSON_TYPE, b'{"choices": [', b"1,"),
    "usages": ("openai_chat", JSON_TYPE, b"{", b'"usage":{"a":1},'),
    "digits": ("openai_chat", JSON_TYPE, b'{"usage": {"prompt_tokens": ', b"9"),
    "elements": ("gemini", JSON_TYPE, b"[", b"1,"),
    "objects": ("gemini", JSON_TYPE, b"[", b"{},"),
    "chunks": ("gemini", JSON_TYPE, b"[", b'{"usageMetadata":{"promptTokenCount":1}},'),
    "queries": ("gemini", JSON_TYPE, b"[", b'{"candidates":[{"groundingMetadata":{"webSearchQueries":["a"]}}]},'),
    "data lines": ("openai_chat", SSE_TYPE, CHAT_OPENING, b"data: x\n"),
    "comments": ("openai_chat", SSE_TYPE, CHAT_OPENING, b": x\n"),
    "line ends": ("openai_chat", SSE_TYPE, CHAT_OPENING, b"\n"),
    "returns": ("openai_chat", SSE_TYPE, CHAT_OPENING, b"\r"),
    "one line": ("openai_chat", SSE_TYPE, CHAT_OPENING + b"data: ", b"x"),
    "one comment": ("openai_chat", SSE_TYPE, CHAT_OPENING + b":", b"x"),
    "a line of JSON": ("openai_chat", SSE_TYPE, CHAT_OPENING + b'data: {"usage": {"x": "', b"x"),
    "events": ("openai_chat", SSE_TYPE, CHAT_OPENING, b"data: x\n\n"),
    "events of usage": ("openai_chat", SSE_TYPE, CHAT_OPENING, b'data: "usage"\n\n'),
    "an event among others": ("openai_chat", SSE_TYPE, CHAT_OPENING, b"data: x\n\n" * 7000 + b'data: "usage"\n\n'),
    "merged usages": (
        "anthropic_messages", SSE_TYPE, b"", b'data: {"type":"message_delta","usage":{"input_tokens":1}}\n\n'
    ),
    "blank lines": ("anthropic_batch_results", LINES_TYPE, b"{}", b"\n"),
    "lines": ("anthropic_batch_results", LINES_TYPE, b"{}", b"x\n"),
    "results": (
        "anthropic_batch_results", LINES_TYPE, b"", b'{"result":{"message":{"model":"m","usage":{"input_tokens":1}}}}\n'
    ),
}  # fmt: skip
"""A wire format, a content type, how the body begins, and what it goes on with for ever."""

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 6),
    "br": lambda body: brotli.compress(body, quality=2),
    "zstd": zstandard.compress,
}
UNREAD = {
    "the body is more than 100 times as large once decoded",
    "the body takes too much work to read",
    "the JSON body ends early, or is broken",
}


def enough(what: str) -> int:
    """Bytes that are too many: to be decoded, or to be worked on."""
    _, _, _, unit = MADE_OF[what]
    return 18 << 20 if len(unit) == 1 or what == "events" else 4 << 20


def endless(what: str, size: int) -> bytes:
    _, _, start, unit = MADE_OF[what]
    return start + unit * (size // len(unit))


@pytest.mark.parametrize(("what", "coding"), list(zip(MADE_OF, cycle(PACK), strict=False)))
def test_a_bomb_is_left_before_it_takes_time_or_memory(what: str, coding: str) -> None:
    dialect, content_type, _, _ = MADE_OF[what]
    plain = endless(what, enough(what))
    wire = PACK[coding](plain)
    assert len(wire) < len(plain) / 100
    tap = Tap(dialect, content_type=content_type, content_encoding=coding, status=200)
    feed(tap, wire)
    tap.finish()
    assert set(tap.reading.warnings) & UNREAD
    assert held(tap) < HELD
    event = stored(tap.reading)
    assert (event.cost_source, event.cost_usd) == ("unknown", None)
    holds(tap.reading, event)


@pytest.mark.parametrize("what", MADE_OF)
def test_what_never_ends_is_not_held(what: str) -> None:
    dialect, content_type, _, _ = MADE_OF[what]
    tap = Tap(dialect, content_type=content_type, content_encoding=None, status=200)
    body = endless(what, 1 << 19)
    for start in range(0, len(body), 1 << 15):
        feed(tap, body[start : start + (1 << 15)], [1000] * 3)
        assert held(tap) < HELD
    holds(tap.reading, stored(tap.reading))


@pytest.mark.parametrize(
    ("what", "coding"),
    list(zip((name for name, (_, kind, _, _) in MADE_OF.items() if kind == JSON_TYPE), cycle(PACK), strict=False)),
)
def test_a_request_that_is_a_bomb_is_left_too(what: str, coding: str) -> None:
    reader = RequestReader(content_type=JSON_TYPE, content_encoding=coding)
    feed(reader, PACK[coding](b'{"model": "m", "x": [' + endless(what, enough(what))))
    reader.finish()
    assert reader.model == "m"
    assert held(reader) < HELD


def running_totals(count: int) -> list[bytes]:
    usage = '{"prompt_tokens": 9, "completion_tokens": %d, "total_tokens": %d}'
    return [*(sse(CHAT % ("null", usage % (at, 9 + at))) for at in range(count)), sse(CHAT % ('"stop"', CHAT_USAGE))]


def results(count: int) -> list[bytes]:
    rng = random.Random(5)
    return [RESULT.replace('"m"', f'"msg_{rng.randbytes(9).hex()}"').encode() + b"\n" for _ in range(count)]


@pytest.mark.parametrize(
    ("dialect", "content_type", "coding", "body", "tokens"),
    [
        ("openai_chat", SSE_TYPE, "gzip", running_totals, (9, 9_999)),  # a running total does not fall
        ("anthropic_batch_results", LINES_TYPE, "zstd", results, (16 * 10_000, 5 * 10_000)),
    ],
    ids=["running totals", "results"],
)
def test_a_long_answer_that_is_packed_well_is_no_bomb(
    dialect: str, content_type: str, coding: str, body: Callable[[int], list[bytes]], tokens: tuple[int, int]
) -> None:
    tap = Tap(dialect, content_type=content_type, content_encoding=coding, status=200)
    feed(tap, b"".join(encode_pieces(body(10_000), coding)))
    tap.finish()
    assert tap.reading.warnings == ()
    assert tap.reading.usage is not None
    assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == tokens


# --- mutations --------------------------------------------------------------------------------------------------------


def sse(*documents: str) -> bytes:
    return "".join(f"data: {document}\n\n" for document in documents).encode()


CHAT = (
    '{"id": "c1", "model": "gpt-4o-2024-08-06", "service_tier": "default", "choices": [{"index": 0, "delta": {'
    '"content": "zebras quarrel"}, "finish_reason": %s}], "usage": %s}'
)
CHAT_USAGE = (
    '{"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 3, '
    '"audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 2}, "cost": 0.01, "num_sources_used": 1}'
)
MESSAGE = (
    '{"type": "message", "id": "m", "model": "claude-haiku-4-5", "content": "zebras quarrel", "stop_reason": '
    '"end_turn", "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, '
    '"cache_creation": {"ephemeral_1h_input_tokens": 1}, "output_tokens": 5, "server_tool_use": {"web_search_requests"'
    ': 1}, "iterations": [{"type": "message", "input_tokens": 16, "output_tokens": 5}]}}'
)
RESPONSE = (
    '{"id": "r", "model": "gpt-5", "status": "completed", "output": [{"type": "web_search_call", "status": "completed"}'
    ', {"text": "zebras quarrel"}], "tool_usage": {"image_gen": {"output_tokens": 4}}, "usage": {"input_tokens": 9, '
    '"input_tokens_details": {"cached_tokens": 3}, "output_tokens": 5, "total_tokens": 14}}'
)
GEMINI = (
    '{"candidates": [{"content": {"parts": [{"text": "zebras quarrel"}]}, "finishReason": "STOP", '
    '"groundingMetadata": {"webSearchQueries": ["zebras quarrel"]}}], "usageMetadata": {"promptTokenCount": 9, '
    '"candidatesTokenCount": 5, "thoughtsTokenCount": 2, "cachedContentTokenCount": 3, "promptTokensDetails": '
    '[{"modality": "AUDIO", "tokenCount": 4}]}, "modelVersion": "gemini-2.5-flash", "responseId": "r"}'
)
RESULT = '{"custom_id": "zebras quarrel", "result": {"type": "succeeded", "message": %s}}' % MESSAGE  # noqa: UP031


@dataclass(frozen=True, slots=True)
class Body:
    dialect: str
    content_type: str
    body: bytes


BODIES = [
    Body("openai_chat", JSON_TYPE, (CHAT % ('"stop"', CHAT_USAGE)).encode()),
    Body("openai_chat", SSE_TYPE, sse(*[CHAT % ("null", "null")] * 3, CHAT % ('"stop"', CHAT_USAGE), "[DONE]")),
    Body("anthropic_messages", JSON_TYPE, MESSAGE.encode()),
    Body("anthropic_messages", SSE_TYPE, sse(
        f'{{"type": "message_start", "message": {MESSAGE}}}',
        '{"type": "content_block_delta", "delta": {"text": "zebras quarrel"}}',
        '{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}',
        '{"type": "message_stop"}',
    )),
    Body("anthropic_batch_results", LINES_TYPE, f"{RESULT}\n{RESULT}\n".encode()),
    Body("openai_responses", JSON_TYPE, RESPONSE.encode()),
    Body("openai_responses", SSE_TYPE, sse(f'{{"type": "response.completed", "response": {RESPONSE}}}')),
    Body("gemini", JSON_TYPE, GEMINI.encode()),
    Body("gemini", JSON_TYPE, f"[{GEMINI},\n{GEMINI}]".encode()),
    Body("gemini", SSE_TYPE, sse(GEMINI, GEMINI)),
    Body("openai_embeddings", JSON_TYPE, b'{"model": "m", "data": [{"x": [1]}], "usage": {"prompt_tokens": 3}}'),
    Body("openai_audio", JSON_TYPE, b'{"text": "zebras quarrel", "usage": {"type": "duration", "seconds": 7}}'),
    Body("openai_audio", SSE_TYPE, sse('{"type": "transcript.text.done", "usage": {"input_tokens": 3, "seconds": 7}}')),
    Body("mistral_ocr", JSON_TYPE, b'{"model": "m", "usage_info": {"pages_processed": 3}}'),
    Body("vertex_predict", JSON_TYPE, b'{"predictions": [{"embeddings": {"statistics": {"token_count": 3}}}]}'),
]  # fmt: skip

VALUES = [b"-1", b"1e400", b"9223372036854775807", b"9223372036854775808", b"NaN", b"Infinity", b"-Infinity", b'"9"',
          b"null", b"true", b"[]", b"{}", b"[9]", b'{"a": 9}', b"0", b"-0", b"0.0", b"1.5", b"1e5", b"9" * 5001,
          b'"\\ud800"', b"1e-400", b"007", b'"zebras quarrel"', b"[" * 2000 + b"]" * 2000, b"[" * 300_000,
          b'{"a":' * 9000, b'"' + b"x" * 300_000 + b'"', b"1e99999999999999999999", b"1." + b"9" * 40_000]  # fmt: skip
INSERTED = [b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"\n\n", b"\r", b"\r\n", b"data: ", b"\xef\xbb\xbf", b'"', b"\\", b"}",
            b"]", b"\ndata: [DONE]\n\n", b'\nevent: error\ndata: {"error": {"type": "overloaded_error"}}\n\n',
            b'"usage":5,', b"\n: ping\n", b"data: {]}\n\n", b"x" * 70_000, b"data: x\n" * 9000]  # fmt: skip

NUMBER = re.compile(rb"(?<=[:\[, ])-?\d+(?:\.\d+)?(?=[,}\] ])")
VALUE = re.compile(rb'(?<=[:\[] )(?:"[^"]*"|-?\d[\d.]*|null|true|false|\{\})')

type Mutate = Callable[[bytes, int, int], bytes]
"""A body, a place in it, and a choice."""


def swap(pattern: re.Pattern[bytes]) -> Mutate:
    def mutate(body: bytes, place: int, choice: int) -> bytes:
        found = list(pattern.finditer(body))
        if not found:
            return body
        one = found[place % len(found)]
        return body[: one.start()] + VALUES[choice % len(VALUES)] + body[one.end() :]

    return mutate


def somewhere(body: bytes, place: int) -> int:
    return place % (len(body) + 1)


MUTATIONS: list[Mutate] = [
    swap(NUMBER),
    swap(NUMBER),
    swap(VALUE),
    lambda body, place, _: body[: somewhere(body, place)],
    lambda body, place, _: body[somewhere(body, place) :],
    lambda body, place, size: body[: somewhere(body, place) + size] + body[somewhere(body, place) :],  # again
    lambda body, place, size: body[: somewhere(body, place)] + body[somewhere(body, place) + size :],
    lambda body, place, choice: (
        body[: somewhere(body, place)] + INSERTED[choice % len(INSERTED)] + body[somewhere(body, place) :]
    ),
    lambda body, place, choice: body[: somewhere(body, place)] + BODIES[choice % len(BODIES)].body,
    lambda body, place, choice: BODIES[choice % len(BODIES)].body + body[somewhere(body, place) :],
    lambda body, _, choice: body.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b""][choice % 4]),
    lambda body, _, choice: re.sub(rb'(?<=")[a-z]+_(?=[a-z]+":)', b"", body, count=1 + choice % 3),
    lambda body, _, choice: body * (1 + choice % 40),
]
ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: encode(body, "gzip"),
    "members": lambda body: encode(body, "gzip", members=3),
    "zlib": lambda body: encode(body, "deflate"),
    "deflate": raw_deflate,
    "br": lambda body: brotli.compress(body, quality=1),
    "zstd": lambda body: encode(body, "zstd"),
    "frames": lambda body: encode(body, "zstd", members=2),
    "gzip, br": lambda body: brotli.compress(encode(body, "gzip"), quality=1),
}
CLAIMS = {"members": "gzip", "zlib": "deflate", "frames": "zstd"}
"""What is truly said of a coding, where it is not its name."""
FALSE_CLAIMS = [
    "gzip",
    "br",
    "zstd",
    "deflate",
    "gzip, br",
    "br,gzip",
    "compress",
    "identity",
    "",
    "GZIP",
    "x-gzip",
    ",,",
]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Body, bytes]:
    """A body, and what became of it."""
    base = draw(bases())
    body = base.body
    for which, place, choice in draw(
        st.lists(st.tuples(st.sampled_from(MUTATIONS), st.integers(0, 1 << 16), st.integers(0, 400)), max_size=4)
    ):
        body = which(body, place, choice)[:LONGEST]
    return base, body


@cache
def bases() -> st.SearchStrategy[Body]:
    """Those above and, where there are any, recorded ones."""
    found = [
        Body(dialect, each.response_headers.get("content-type", ""), each.response_body)
        for each, dialect in recorded()
        if dialect and len(each.response_body) < 20_000
    ]
    return st.sampled_from(BODIES) | st.sampled_from(found or BODIES)


SIZES = st.lists(st.integers(0, 3000), max_size=8)


def estimates_well(dialect: str, tap: Tap, end_reason: EndReason, sample: Sample | None) -> None:
    """Assert that an estimate, where one is wanted, is of counts."""
    wanted = estimate_input(
        dialect=dialect,
        reading=tap.reading,
        end_reason=end_reason,
        model_requested="gpt-4o",
        streamed=tap.is_stream,
        request=None,
        response=sample,
    )
    usage = estimate(wanted) if wanted else None
    if usage is not None:
        counts = [getattr(usage, name) for name in usage.__slots__ if name.endswith("_tokens")]
        assert all(count is None or 0 <= count <= MOST for count in counts)


@given(
    mutated(),
    SIZES,
    st.sampled_from(list(ENCODED)),
    st.none() | st.sampled_from(FALSE_CLAIMS),
    st.none() | st.sampled_from([JSON_TYPE, SSE_TYPE, LINES_TYPE, "text/plain", "", "audio/mpeg", "text/html"]),
    st.none() | st.sampled_from([None, *DIALECTS]),
    st.sampled_from([200] * 6 + [206, 400, 429, 500]),
    st.sampled_from(list(EndReason)),
)
def test_nothing_is_made_up_of_a_mutation(
    case: tuple[Body, bytes],
    sizes: list[int],
    coding: str,
    claim: str | None,
    content_type: str | None,
    dialect: str | None,
    status: int,
    end_reason: EndReason,
) -> None:
    base, body = case
    wire, sample = ENCODED[coding](body), Sample() if sizes else None
    tap = Tap(
        dialect or base.dialect,
        content_type=base.content_type if content_type is None else content_type,
        content_encoding=CLAIMS.get(coding, coding) if claim is None else claim,
        status=status,
        sample=sample,
    )
    feed(tap, wire[: len(wire) // 2], sizes)
    holds(tap.reading, stored(tap.reading, EndReason.CLIENT_ABORT, status))
    feed(tap, wire[len(wire) // 2 :], sizes)
    tap.finish()
    assert held(tap) < HELD
    event = stored(tap.reading, end_reason, status)
    holds(tap.reading, event)
    estimates_well(dialect or base.dialect, tap, end_reason, sample)
    assert tap.reading.doubtful is False or event.computed_cost_usd is None


@given(mutated(), SIZES)
def test_a_mutation_reads_the_same_at_any_cut(case: tuple[Body, bytes], sizes: list[int]) -> None:
    base, body = case
    readings = []
    for cuts in ((), sizes, [1] * min(len(body), 3000)):
        tap = Tap(base.dialect, content_type=base.content_type, content_encoding=None, status=200)
        feed(tap, body, cuts)
        tap.finish()
        readings.append(tap.reading)
    assert readings[0] == readings[1] == readings[2]


@given(
    mutated(),
    SIZES,
    st.sampled_from(list(ENCODED)),
    st.none() | st.sampled_from(FALSE_CLAIMS),
    st.sampled_from([JSON_TYPE, "multipart/form-data; boundary=x", "multipart/form-data; boundary=data"]),
)
def test_no_request_is_too_strange(
    case: tuple[Body, bytes], sizes: list[int], coding: str, claim: str | None, content_type: str
) -> None:
    reader = RequestReader(
        content_type=content_type, content_encoding=CLAIMS.get(coding, coding) if claim is None else claim
    )
    feed(reader, ENCODED[coding](case[1]), sizes)
    reader.finish()
    assert reader.model is None or 0 < len(reader.model) <= 1024
    assert reader.stream in (None, True, False)
    assert held(reader) < HELD


@given(st.sampled_from(list(SESSIONS)), st.lists(st.tuples(mutated(), st.booleans()), max_size=4))
def test_no_session_is_too_strange(name: str, messages: list[tuple[tuple[Body, bytes], bool]]) -> None:
    session = SESSIONS[name].open("gpt-realtime")
    for (_, body), is_sent in messages:
        for event in body.split(b"\n"):
            message = event.removeprefix(b"data: ").replace(b"response.completed", b"response.done")
            if is_sent:
                session.sent(message)
            elif reading := session.received(message):
                holds(reading, stored(reading))
    assert held(session) < HELD


# --- every number of a usage, replaced by what is none ----------------------------------------------------------------


@pytest.mark.parametrize("base", BODIES, ids=lambda base: f"{base.dialect} {base.content_type}")
def test_a_number_that_is_none_is_unknown_and_told_and_has_no_cost(base: Body) -> None:
    def read(body: bytes) -> Reading:
        tap = Tap(base.dialect, content_type=base.content_type, content_encoding=None, status=200)
        feed(tap, body)
        tap.finish()
        return tap.reading

    whole = read(base.body)
    assert whole.usage is not None
    assert whole.warnings == ()
    counted = 0
    for number in NUMBER.finditer(base.body):
        for value in (b'"9"', b"-1", b"1.5", b"9223372036854775808", b"NaN", b"[9]", b'{"a": 9}', b"true", b"9" * 5001):
            reading = read(base.body[: number.start()] + value + base.body[number.end() :])
            holds(reading, event := stored(reading))
            if not reading.warnings:
                continue  # it is no number of ours, or another one counts
            counted += 1
            if reading.usage is not None and not reading.warnings[0].endswith("no amount of money"):
                assert reading.doubtful or reading.cut_short, (number, value)
                assert event.computed_cost_usd is None
    assert counted
