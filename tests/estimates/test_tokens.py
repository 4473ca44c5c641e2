"""What is estimated of which exchange, what is left alone, and that nothing shows or harms."""

from __future__ import annotations

import json
import pickle
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion import dialects
from metrion.dialects import DIALECTS
from metrion.estimates import EstimateInput, Sample, estimate, estimate_input, samples, tokens
from metrion.estimates.tokenizers import is_available
from metrion.metering.request_reader import RequestReader
from metrion.metering.tap import Tap
from metrion.model import EndReason, Reading, Usage
from tests.corpus import encode_pieces

needs_tokenizer = pytest.mark.skipif(not is_available(), reason="no tokenizer: pip install 'metrion[estimates]'")

SECRET = "the-prompt-and-the-completion"
ASKED = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Say this is a test"}]}


def chunk(content: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"role": "assistant"} if content is None else {"content": content}
    return {"id": "c-1", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": delta, **more}], "usage": None}


def sse(*events: dict[str, Any] | str) -> bytes:
    datas = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return b"".join(f"data: {data}\n\n".encode() for data in datas)


WORDS = ["This", " is", " a", " test", "."]
CHAT = [chunk(), *map(chunk, WORDS)]
FINISH = chunk("", finish_reason="stop")


def claude(*deltas: str, **message: Any) -> list[dict[str, Any]]:
    usage = {"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 2}
    start = {"type": "message_start", "message": {"id": "m-1", "model": "claude-sonnet-4-5", "usage": usage, **message}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    kinds = {"type": "content_block_delta", "index": 0}
    return [start, block, *({**kinds, "delta": {"type": "text_delta", "text": delta}} for delta in deltas)]


def gemini(text: str, output: int, thoughts: int) -> dict[str, Any]:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": output, "thoughtsTokenCount": thoughts}
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {"modelVersion": "gemini-2.5-flash", "responseId": "g-1", "candidates": [candidate], "usageMetadata": usage}


@dataclass(frozen=True, kw_only=True)
class Passed:
    """An exchange as it passed through the tap."""

    dialect: str = "openai_chat"
    asked: Any = None
    body: bytes
    streamed: bool = True
    end_reason: EndReason = EndReason.COMPLETE
    piece: int = 100
    encoding: str | None = None

    def estimate_input(self) -> EstimateInput | None:
        asked, answered = Sample(), Sample()
        reader = RequestReader(content_type="application/json", content_encoding=None, sample=asked)
        reader.feed(json.dumps(ASKED if self.asked is None else self.asked).encode())
        content_type = "text/event-stream" if self.streamed else "application/json"
        tap = Tap(self.dialect, content_type=content_type, content_encoding=self.encoding, status=200, sample=answered)
        for start in range(0, len(self.body), self.piece):
            tap.feed(self.body[start : start + self.piece])
        tap.finish()
        return estimate_input(
            dialect=self.dialect,
            reading=tap.reading,
            end_reason=self.end_reason,
            model_requested=reader.model,
            streamed=tap.is_stream,
            request=asked,
            response=answered,
        )

    def usage(self) -> Usage | None:
        found = self.estimate_input()
        return estimate(found) if found is not None else None

    def counts(self) -> tuple[int | None, int | None] | None:
        usage = self.usage()
        return (usage.input_tokens, usage.output_tokens) if usage is not None else None


WHOLE = sse(*CHAT, FINISH, "[DONE]")
INPUT = 12
"""What OpenAI counts for ``ASKED``."""
WITH_IMAGE = {**ASKED, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}


@needs_tokenizer
@pytest.mark.parametrize(
    ("passed", "counts"),
    [
        pytest.param(Passed(body=WHOLE), (INPUT, 5), id="a stream without usage"),
        pytest.param(Passed(body=WHOLE, piece=7), (INPUT, 5), id="in small pieces"),
        pytest.param(Passed(body=WHOLE, piece=10_000), (INPUT, 5), id="in one piece"),
        pytest.param(Passed(body=sse(*CHAT[:3]), end_reason=EndReason.CLIENT_ABORT), (INPUT, 2), id="left early"),
        pytest.param(Passed(body=sse(CHAT[0]), end_reason=EndReason.CLIENT_ABORT), (INPUT, 0), id="before a word"),
        pytest.param(Passed(body=sse(*CHAT[:4])[:-20], end_reason=EndReason.UPSTREAM_ERROR), (INPUT, 2), id="cut"),
        pytest.param(
            Passed(
                body=b"".join(encode_pieces([sse(each) for each in CHAT], "gzip")[:-1]),
                encoding="gzip",
                end_reason=EndReason.CLIENT_ABORT,
            ),
            (INPUT, 5),
            id="cut within an encoding",
        ),
        pytest.param(
            Passed(
                body=json.dumps({"model": "gpt-4o", "choices": [{"message": {"content": "This is"}}]}).encode(),
                streamed=False,
            ),
            (INPUT, 2),
            id="a document",
        ),
        pytest.param(
            Passed(
                asked={"model": "davinci-002", "prompt": ["Say this", [1, 2, 3]]},
                body=sse({"model": "davinci-002", "choices": [{"index": 0, "text": " is a test"}]}, "[DONE]"),
            ),
            (5, 3),
            id="a completion",
        ),
        pytest.param(Passed(asked=WITH_IMAGE, body=WHOLE), (None, 5), id="an image"),
        pytest.param(Passed(asked=["no request"], body=WHOLE), (None, 5), id="an unreadable request"),
        pytest.param(
            Passed(
                dialect="anthropic_completions",
                asked={"model": "claude-2.1", "prompt": "Hello"},
                body=sse({"model": "claude-2.1", "completion": " Hello there, friend."}),
            ),
            (None, 9),
            id="a provider that reports none",
        ),
    ],
)
def test_unreported(passed: Passed, counts: tuple[int | None, int | None]) -> None:
    assert passed.counts() == counts


@needs_tokenizer
@pytest.mark.parametrize(
    ("passed", "counts"),
    [
        pytest.param(
            Passed(dialect="anthropic_messages", asked={}, body=sse(*claude("Hello", " there, how are you?"))),
            (1025, 11),
            id="input as reported, output as estimated",
        ),
        pytest.param(
            Passed(
                dialect="anthropic_messages", asked={}, body=sse(*claude("Hello", " there, how are you?")), piece=999
            ),
            (1025, 11),
            id="all in one piece",
        ),
        pytest.param(
            Passed(dialect="anthropic_messages", asked={}, body=sse(*claude())), (1025, 2), id="no less than reported"
        ),
        pytest.param(
            Passed(dialect="gemini", asked={}, body=sse(gemini("One", 1, 30), gemini(" two", 2, 30))),
            (8, 32),
            id="a running total, hidden thoughts included",
        ),
        pytest.param(
            Passed(dialect="gemini", asked={}, body=sse(gemini("One", 1, 30), gemini(" two", 2, 30)), piece=9999),
            (8, 32),
            id="running totals in one piece",
        ),
        pytest.param(
            Passed(
                body=sse(
                    *CHAT,
                    *({**chunk("!"), "usage": {"prompt_tokens": 20, "completion_tokens": n}} for n in (39, 40)),
                    *CHAT,
                ),
                piece=60,
            ),
            (20, 45),
            id="running totals, and more after them",
        ),
    ],
)
def test_completed(passed: Passed, counts: tuple[int | None, int | None]) -> None:
    assert replace(passed, end_reason=EndReason.CLIENT_ABORT).counts() == counts


@needs_tokenizer
def test_what_is_completed_keeps_what_was_reported_and_no_part_of_what_grew() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "cost": 0.5, "completion_tokens_details": {"audio_tokens": 1}}
    usage["prompt_tokens_details"] = {"cached_tokens": 10}
    found = Passed(body=sse({**chunk("!"), "usage": usage}, *CHAT), end_reason=EndReason.CLIENT_ABORT, piece=50).usage()
    assert found is not None
    assert (found.cache_read_tokens, found.output_audio_tokens, found.provider_cost_usd) == (10, None, None)
    assert found.raw is not None
    assert json.loads(found.raw) == usage


def thinking(kind: str, **block: Any) -> list[dict[str, Any]]:
    return [*claude(), {"type": "content_block_start", "index": 1, "content_block": {"type": kind, **block}}]


def asking(**more: Any) -> dict[str, Any]:
    return {**ASKED, **more}


ABORT = EndReason.CLIENT_ABORT


@needs_tokenizer
@pytest.mark.parametrize(
    "passed",
    [
        pytest.param(Passed(body=WHOLE.replace(b"gpt-4o-2024-08-06", b"gpt-5-mini")), id="hidden thoughts"),
        pytest.param(
            Passed(body=WHOLE.replace(b"gpt-4o-2024-08-06", b"gpt-5.4"), asked=asking(reasoning_effort="low")),
            id="told to think",
        ),
        pytest.param(Passed(body=WHOLE.replace(b"gpt-4o-2024-08-06", b"my-own-model")), id="unknown model"),
        pytest.param(Passed(body=WHOLE, asked=asking(prediction={"content": "x"})), id="rejected predictions"),
        pytest.param(Passed(body=sse({**FINISH}, "[DONE]")), id="finished without a word"),
        pytest.param(
            Passed(body=b'{"model": "gpt-4o", "choices": [{"message": {"c', streamed=False), id="cut document"
        ),
        pytest.param(
            Passed(dialect="anthropic_messages", asked={}, end_reason=ABORT, body=sse(*thinking("thinking"))),
            id="summary of thoughts",
        ),
        pytest.param(
            Passed(dialect="anthropic_messages", asked={}, end_reason=ABORT, body=sse(*thinking("server_tool_use"))),
            id="tool of the provider's",
        ),
        pytest.param(Passed(dialect="openai_images", body=WHOLE), id="another format"),
        pytest.param(Passed(body=b""), id="nothing passed"),
        pytest.param(Passed(body=b"\x1f\x8b" + WHOLE, encoding="gzip"), id="not decodable"),
        pytest.param(Passed(body=sse(*CHAT, {"error": {"type": "server_error"}})), id="error in a stream"),
        pytest.param(
            Passed(
                dialect="openai_responses",
                streamed=False,
                body=b'{"id": "r", "model": "gpt-4o", "status": "queued", "background": true}',
            ),
            id="still being made",
        ),
    ],
)
def test_not_estimated(passed: Passed) -> None:
    assert passed.usage() is None


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 1, "completion_tokens": 1}, {"prompt_tokens": 0, "completion_tokens": 0}]
)
def test_where_the_usage_is_reported_there_is_no_material(usage: dict[str, int]) -> None:
    body = sse(*CHAT, {**FINISH, "usage": usage}, "[DONE]")
    assert Passed(body=body).estimate_input() is None
    assert Passed(body=body, end_reason=EndReason.CLIENT_ABORT).estimate_input() is None


@needs_tokenizer
def test_a_stream_beyond_all_bounds_is_extrapolated() -> None:
    words = [f" {word}" for word in ("seldom", "said", "twice", "over") * 20_000]
    found = Passed(body=sse(*map(chunk, words), "[DONE]"), piece=50_000).estimate_input()
    assert found is not None
    assert found.response.kept < found.response.passed
    usage = estimate(found)
    assert usage is not None
    assert usage.output_tokens == pytest.approx(len(words), rel=0.01)


@needs_tokenizer
def test_the_input_of_a_request_beyond_all_bounds_is_not_known() -> None:
    long = {**ASKED, "messages": [{"role": "user", "content": "x" * (5 << 20)}]}
    assert Passed(asked=long, body=WHOLE).counts() == (None, 5)


def test_nothing_that_passed_shows() -> None:
    asked = {**ASKED, "messages": [{"role": "user", "content": SECRET}]}
    found = Passed(asked=asked, body=sse(*map(chunk, [SECRET] * 3000), chunk(SECRET))).estimate_input()
    assert found is not None
    assert SECRET not in repr(found)
    assert SECRET not in repr(estimate(found))


def test_material_can_go_to_another_process() -> None:
    found = Passed(body=WHOLE).estimate_input()
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301  # our own


@pytest.mark.parametrize(
    ("dialect", "request_and_response"),
    [
        ("openai_chat", (True, True)),
        ("openai_speech", (True, False)),
        ("openai_audio", (False, False)),
        ("openai_embeddings", (False, False)),
        (None, (False, False)),
    ],
)
@needs_tokenizer
def test_which_bodies_are_worth_keeping(dialect: str | None, request_and_response: tuple[bool, bool]) -> None:
    assert tuple(map(bool, samples(dialect))) == request_and_response


def test_without_a_tokenizer_nothing_is_kept_or_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "is_available", lambda: False)
    monkeypatch.setattr(tokens, "counter", lambda _: None)
    assert samples("openai_chat") == (None, None)
    assert samples("openai_speech")[0] is not None
    assert Passed(body=WHOLE).usage() is None


WITH_TEXTS = sorted(name for name, dialect in DIALECTS.items() if dialect.texts is not None)


def test_the_formats_that_are_estimated() -> None:
    assert WITH_TEXTS == [
        "anthropic_completions", "anthropic_messages", "gemini", "openai_chat", "openai_responses",
    ]  # fmt: skip


READERS = Path(dialects.__file__).parent.rglob("*text*.py")
MEMBERS = sorted(
    {name for file in READERS for name in re.findall(r"[.(]get\(\"(\w+)\"", file.read_text("utf-8"))}
    | {"parts", "choices", "content_block"}
)
"""What is looked at."""
VALUES = ["text", "message", "function", "function_call", "tool_use", "response.output_item.added", "delta", "array"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.floats(0, 1) | st.sampled_from([*VALUES, "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
    max_leaves=30,
)
DOCUMENT = st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=8)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(WITH_TEXTS), st.sampled_from(["gpt-4o", "claude-3", "deepseek-chat"]), ANYTHING, DOCUMENT)
def test_whatever_a_stranger_sends_there_is_an_estimate_or_none(
    dialect: str, model: str, asked: Any, answered: dict[str, Any]
) -> None:
    samples = Sample(), Sample()
    samples[0].add(json.dumps(asked).encode())
    samples[1].add(sse(answered, {"choices": [answered]}, answered))
    found = estimate_input(
        dialect=dialect,
        reading=Reading(model=model),
        end_reason=EndReason.COMPLETE,
        model_requested=None,
        streamed=True,
        request=samples[0],
        response=samples[1],
    )
    assert found is not None
    usage = estimate(found)
    assert usage is None or (usage.output_tokens or 0) >= 0


@needs_tokenizer
@pytest.mark.parametrize("nested", ['{"content": ' * 100_000, "[" * 100_000])
def test_a_document_that_is_nested_too_deep_is_none(nested: str) -> None:
    found = replace(Passed(body=WHOLE), body=sse(CHAT[1], nested)).estimate_input()
    assert found is not None
    assert estimate(found) == Usage(input_tokens=INPUT, output_tokens=1)


def thread_seconds(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def test_to_keep_a_stream_costs_the_tap_less_than_five_microseconds_a_chunk() -> None:
    chunks = [sse(chunk(f" word{n}", logprobs=None, obfuscation="x" * (n % 15))) for n in range(3000)]

    def read(sample: Sample | None) -> None:
        tap = Tap("openai_chat", content_type="text/event-stream", content_encoding=None, status=200, sample=sample)
        for each in chunks:
            tap.feed(each)

    bare = min(thread_seconds(lambda: read(None)) for _ in range(5))
    keeping = min(thread_seconds(lambda: read(Sample())) for _ in range(5))
    assert (keeping - bare) / len(chunks) < 5e-6
