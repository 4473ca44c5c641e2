"""Makes the event of a request: head, decision, outcome and reading in, the :class:`~metrion.model.Event` out.

Pure. The event has no prompt, no completion and no key in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from metrion.admission import labels, mask, shown
from metrion.model import (
    Cost,
    CostSource,
    EndReason,
    Event,
    Forward,
    Inbound,
    Reading,
    Refusal,
    Route,
    Usage,
    first_values,
)
from metrion.model.record import record
from metrion.pricing import PER_CHARACTER, PriceBook
from metrion.providers import KEY_SHAPE

_NOTHING_BILLED = Cost(CostSource.NOT_BILLED, usd=Decimal(0))

_CLIENT_CHARACTERS = 64

_PRODUCT = re.compile(r"\s*([^\s(]+)")
"""The first product of a ``User-Agent``, its version included: a space or a comment ends it."""
_KEY = re.compile(rf"sk-metrion-[\w-]*|{KEY_SHAPE}|[0-9A-Za-z]{{32,}}", re.ASCII)
"""What looks like a Metrion token or a provider's key."""


@record(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request went, as its client saw it. Times are milliseconds since the head arrived, sizes are bytes."""

    event_id: UUID
    request_id: str
    """The same in all rows of one request or session."""
    started_at: datetime
    """Naive UTC."""
    end_reason: EndReason
    status: int | None = None
    """The client got it; ``None``: it got no response."""
    error_type: str | None = None
    """The code of a refusal, where the response is Metrion's own."""
    reached_upstream: bool = False
    """The request went out, so the provider may have worked for it."""
    streamed: bool | None = None
    provider_request_id: str | None = None
    latency_ms: float | None = None
    first_byte_ms: float | None = None
    overhead_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None


def measure(
    inbound: Inbound,
    decision: Forward | Refusal,
    outcome: Outcome,
    reading: Reading,
    prices: PriceBook,
    *,
    model_requested: str | None = None,
    settles: bool = False,
    fields: Mapping[bytes, bytes] | None = None,
) -> Event | None:
    """Return the event of one request, or ``None`` for one that named no provider.

    ``settles``: the response is the first to report the usage of an earlier request, such as the results of a batch or
    a background response that is read back. ``fields``: the request's headers by name, where they are known already.
    """
    route, caller = decision.route, decision.caller
    provider = route.provider if route else decision.provider if isinstance(decision, Refusal) else None
    if provider is None:
        return None
    model_requested = (route.model if route else None) or model_requested
    billable = route is not None and (settles or _is_billable(inbound, route))
    if not billable:
        # The row of the request that generated it has the usage of what is read back; sums must not count it twice.
        reading = replace(reading, usage=None)
    usage = reading.usage or Usage()
    cost = _cost(route, outcome, reading, prices, model_requested) if billable else _NOTHING_BILLED
    user_label, tags = labels(inbound)
    client, client_retry = _client(fields or first_values(inbound.headers))
    return Event(
        event_id=outcome.event_id,
        request_id=outcome.request_id,
        started_at=outcome.started_at,
        account=caller.account if caller else None,
        token_name=caller.token_name if caller else None,
        user_label=user_label,
        tags=tags or None,
        credential=caller.credential if caller else None,
        provider=provider,
        operation=route.operation.name if route else None,
        method=inbound.method.decode("latin-1"),
        # A refused path may hold a credential.
        path=(route.target if route else shown(inbound).target).partition(b"?")[0].decode("utf-8", "replace"),
        model_requested=model_requested,
        model=reading.model,
        service_tier=reading.service_tier,
        streamed=outcome.streamed,
        # The id in the path wins: an answer that is read back may have one of its own.
        generation_id=(route.generation_id if route else None) or reading.generation_id,
        status=outcome.status,
        end_reason=outcome.end_reason,
        error_type=outcome.error_type or reading.error_type,
        finish_reason=reading.finish_reason,
        provider_request_id=outcome.provider_request_id,
        client_retry=client_retry,
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        input_image_tokens=usage.input_image_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        output_image_tokens=usage.output_image_tokens,
        audio_seconds=usage.audio_seconds,
        server_tools=usage.server_tools or None,
        usage=usage.raw,
        usage_source="none" if reading.usage is None else "estimated" if reading.estimated else "reported",
        cost_usd=cost.usd,
        cost_source=cost.source,
        computed_cost_usd=cost.computed_usd,
        cost_parts=cost.parts or None,
        price_version=cost.price_version,
        latency_ms=outcome.latency_ms,
        first_byte_ms=outcome.first_byte_ms,
        overhead_ms=outcome.overhead_ms,
        request_bytes=outcome.request_bytes,
        response_bytes=outcome.response_bytes,
        unreported_tools=usage.unreported_tools or None,
        client=client,
        wire_format=_session_format(route, outcome) or reading.wire_format,
    )


def _cost(
    route: Route | None,
    outcome: Outcome,
    reading: Reading,
    prices: PriceBook,
    model_requested: str | None,
) -> Cost:
    if route is None or not outcome.reached_upstream:
        return _NOTHING_BILLED
    if reading.usage is None:
        failed = reading.is_error or (outcome.status is not None and outcome.status >= 400)
        is_reported = reading.stream_error or (failed and outcome.end_reason is EndReason.COMPLETE)
        return _NOTHING_BILLED if is_reported else Cost(CostSource.UNKNOWN)
    if not (reading.estimated or reading.has_final_usage(outcome.end_reason)):
        return Cost(CostSource.UNKNOWN)
    usage = reading.usage
    if reading.estimated and _is_half(usage):
        return Cost(CostSource.UNKNOWN)
    if reading.doubtful and not reading.estimated:  # what the provider says it charged is certain all the same
        usage = Usage(provider_cost_usd=usage.provider_cost_usd)
    return prices.cost(
        provider=route.provider,
        model=reading.model,
        model_requested=model_requested,
        usage=usage,
        when=outcome.started_at,
        service_tier=reading.service_tier,
        estimated=reading.estimated,
    )


def _is_half(usage: Usage) -> bool:
    """Whether a count that is billed is missing."""
    is_other = usage.audio_seconds is not None or PER_CHARACTER in (usage.unreported_tools or ())
    return not is_other and None in (usage.input_tokens, usage.output_tokens)


def _is_billable(inbound: Inbound, route: Route) -> bool:
    """Whether the provider may charge for such a request. To read a stored generation back costs nothing."""
    return inbound.method == b"POST" and route.operation.is_billed_at(route.provider)


def _client(fields: Mapping[bytes, bytes]) -> tuple[str | None, int | None]:
    """Return the client's product, and how often its SDK had tried before, as those of OpenAI and Anthropic report."""
    agent, retries = fields.get(b"user-agent"), fields.get(b"x-stainless-retry-count")
    product = _PRODUCT.match(agent.decode("utf-8", "replace")) if agent else None
    return (
        _KEY.sub(lambda key: mask(key[0]), product[1])[:_CLIENT_CHARACTERS] if product else None,
        int(retries) if retries and retries.isdigit() and len(retries) < 5 else None,
    )


def _session_format(route: Route | None, outcome: Outcome) -> str | None:
    """Return the format of a WebSocket session; its readings have none, since each message is read by itself."""
    return route.dialect if route and outcome.status == 101 and route.operation.session else None
