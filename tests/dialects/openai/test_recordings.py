"""The OpenAI family's recorded exchanges beside chat, as every provider that speaks its formats sent them.

What is read is decided by routing, as it is on the wire: ``openai``, ``mistral`` and ``xai`` by their own entries, all
others by one that says ``like: openai``.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from metrion.model import Cost, CostSource, Reading
from metrion.pricing import PriceBook
from metrion.providers import PROVIDERS
from tests.corpus import Exchange, at_least, exchanges
from tests.metering.test_tap import differences
from tests.recordings import PREFIXES, read, route, tap_for

KINDS = {"assistants", "audio", "completions", "embeddings", "images", "moderations", "rerank", "responses"}
OTHERS = {"anthropic", "google", "vertex"}

READ_ALL_THE_SAME = {
    "xai-audio-4ddb16350ce2": {"has_usage", "audio_seconds"},  # its duration is what is billed, and no `usage`
}


def recorded() -> list[Exchange]:
    return [exchange for exchange in exchanges(KINDS) if exchange.provider not in OTHERS]


def billed() -> list[Exchange]:
    """Those of a format that has one: creating an assistant, say, generates nothing."""
    return [exchange for exchange in recorded() if route(exchange).dialect is not None]


def counted(exchange: Exchange) -> dict[str, int]:
    """Billed items in a response's output, counted in the plainest way."""
    response = json.loads(exchange.response_body if not exchange.streamed else last_data(exchange))
    items = response.get("response", response).get("output") or []
    tools = [tool["type"] for tool in response.get("response", response).get("tools") or ()]
    searched = "web_search_preview_calls" if "web_search_preview" in tools else "web_search_calls"
    searches = [item.get("action") or {"type": "search"} for item in items if item["type"] == "web_search_call"]
    calls = {
        searched: sum(action["type"] == "search" for action in searches),
        "file_search_calls": sum(item["type"] == "file_search_call" for item in items),
        "code_interpreter_calls": sum(item["type"] == "code_interpreter_call" for item in items),
        "image_gen_calls": sum(item["type"] == "image_generation_call" for item in items),
    }
    return {name: count for name, count in calls.items() if count}


def last_data(exchange: Exchange) -> bytes:
    data = [line[6:] for line in exchange.response_body.splitlines() if line.startswith(b"data: {")]
    return data[-1]


def test_every_recorded_exchange_reads_as_an_independent_parser_reads_it() -> None:
    wrong: dict[str, Any] = {}
    read_rightly, all_of_them = Counter[tuple[str, str, bool]](), Counter[tuple[str, str, bool]]()
    for exchange in billed():
        kind = (exchange.provider, exchange.kind, exchange.streamed)
        all_of_them[kind] += 1
        reading = read(exchange)
        found = differences(exchange, reading)
        found = {name: pair for name, pair in found.items() if name not in READ_ALL_THE_SAME.get(exchange.id, ())}
        raw = json.loads(reading.usage.raw) if reading.usage is not None and reading.usage.raw is not None else None
        if raw != exchange.expected["raw_usage"]:
            found["raw_usage"] = (raw, exchange.expected["raw_usage"])
        if found or reading.warnings:
            wrong[exchange.id] = found, reading.warnings
        else:
            read_rightly[kind] += 1
    for (provider, name, streamed), count in sorted(all_of_them.items()):
        right = read_rightly[provider, name, streamed]
        print(f"{provider:12} {name:12} {'stream' if streamed else 'plain':6} {right:4} of {count:4}")  # noqa: T201  # for pytest -rP
    assert wrong == {}
    assert sum(all_of_them.values()) > at_least(600, 20)


def test_calls_that_the_usage_does_not_count_are_counted_from_the_output() -> None:
    shown = Counter[str]()
    for exchange in billed():
        usage = read(exchange).usage
        if exchange.kind == "responses" and usage is not None:
            expected = {} if exchange.expected["server_tools"] else counted(exchange)
            assert (usage.unreported_tools or {}) == expected, exchange.id
            shown.update(expected)
    searches = {"web_search_calls", "web_search_preview_calls", "file_search_calls"}
    assert shown.keys() in (searches, searches | {"code_interpreter_calls", "image_gen_calls"})


def test_what_has_usage_has_a_format() -> None:
    spoken = [exchange for exchange in exchanges(KINDS | {"chat"}) if exchange.provider not in OTHERS]
    with_usage = [exchange for exchange in spoken if exchange.expected["has_usage"]]
    assert {exchange.path for exchange in with_usage if not route(exchange).dialect} == set()
    assert {exchange.provider for exchange in with_usage} > PREFIXES.keys()


def test_a_stream_that_came_to_its_end_is_terminal_and_no_other() -> None:
    for exchange in billed():
        expected = exchange.streamed and bool(exchange.expected["stream_terminated"])
        assert read(exchange).terminal is expected, exchange.id


def test_no_recorded_error_is_without_a_type() -> None:
    failed = [exchange for exchange in billed() if exchange.status >= 400 or "error_in_stream" in exchange.flags]
    assert len(failed) > at_least(20)
    for exchange in failed:
        reading = read(exchange)
        assert reading.error_type is not None, exchange.id
        assert reading.stream_error is ("error_in_stream" in exchange.flags)
        assert reading.usage is None


def test_what_goes_on_in_the_background_is_pending_and_can_be_found_again() -> None:
    pending = [(exchange, reading) for exchange in billed() if (reading := read(exchange)).pending]
    background = {"status_queued", "status_in_progress"}
    expected = {exchange.id for exchange in billed() if exchange.flags & background}
    assert {exchange.id for exchange, _ in pending if exchange.kind == "responses"} == expected
    assert len(expected) >= at_least(5)
    for exchange, reading in pending:
        assert reading.generation_id is not None
        assert (reading.usage, reading.finish_reason) == (None, None)
        assert exchange.kind in ("responses", "assistants")


# --- cuts -------------------------------------------------------------------------------------------------------------


def usage_of_events(events: list[bytes]) -> Iterator[tuple[int | None, int | None]]:
    """Input and output after each event, read in the plainest way."""
    latest: dict[str, Any] = {}
    for event in events:
        data = b"".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
        document = json.loads(data) if data.strip().startswith(b"{") else {}
        if document.get("object") != "thread.run.step":
            latest = document.get("response", document).get("usage") or latest
        yield tuple(latest.get(f"{new}_tokens", latest.get(f"{old}_tokens"))
                    for new, old in (("input", "prompt"), ("output", "completion")))  # type: ignore[misc]  # two of them  # fmt: skip


def test_cut_off_at_any_event_the_usage_is_what_was_told_by_then() -> None:
    streams = [exchange for exchange in billed() if exchange.streamed]
    assert len(streams) > at_least(100, 5)
    for exchange in streams:
        body = exchange.response_body.replace(b"\r\n", b"\n")
        events = [event + b"\n\n" for event in body.split(b"\n\n") if event.strip()]
        tap = tap_for(exchange)
        for event, expected in zip(events, usage_of_events(events), strict=True):
            tap.feed(event)
            usage = tap.reading.usage
            assert (usage and usage.input_tokens, usage and usage.output_tokens) == expected, (exchange.id, event)
        tap.finish()
        assert tap.reading.warnings == ()


def test_cut_off_anywhere_nothing_is_made_up() -> None:
    rng = random.Random(12)
    for exchange in billed():
        if exchange.response_body.count(b"event: response.created") > 1:
            continue  # several streams in one fixture: the last counts
        whole = read(exchange)
        for _ in range(3):
            cut = read(exchange, exchange.response_body[: rng.randrange(len(exchange.response_body) + 1)])
            usages = [reading.usage and replace(reading.usage, unreported_tools=None) for reading in (cut, whole)]
            # The length of what was heard may come long before the usage.
            assert usages[0] in (None, usages[1]) or (exchange.kind, cut.usage and cut.usage.raw) == ("audio", None)


# --- costs ------------------------------------------------------------------------------------------------------------

NO_FEE = frozenset(
    {
        "openai-responses-c10040c189e7",  # 0.0019206: a code interpreter's container
        "openai-responses-8b24baa9a3cf",  # 0.01509475: images
        "openai-responses-e22b5ee1e889",  # 0.0121225
        "openai-responses-773a6914e800",  # 0.02036625
        "openai-responses-514a8636379c",  # 0.01385625
        "xai-responses-84f81e8ad9c1",  # a call of one of xAI's tools, and not of which
        "xai-responses-26267ba309fa",
        "xai-responses-2432e57d1d4f",
    }
)
"""What genai-prices says that these cost is the tokens alone; a tool that is billed beside them says not how much it
used. They have no cost."""

FEES = ("web_search", "web_search_preview", "file_search", "x_search", "code_interpreter")


def test_every_recorded_exchange_costs_what_genai_prices_says() -> None:
    prices = PriceBook.load([Path(__file__).resolve().parents[3] / "pricing.yaml"])
    compared, wrong = Counter[str](), {}
    for exchange in billed():
        theirs = exchange.expected.get("cost")
        reading = read(exchange)
        if theirs is None or "error" in theirs or reading.usage is None or exchange.ambiguous:
            continue
        if exchange.provider not in PROVIDERS:
            continue  # prices of models at other servers are the user's to give
        cost = priced(prices, exchange, reading, datetime.fromisoformat(theirs["priced_at"]))
        fees = sum(((cost.parts or {}).get(name, Decimal(0)) for name in FEES), Decimal(0))
        tokens = None if cost.computed_usd is None else cost.computed_usd - fees
        compared[exchange.kind] += 1
        if exchange.id in NO_FEE:
            assert cost.source is CostSource.UNPRICED, exchange.id
            continue
        if tokens != Decimal(theirs.get("usd_with_modalities", theirs["usd"])):
            wrong[exchange.id] = (tokens, theirs)
    assert wrong == {}
    assert compared["responses"] >= at_least(351, 2)
    assert compared["embeddings"] >= at_least(61)


def priced(prices: PriceBook, exchange: Exchange, reading: Reading, when: datetime) -> Cost:
    return prices.cost(
        provider=exchange.provider,
        model=reading.model,
        model_requested=exchange.expected["model_requested"],
        usage=reading.usage,
        when=when,
    )
