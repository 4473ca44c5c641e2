"""Every recorded answer of Google, Vertex AI, Mistral and Anthropic, read in the format that routing gives its path."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from metrion.metering.tap import Tap
from metrion.model import Reading, Usage
from metrion.pricing import PriceBook
from metrion.settings import Settings
from tests.corpus import Exchange, at_least, exchanges
from tests.metering.test_tap import EXPECTED_NAMES
from tests.pricing.books import CORRECTED
from tests.recordings import SEGMENTS, read

SETTINGS = Settings(home=Path("/nowhere"))
FEES = ("web_search", "document_page")


def recorded() -> list[Exchange]:
    """All but changes to what is kept (PATCH), which are not read."""
    return [exchange for exchange in exchanges(providers=SEGMENTS) if exchange.method != "PATCH"]


def expected(exchange: Exchange) -> dict[str, Any]:
    """The independent reading, with what it leaves out."""
    found = dict(exchange.expected)
    if found["model"] is None and exchange.kind == "completions":  # it does not look into these streams
        found["model"] = found["model_requested"] if exchange.status == 200 else None
    return found


def searches(exchange: Exchange) -> set[str]:
    """What Gemini searched for, in the plainest way."""
    found = re.findall(r'"webSearchQueries"\s*:\s*(\[[^\]]*\])', exchange.response_body.decode("utf-8", "replace"))
    return {query for queries in map(json.loads, found) for query in queries} - {""}


def differences(exchange: Exchange, reading: Reading) -> dict[str, tuple[Any, Any]]:
    """What differs from the independent reading; ``None`` is another value than 0."""
    usage, theirs = reading.usage or Usage(), expected(exchange)
    pairs = {
        "has_usage": (reading.usage is not None, theirs["has_usage"]),
        "model": (reading.model, theirs["model"]),
        "server_tools": (dict(usage.server_tools or {}), theirs["server_tools"]),
        **{name: (getattr(usage, ours), theirs[name]) for ours, name in EXPECTED_NAMES.items()},
    }
    if theirs["service_tier"] is not None:
        pairs["service_tier"] = (reading.service_tier, theirs["service_tier"])
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in exchange.ambiguous}


def test_every_recorded_exchange_reads_as_an_independent_parser_reads_it() -> None:
    wrong: dict[str, Any] = {}
    read_rightly, all_of_them = Counter[tuple[str, str, bool]](), Counter[tuple[str, str, bool]]()
    for exchange in recorded():
        kind = (exchange.provider, exchange.kind, exchange.streamed)
        all_of_them[kind] += 1
        reading = read(exchange, exchange.response_body)
        if (found := differences(exchange, reading)) or reading.warnings:
            wrong[exchange.id] = (found, reading.warnings)
        else:
            read_rightly[kind] += 1
    for (provider, name, streamed), count in sorted(all_of_them.items()):
        right = read_rightly[provider, name, streamed]
        print(f"{provider:10} {name:16} {'stream' if streamed else 'plain':6} {right:4} of {count:4}")  # noqa: T201  # for pytest -rP
    assert wrong == {}
    assert sum(all_of_them.values()) > at_least(1_200, 20)


def test_searches_that_the_usage_does_not_count_are_counted_as_they_are_billed() -> None:
    searched = 0
    for exchange in recorded():
        usage = read(exchange, exchange.response_body).usage or Usage()
        queries = searches(exchange)
        billed = {"google_search": 1 if "gemini-2" in exchange.expected["model"] else len(queries)} if queries else None
        assert usage.unreported_tools == billed, exchange.id
        searched += bool(queries)
    assert searched >= at_least(9)


def test_the_raw_usage_is_the_providers_own() -> None:
    for exchange in recorded():
        theirs = exchange.expected["raw_usage"]
        if theirs is not None and "several_messages_in_one_body" not in exchange.flags:
            usage = read(exchange, exchange.response_body).usage
            assert usage is not None
            assert json.loads(usage.raw or "") == theirs, exchange.id


def test_no_recorded_error_is_without_a_type() -> None:
    failed = [exchange for exchange in recorded() if exchange.status >= 400]
    assert len(failed) > at_least(30)
    for exchange in failed:
        reading = read(exchange, exchange.response_body)
        unreadable = exchange.response_body.startswith(b"base64:")
        assert (reading.error_type is None) is unreadable, exchange.id
        assert reading.usage is None


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_an_array_is_over_with_its_bracket_and_has_running_totals_before() -> None:
    changed = 0
    for exchange in recorded():
        if exchange.stream_format == "json-array":
            tap = Tap("gemini", content_type="application/json", content_encoding=None, status=200)
            totals = list[int | None]()
            for at in range(len(exchange.response_body)):
                assert not tap.terminal
                tap.feed(exchange.response_body[at : at + 1])
                if (usage := tap.reading.usage) and (not totals or totals[-1] != usage.output_tokens):
                    totals.append(usage.output_tokens)
            assert tap.terminal
            assert totals[-1] == exchange.expected["output_tokens_total"]
            changed += len(totals) > 1
    assert changed


# --- costs ------------------------------------------------------------------------------------------------------------


@cache
def prices() -> PriceBook:
    return PriceBook.load(SETTINGS.pricing)


def standard(usage: Usage | None) -> Usage | None:
    """The same at standard rates, as the corpus has them."""
    if usage is None:
        return None
    shares = usage.shares and tuple((model, replace(share, modes=None)) for model, share in usage.shares)
    return replace(usage, modes=None, shares=shares)


def test_what_is_read_costs_what_genai_prices_says() -> None:
    compared, wrong = 0, {}
    for exchange in recorded():
        theirs = exchange.expected.get("cost")
        if (
            theirs is None
            or "error" in theirs
            or "usd" not in theirs
            or exchange.ambiguous & {"model", "input_tokens_total"}
            or exchange.expected["model"] in CORRECTED
        ):
            continue
        reading = read(exchange, exchange.response_body)
        got = prices().cost(
            provider=SEGMENTS[exchange.provider],
            model=reading.model,
            model_requested=exchange.expected["model_requested"],
            usage=standard(reading.usage),
            when=datetime.fromisoformat(theirs["priced_at"]),
        )
        own = {name: amount for name, amount in (got.parts or {}).items() if ":" not in name and name not in FEES}
        compared += 1
        possible = {theirs.get(name) for name in ("usd", "usd_with_modalities", "usd_genai_extract")} - {None}
        if got.usd is None or sum(own.values(), Decimal(0)) not in map(Decimal, possible):
            wrong[exchange.id] = (got, theirs)
    assert compared > at_least(900, 5)
    assert wrong == {}


def test_what_is_billed_under_several_models_costs_what_each_of_them_costs() -> None:
    several = [each for each in recorded() if "billed_under_several_models" in each.flags]
    assert len(several) >= at_least(1, 0)
    when = datetime(2026, 11, 21)  # noqa: DTZ001  # naive UTC, as events have it
    for exchange in several:
        reading = read(exchange, exchange.response_body)
        got = prices().cost(
            provider="anthropic", model=reading.model, model_requested=None, usage=standard(reading.usage), when=when
        )
        costs = [
            prices().cost(
                provider="anthropic",
                model=each["model"],
                model_requested=None,
                usage=Usage(input_tokens=each["input_tokens_total"], output_tokens=each["output_tokens_total"]),
                when=when,
            )
            for each in exchange.expected["billed_by_model"]
        ]
        assert len(costs) == 2
        assert got.usd == sum((cost.usd for cost in costs if cost.usd is not None), Decimal(0)), exchange.id
        assert got.parts is not None
        assert got.usd == sum(got.parts.values())
        models = {each["model"] for each in exchange.expected["billed_by_model"]}
        assert {name.partition(":")[0] for name in got.parts if ":" in name} == models - {reading.model}
