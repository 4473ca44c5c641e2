"""Decides what a row says that its request cost: how it went and what its answer said in, the cost out. Pure.

Unknown is ``None``, never 0. Where a cost is not known, a floor may be: what of the usage is certain, at the cheapest
that it can have been. A floor is never more than what the provider charges.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from metrion.metering.outcome import Outcome
from metrion.model import Cost, CostSource, EndReason, Reading, Route, Usage
from metrion.pricing import PER_CHARACTER, PriceBook

NOTHING_BILLED = Cost(CostSource.NOT_BILLED, usd=Decimal(0))
UNKNOWN = Cost(CostSource.UNKNOWN)

_CHEAPEST_TIERS = (None, "flex")
"""What a response may have been served at that has not reported its tier yet."""
_PAID_ON_ANY_PLAN = frozenset({"fast"})
"""Modes that no plan includes: Claude's fast mode is paid from usage credits, whatever is left of the plan.

Source: https://code.claude.com/docs/en/fast-mode."""


def cost(
    route: Route,
    outcome: Outcome,
    reading: Reading,
    prices: PriceBook,
    model_requested: str | None,
    *,
    in_plan: bool,
) -> Cost:
    """Return what a request cost that its provider may bill. ``in_plan``: its credential is one of a flat-rate plan."""
    if outcome.from_cache:
        saved = _of_usage(route, outcome, reading, prices, model_requested)
        return replace(NOTHING_BILLED, computed_usd=saved.computed_usd, price_version=saved.price_version)
    if not outcome.reached_upstream or outcome.end_reason is EndReason.REFUSED:
        return NOTHING_BILLED
    found = _of_usage(route, outcome, reading, prices, model_requested)
    return _of_plan(found, outcome, reading) if in_plan and found.source is not CostSource.NOT_BILLED else found


def _of_usage(route: Route, outcome: Outcome, reading: Reading, prices: PriceBook, model_requested: str | None) -> Cost:
    """Return what the API charges for a request."""
    usage = reading.usage
    if usage is None:
        return NOTHING_BILLED if _is_failure(outcome, reading) else UNKNOWN
    is_final = reading.has_final_usage(outcome.end_reason)
    if reading.estimated and not reading.shared:
        if _is_half(usage):
            return UNKNOWN
    elif reading.doubtful or not is_final:
        # What the provider says that it charged is certain all the same, unless more was to come.
        usage = Usage(provider_cost_usd=usage.provider_cost_usd)
        if usage.provider_cost_usd is None or not (is_final or reading.stream_error):
            return Cost(CostSource.UNKNOWN, at_least_usd=_floor(route, outcome, reading, prices, model_requested))
    found = prices.cost(
        provider=route.provider,
        model=reading.model,
        model_requested=model_requested,
        usage=usage,
        when=reading.done_at or outcome.started_at,
        service_tier=reading.service_tier,
        regional=route.regional,
        estimated=reading.estimated,
    )
    if reading.shared and found.source is CostSource.PROVIDER:
        found = replace(found, source=CostSource.ESTIMATED)
    return replace(found, at_least_usd=None) if reading.estimated and found.at_least_usd is not None else found


def _of_plan(found: Cost, outcome: Outcome, reading: Reading) -> Cost:
    """Return what a request costs on a flat-rate plan; what the API would have charged is beside it."""
    modes = (reading.usage.modes if reading.usage else None) or ()
    if outcome.beyond_plan is False and _PAID_ON_ANY_PLAN.isdisjoint(modes):
        return replace(found, source=CostSource.SUBSCRIPTION, usd=Decimal(0), at_least_usd=None)
    return replace(found, source=CostSource.UNKNOWN, usd=None, at_least_usd=None)


def _is_failure(outcome: Outcome, reading: Reading) -> bool:
    """Whether the provider reported that it did nothing. An error after some output does not report that."""
    if reading.stream_error:
        return not reading.has_output
    failed = reading.is_error or (outcome.status is not None and outcome.status >= 400)
    return failed and outcome.end_reason in (EndReason.COMPLETE, EndReason.RETRIED)


def _is_half(usage: Usage) -> bool:
    """Whether a count that is billed is missing."""
    is_other = usage.audio_seconds is not None or PER_CHARACTER in (usage.unreported_tools or ())
    return not is_other and None in (usage.input_tokens, usage.output_tokens)


def _floor(
    route: Route, outcome: Outcome, reading: Reading, prices: PriceBook, model_requested: str | None
) -> Decimal | None:
    """Return what a usage costs at least that is not whole; ``None`` where nothing of it is certain.

    Its counts only grow. What it has not reported yet is taken for the cheapest: that all input came from a cache, and
    that it was served at a cheaper tier.
    """
    usage = reading.usage
    if usage is None or usage.unbilled or (reading.stream_error and not reading.has_output):
        return None
    if usage.cache_read_tokens is None:
        usage = replace(usage, cache_read_tokens=usage.input_tokens)
    tiers = _CHEAPEST_TIERS if reading.service_tier is None else (reading.service_tier,)
    floors = [
        prices.floor(
            provider=route.provider,
            model=reading.model,
            model_requested=model_requested,
            usage=usage,
            when=reading.done_at or outcome.started_at,
            service_tier=tier,
        )
        for tier in tiers
    ]
    return min((floor for floor in floors if floor is not None), default=None)
