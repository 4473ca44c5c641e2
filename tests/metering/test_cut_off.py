"""Bodies that break off, as the events that are stored of them: what had been told by then, and no more.

At every boundary between events and within them, of streams of events and of JSON arrays; and of whole JSON bodies. Of
the recorded streams the suite takes every fourth, ``METRION_TEST_CUTS=all`` takes all.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from metrion.metering.meter import measure
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Forward, Head, Inbound, Route
from metrion.pricing import PriceBook
from tests.corpus import Exchange, at_least, exchanges
from tests.metering import test_cuts
from tests.metering.test_meter import CALLER, OUTCOME
from tests.recordings import route, router, tap_for

EVENT = re.compile(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
BROKEN_OFF = (EndReason.CLIENT_ABORT, EndReason.UPSTREAM_ERROR, EndReason.TIMEOUT)
SEVERAL_ANSWERS = {"several_messages_in_one_body", "duplicate_message_start"}
"""Fixtures with one stream after another, which no provider sends."""
ITERATIONS = {"billed_under_several_models", "billed_exceeds_top_level"}
"""What is billed beyond the top-level usage."""


@cache
def prices() -> PriceBook:
    return PriceBook.load([Path(__file__).parents[2] / "pricing.yaml"])


def stored(exchange: Exchange, tap: Tap, end_reason: EndReason) -> Event:
    event = measure(
        Inbound(b"POST", exchange.path.encode(), ()),
        Forward(route(exchange), CALLER, wire=Head(b"", ()), shown=Head(b"", ())),
        replace(OUTCOME, end_reason=end_reason, status=exchange.status),
        tap.reading,
        prices(),
        model_requested=exchange.expected["model_requested"],
    )
    assert event is not None
    return event


# --- the plainest way to read what events tell ------------------------------------------------------------------------


def counts(exchange: Exchange, documents: list[Any]) -> tuple[int | None, int | None]:
    """Input and output as told by these documents."""
    dialect, latest = route(exchange).dialect, dict[str, Any]()
    for document in documents:
        for name in ("message", "response", "interaction"):
            within = document.get(name)
            document = within if isinstance(within, dict) else document
        usage = document.get("usage") or (document.get("x_groq") or {}).get("usage") or {}
        metadata = document.get("usageMetadata") or {}
        if dialect == "anthropic_messages":
            latest |= {name: value for name, value in usage.items() if value is not None}
        elif dialect == "openai_runs" and document["object"] != "thread.run":
            continue
        elif dialect == "openai_agent_sessions":  # a turn's usage is a part of what the session reports
            latest = (document.get("session") or {}).get("usage") or latest
        elif usage or any(name.endswith("Count") for name in metadata):
            latest = usage or metadata
    return added(dialect, latest)


def added(dialect: str | None, usage: dict[str, Any]) -> tuple[int | None, int | None]:
    def total(*names: str) -> int | None:
        found = [usage[name] for name in names if usage.get(name) is not None]
        return sum(found) if found else None

    match dialect:
        case "anthropic_messages":
            cached = [f"cache_{way}_input_tokens" for way in ("creation", "read")]
            return total("input_tokens", *cached), total("output_tokens")
        case "gemini":
            return total("promptTokenCount", "toolUsePromptTokenCount"), total(
                "candidatesTokenCount", "thoughtsTokenCount"
            )
        case "gemini_interactions":
            return total("total_input_tokens", "total_tool_use_tokens"), total(
                "total_output_tokens", "total_thought_tokens"
            )
        case "openai_chat" if (whole := usage.get("total_tokens")) is not None:
            return usage["prompt_tokens"], whole - usage["prompt_tokens"]
    return total("input_tokens", "prompt_tokens"), total("output_tokens", "completion_tokens")


def documents(event: bytes) -> list[Any]:
    lines = re.split(rb"\r\n|\n|\r", event)
    data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:")).strip()
    return [json.loads(data)] if data.startswith(b"{") else []


# --- streams ----------------------------------------------------------------------------------------------------------


def streams() -> Iterator[tuple[Exchange, list[bytes]]]:
    """Streams of events, and their events."""
    found = [each for each in exchanges() if each.streamed and not each.flags & SEVERAL_ANSWERS]
    for exchange in found if test_cuts.ALL else found[1 :: at_least(4, 1)]:
        events = EVENT.findall(exchange.response_body)
        assert b"".join(events) == exchange.response_body
        if sum(b"event: response.created" in event for event in events) < 2:
            yield exchange, events


def holds(exchange: Exchange, tap: Tap, told: tuple[int | None, int | None], whole: Event) -> None:
    """Assert what is to be stored of a stream that breaks off here."""
    for end_reason in BROKEN_OFF:
        event = stored(exchange, tap, end_reason)
        assert (event.input_tokens, event.output_tokens) == told or exchange.flags & ITERATIONS, exchange.id
        assert (event.usage_source == "none") == (event.usage is None), exchange.id
        if event.cost_usd is None:
            assert event.cost_source in ("unknown", "unpriced"), exchange.id
        elif event.cost_source != "not_billed":
            assert (event.cost_usd, event.usage) == (whole.cost_usd, whole.usage), exchange.id
    clean = stored(exchange, tap, EndReason.COMPLETE)  # the provider, or what is before it, ends it as if it were whole
    if clean.cost_usd is not None and clean.cost_source != "not_billed" and route(exchange).dialect != "gemini":
        assert (clean.cost_usd, clean.usage) == (whole.cost_usd, whole.usage), exchange.id


def test_a_stream_that_breaks_off_has_the_usage_told_by_then_and_no_cost_of_half_of_it() -> None:
    rng = random.Random(3)
    seen = set[str | None]()
    for exchange, events in streams():
        tap, known = tap_for(exchange), list[Any]()
        tap.feed(exchange.response_body)
        whole = stored(exchange, tap, EndReason.COMPLETE)
        tap = tap_for(exchange)
        within = {rng.randrange(len(events)) for _ in range(3)}
        told: tuple[int | None, int | None] = (None, None)
        for at, event in enumerate(events):
            if at in within:
                half = tap_for(exchange)
                half.feed(b"".join(events[:at]) + event[: rng.randrange(len(event.rstrip()))])
                half.finish()
                holds(exchange, half, told, whole)
            tap.feed(event)
            found = documents(event)
            known += found
            if found and (b"sage" in event or event in (events[0], events[-1])):
                told = counts(exchange, known)
                holds(exchange, tap, told, whole)
        tap.finish()
        assert bool(tap.reading.warnings) is ("contradicted" in exchange.flags), exchange.id
        seen.add(route(exchange).dialect)
    assert seen > {"anthropic_messages", "gemini", "openai_chat", "openai_responses"}


def test_an_array_that_breaks_off_has_the_usage_told_by_then_and_no_cost_of_half_of_it() -> None:
    arrays = [exchange for exchange in exchanges() if exchange.stream_format == "json-array"]
    assert len(arrays) >= at_least(7)
    for exchange in arrays:
        elements, body = list[tuple[int, Any]](), exchange.response_body.decode()
        at = body.index("[") + 1
        while body[at:].lstrip(" \r\n,")[0] != "]":
            at += len(body[at:]) - len(body[at:].lstrip(" \r\n,"))
            element, at = json.JSONDecoder().raw_decode(body, at)
            elements.append((len(body[:at].encode()), element))
        tap = tap_for(exchange)
        tap.feed(exchange.response_body)
        whole = stored(exchange, tap, EndReason.COMPLETE)
        assert whole.cost_usd is not None
        for end in range(0, len(exchange.response_body), 7 if test_cuts.ALL else 41):
            tap = tap_for(exchange)
            tap.feed(exchange.response_body[:end])
            known = [element for element_end, element in elements if element_end <= end]
            tap.finish()
            holds(exchange, tap, counts(exchange, known), whole)
            assert stored(exchange, tap, EndReason.COMPLETE).cost_source in ("unknown", "not_billed")


# --- bodies that are one document -------------------------------------------------------------------------------------


def test_a_body_that_breaks_off_has_its_usage_whole_or_not_at_all_and_no_cost() -> None:
    rng = random.Random(5)
    priced = 0
    for exchange in exchanges() if test_cuts.ALL else exchanges()[:: at_least(2, 1)]:
        body = exchange.response_body.rstrip()
        if (
            exchange.streamed
            or exchange.stream_format
            or exchange.status >= 400
            or not body.startswith(b"{")
            or b"\n{" in body
        ):
            continue
        tap = tap_for(exchange)
        tap.feed(body)
        whole = stored(exchange, tap, EndReason.COMPLETE)
        priced += bool(whole.cost_usd)
        near_the_usage = max(body.rfind(b'"usage'), 0)
        for end in {*rng.choices(range(len(body)), k=4), *rng.choices(range(near_the_usage, len(body)), k=4)}:
            tap = tap_for(exchange)
            tap.feed(body[:end])
            tap.finish()
            for end_reason in (EndReason.UPSTREAM_ERROR, EndReason.COMPLETE):
                event = stored(exchange, tap, end_reason)
                assert event.usage in (None, whole.usage), exchange.id
                assert event.cost_usd is None or event.cost_usd == Decimal(0) == whole.cost_usd, (exchange.id, end)
    assert priced > at_least(500, 5)


# --- by hand: where half of a usage looks like the whole --------------------------------------------------------------


def sse(*documents: str) -> bytes:
    return "".join(f"data: {document}\n\n" for document in documents).encode()


CHAT = '{"id": "c1", "model": "gpt-4o-2024-08-06", "choices": [{"delta": {}, "finish_reason": %s}], "usage": %s}'
CHAT_USAGE = '{"prompt_tokens": 9, "completion_tokens": %d, "total_tokens": %d}'
START = '{"type": "message_start", "message": {"id": "m", "model": "claude-haiku-4-5", "usage": %s}}'
DELTA = '{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}'
GEMINI = (
    '{"candidates": [{"content": {}%s}], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": %d}, '
    '"modelVersion": "gemini-2.5-flash", "responseId": "r"}'
)
STOP = ', "finishReason": "STOP"'
JSON = '{"id": "c", "model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop"}], "usage": %s%s'
TIER = ', "service_tier": "priority"}'

ABORT, COMPLETE = EndReason.CLIENT_ABORT, EndReason.COMPLETE


@pytest.mark.parametrize(
    ("target", "body", "end_reason", "tokens", "cost_source"),
    [
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ("null", CHAT_USAGE % (1, 10)), CHAT % ("null", CHAT_USAGE % (5, 14))),
            COMPLETE, (9, 5), "unknown", id="running totals that end as if they were whole",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ("null", CHAT_USAGE % (1, 10)), CHAT % ('"stop"', "null")),
            ABORT, (9, 1), "unknown", id="running totals, a finish reason, and then nothing",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ("null", CHAT_USAGE % (1, 10)), CHAT % ('"stop"', CHAT_USAGE % (5, 14))),
            ABORT, (9, 5), "computed", id="totals with the finish reason",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ('"stop"', "null"), CHAT % ("null", CHAT_USAGE % (5, 14))),
            ABORT, (9, 5), "computed", id="totals after the finish reason",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ("null", CHAT_USAGE % (5, 14)), "[DONE]"),
            COMPLETE, (9, 5), "computed", id="totals, no finish reason, but an end",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ('"stop"', CHAT_USAGE % (1, 10)), CHAT % ("null", '[1]'), "[DONE]"),
            COMPLETE, (9, 1), "unknown", id="later totals that cannot be read",
        ),
        pytest.param(
            "openai/chat/completions",
            sse(CHAT % ('"stop"', CHAT_USAGE % (1, 10)), '{"id": "c1", "usage": {"prompt_', "[DONE]"),
            COMPLETE, (9, 1), "unknown", id="later totals in a broken event",
        ),
        pytest.param(
            "openai/chat/completions",
            sse('{"id": "c1", "usage": {"prompt_', CHAT % ('"stop"', CHAT_USAGE % (5, 14)), "[DONE]"),
            COMPLETE, (9, 5), "computed", id="totals after a broken event",
        ),
        pytest.param(
            "anthropic/v1/messages", sse('{"type": "message_start", "mess', DELTA, '{"type": "message_stop"}'),
            COMPLETE, (None, 5), "unknown", id="a broken opening",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            sse(GEMINI % (STOP, 5), '{"error": {"status": "INTERNAL"}}'),
            EndReason.STREAM_ERROR, (9, 5), "unknown", id="an error after a finish that need not be one",
        ),
        pytest.param(
            "openai/chat/completions",
            (JSON % (CHAT_USAGE % (5, 14), TIER)).encode(), COMPLETE, (9, 5), "computed", id="a tier after the usage",
        ),
        pytest.param(
            "openai/chat/completions",
            (JSON % (CHAT_USAGE % (5, 14), TIER[:5])).encode(), ABORT, (9, 5), "unknown", id="a tier that is cut off",
        ),
        pytest.param(
            "anthropic/v1/messages", sse(START % '{"input_tokens": 9, "output_tokens": 1}'),
            COMPLETE, (9, 1), "unknown", id="an opening that ends as if it were whole",
        ),
        pytest.param(
            "anthropic/v1/messages", sse(START % '{"input_tokens": 9, "output_tokens": 1}', DELTA),
            ABORT, (9, 5), "computed", id="a last delta",
        ),
        pytest.param(
            "anthropic/v1/messages", sse(START % "null", DELTA, '{"type": "message_stop"}'),
            COMPLETE, (None, 5), "unknown", id="an opening without usage",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            sse(GEMINI % ("", 1), GEMINI % (STOP, 5)), ABORT, (9, 5), "unknown", id="a finish that need not be one",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            sse(GEMINI % (STOP, 5), GEMINI % ("", 7), GEMINI % (STOP, 8)),
            COMPLETE, (9, 8), "computed", id="two finishes",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            sse(GEMINI % ("", 1), GEMINI % ("", 5)), COMPLETE, (9, 5), "unknown", id="no finish",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            f"[{GEMINI % ('', 1)},{GEMINI % (STOP, 5)}".encode(),
            COMPLETE, (9, 5), "unknown", id="an array without end",
        ),
    ],
)  # fmt: skip
def test_half_a_usage_has_no_cost(
    target: str, body: bytes, end_reason: EndReason, tokens: tuple[int | None, int | None], cost_source: str
) -> None:
    inbound = Inbound(b"POST", f"/{target}".encode(), ())
    found = router().route(inbound)
    assert isinstance(found, Route)
    tap = Tap(found.dialect, content_type=None, content_encoding=None, status=200)
    tap.feed(body)
    tap.finish()
    forward = Forward(found, CALLER, wire=Head(b"", ()), shown=Head(b"", ()))
    event = measure(inbound, forward, replace(OUTCOME, end_reason=end_reason), tap.reading, prices())
    assert event is not None
    assert (event.input_tokens, event.output_tokens) == tokens
    assert (event.cost_source, event.cost_usd is None) == (cost_source, cost_source != "computed")
