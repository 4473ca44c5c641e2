"""What a request cost where that is not plain: floors, plans, regions, batches and errors, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.endpoints import BATCH, MESSAGES
from metrion.metering.meter import measure
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Reading, Usage
from metrion.pricing import PriceBook
from tests.metering.test_meter import CALLER, FORWARD, INBOUND, OUTCOME, ROUTE

PRICES = """
anthropic:
  claude-1: {input: 2, cache_read: 0.2, cache_write: 2.5, output: 10}
  halves-1: {input: 2, output: 10, service_tiers: {flex: {input: 1, output: 5}}}
  plain-1: {input: 2, output: 10}
  regional-1: {input: 2, output: 10, regional: 1.1}
  dated-1: {rates: [{until: 2026-11-01, input: 2, output: 10}, {from: 2026-11-01, input: 1, output: 5}]}
"""
ABORTED = EndReason.CLIENT_ABORT
PARTIAL = Usage(input_tokens=1000, cache_read_tokens=400, cache_write_tokens=0, output_tokens=1, raw="{}")
CLAUDE = Reading(model="claude-1", usage=PARTIAL, service_tier="standard")
WHOLE = replace(CLAUDE, finish_reason="end_turn")
FAILED = replace(CLAUDE, stream_error=True)
NONE = Reading()


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    file: Path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    file.write_text(PRICES)
    return PriceBook.load([file])


def row(
    prices: PriceBook,
    reading: Reading,
    *,
    in_plan: bool = False,
    regional: bool = False,
    method: bytes = b"POST",
    settles: bool = False,
    asked_here: bool = False,
    operation: Any = MESSAGES,
    **outcome: Any,
) -> Event:
    route = replace(ROUTE, provider="anthropic", operation=operation, dialect="anthropic_messages", regional=regional)
    measured = measure(
        replace(INBOUND, method=method),
        replace(FORWARD, route=route, caller=replace(CALLER, in_plan=in_plan)),
        replace(OUTCOME, **outcome),
        reading,
        prices,
        settles=settles,
        asked_here=asked_here,
    )
    assert measured is not None
    return measured


# 600 fresh at 2, 400 cached at 0.2, 1 of output at 10, all per million
INPUT_AND_ONE = Decimal("0.001290")


@pytest.mark.parametrize(
    ("reading", "outcome", "source", "floor"),
    [
        (CLAUDE, {"end_reason": ABORTED}, "unknown", INPUT_AND_ONE),
        (CLAUDE, {"end_reason": EndReason.TIMEOUT}, "unknown", INPUT_AND_ONE),
        # a cost that is known needs no floor
        (WHOLE, {}, "computed", None),
        # how much came from a cache was not said: all of it may have
        (replace(CLAUDE, usage=Usage(input_tokens=1000)), {"end_reason": ABORTED}, "unknown", Decimal("0.0002")),
        # nor was the tier: it may have been a cheaper one
        (
            Reading(model="halves-1", usage=Usage(input_tokens=1000, cache_read_tokens=0)),
            {"end_reason": ABORTED},
            "unknown",
            Decimal("0.001"),
        ),
        (
            Reading(model="halves-1", usage=Usage(input_tokens=1000, cache_read_tokens=0), service_tier="standard"),
            {"end_reason": ABORTED},
            "unknown",
            Decimal("0.002"),
        ),
        # a count that cannot be read takes nothing from the others
        (replace(WHOLE, usage=replace(PARTIAL, output_tokens=None), doubtful=True), {}, "unknown", Decimal("0.00128")),
        # what was charged by then, of a stream that is left, is not what was charged
        (
            replace(CLAUDE, usage=replace(PARTIAL, provider_cost_usd=Decimal(1)), doubtful=True),
            {"end_reason": ABORTED},
            "unknown",
            INPUT_AND_ONE,
        ),
        # NULL where nothing is known, never 0
        (replace(CLAUDE, usage=Usage()), {"end_reason": ABORTED}, "unknown", None),
        (replace(CLAUDE, model="nobody-knows"), {"end_reason": ABORTED}, "unknown", None),
        (replace(CLAUDE, service_tier="priority"), {"end_reason": ABORTED}, "unknown", None),
        (NONE, {"end_reason": ABORTED}, "unknown", None),
        # counts that contradict one another are not certain, nor are estimates, nor what is not charged
        (replace(CLAUDE, usage=replace(PARTIAL, cache_read_tokens=2000)), {"end_reason": ABORTED}, "unknown", None),
        (replace(CLAUDE, usage=Usage(output_tokens=9), estimated=True), {"end_reason": ABORTED}, "unknown", None),
        (replace(CLAUDE, usage=replace(PARTIAL, unbilled=True)), {"end_reason": ABORTED}, "unknown", None),
        # of what has no price, the parts that have one
        (replace(WHOLE, usage=replace(PARTIAL, server_tools={"strange": 2})), {}, "unpriced", INPUT_AND_ONE),
        (replace(WHOLE, usage=replace(PARTIAL, server_tools={"strange": 2}), estimated=True), {}, "unpriced", None),
        (replace(WHOLE, model="nobody-knows"), {}, "unpriced", None),
    ],
)
def test_a_cost_that_is_not_known_has_a_floor(
    reading: Reading, outcome: dict[str, Any], source: str, floor: Decimal | None, prices: PriceBook
) -> None:
    event = row(prices, reading, **outcome)
    assert (event.cost_source, event.cost_at_least_usd) == (source, floor)
    assert (event.cost_usd is None) == (source != "computed")


def test_a_claude_stream_that_its_client_leaves_has_its_input_as_a_floor(prices: PriceBook) -> None:
    tap = Tap("anthropic_messages", content_type="text/event-stream", content_encoding=None, status=200)
    tap.feed(
        b'event: message_start\ndata: {"type": "message_start", "message": {"id": "msg_1", "model": "claude-1", '
        b'"usage": {"input_tokens": 600, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 0, '
        b'"output_tokens": 1, "service_tier": "standard"}}}\n\n'
    )
    tap.finish()
    event = row(prices, tap.reading, end_reason=ABORTED)
    assert (event.cost_source, event.cost_usd, event.cost_at_least_usd) == ("unknown", None, INPUT_AND_ONE)


@pytest.mark.parametrize(
    ("reading", "source", "cost", "floor"),
    [
        (replace(NONE, stream_error=True), "not_billed", Decimal(0), None),
        (replace(NONE, stream_error=True, has_output=True), "unknown", None, None),
        (replace(FAILED, has_output=True), "unknown", None, INPUT_AND_ONE),
        # whether the input of an answer that never began is billed, nobody says
        (FAILED, "unknown", None, None),
        (replace(FAILED, usage=replace(PARTIAL, provider_cost_usd=Decimal("0.5"))), "provider", Decimal("0.5"), None),
    ],
)
def test_an_error_within_a_stream(
    reading: Reading, source: str, cost: Decimal | None, floor: Decimal | None, prices: PriceBook
) -> None:
    event = row(prices, reading, end_reason=EndReason.STREAM_ERROR)
    assert (event.cost_source, event.cost_usd, event.cost_at_least_usd) == (source, cost, floor)


@pytest.mark.parametrize(
    ("reading", "outcome", "expected"),
    [
        (WHOLE, {"beyond_plan": False}, ("subscription", Decimal(0), INPUT_AND_ONE)),
        # nothing is charged, whatever is known of what was used
        (CLAUDE, {"beyond_plan": False, "end_reason": ABORTED}, ("subscription", Decimal(0), None)),
        (replace(WHOLE, model="nobody-knows"), {"beyond_plan": False}, ("subscription", Decimal(0), None)),
        # beyond the plan it is charged; so may it be where no answer came
        (WHOLE, {"beyond_plan": True}, ("unknown", None, INPUT_AND_ONE)),
        (NONE, {"end_reason": ABORTED, "status": None}, ("unknown", None, None)),
        (replace(WHOLE, usage=replace(PARTIAL, modes=("fast",))), {"beyond_plan": False}, ("unknown", None, None)),
        (NONE, {"beyond_plan": False, "status": 429}, ("not_billed", Decimal(0), None)),
        (NONE, {"reached_upstream": False, "status": 502}, ("not_billed", Decimal(0), None)),
    ],
)
def test_a_credential_of_a_flat_rate_plan(
    reading: Reading,
    outcome: dict[str, Any],
    expected: tuple[str, Decimal | None, Decimal | None],
    prices: PriceBook,
) -> None:
    event = row(prices, reading, in_plan=True, **outcome)
    assert (event.cost_source, event.cost_usd, event.computed_cost_usd) == expected
    assert event.cost_at_least_usd is None


@pytest.mark.parametrize(
    ("model", "regional", "source", "cost"),
    [
        ("regional-1", False, "computed", Decimal("0.003")),
        ("regional-1", True, "computed", Decimal("0.0033")),
        ("plain-1", True, "estimated", Decimal("0.003")),
    ],
)
def test_a_regional_endpoint(model: str, source: str, cost: Decimal, prices: PriceBook, *, regional: bool) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    event = row(prices, Reading(model=model, usage=usage, finish_reason="stop"), regional=regional)
    assert (event.cost_source, event.cost_usd) == (source, cost)


@pytest.mark.parametrize(
    ("done_at", "cost"),
    [(None, "0.0015"), (OUTCOME.started_at - timedelta(hours=1), "0.003"), (OUTCOME.started_at, "0.0015")],
)
def test_a_batch_costs_what_it_did_on_the_day_on_which_it_was_done(
    done_at: datetime | None, cost: str, prices: PriceBook
) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    reading = Reading(model="dated-1", usage=usage, finish_reason="stop", done_at=done_at)
    assert row(prices, reading, method=b"GET", settles=True, operation=BATCH).cost_usd == Decimal(cost)


@pytest.mark.parametrize(
    ("reading", "asked_here", "source"),
    [
        (replace(WHOLE, is_results=True), False, "unknown"),
        (replace(WHOLE, is_results=True), True, "not_billed"),
        (NONE, False, "not_billed"),
    ],
)
def test_results_of_a_batch_that_nobody_here_asked_for(
    reading: Reading, source: str, prices: PriceBook, *, asked_here: bool
) -> None:
    event = row(prices, reading, method=b"GET", operation=BATCH, asked_here=asked_here)
    assert (event.cost_source, event.usage_source, event.cost_at_least_usd) == (source, "none", None)
