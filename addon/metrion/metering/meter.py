"""Makes the event of a request: head, decision, outcome and reading in, the :class:`~metrion.model.Event` out.

Pure. The event has no prompt, no completion and no key in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.admission import labels, shown
from metrion.admission.masking import shown_method
from metrion.admission.redaction import Redactor, redactor_of
from metrion.metering import head_fields
from metrion.metering.cost import NOTHING_BILLED, UNKNOWN, cost
from metrion.metering.outcome import Outcome
from metrion.metering.redacted import redacted
from metrion.metering.served_model import marked
from metrion.model import Cost, Event, Forward, Inbound, Reading, Refusal, Route, Usage, first_values
from metrion.pricing import PriceBook


def measure(
    inbound: Inbound,
    decision: Forward | Refusal,
    outcome: Outcome,
    reading: Reading,
    prices: PriceBook,
    *,
    model_requested: str | None = None,
    settles: bool = False,
    asked_here: bool = False,
    fields: Mapping[bytes, bytes] | None = None,
    redactor: Redactor | None = None,
    policy: Mapping[str, str] | None = None,
    model_sent: str | None = None,
) -> Event | None:
    """Return the event of one request, or ``None`` for one that named no provider.

    ``settles``: the response is the first to report the usage of an earlier request, such as the results of a batch or
    a background response that is read back. ``asked_here``: that request came through Metrion, so that its usage is in
    another row, or will be. ``fields``: the request's headers by name, ``redactor``: what masks its credentials, where
    they are known already. ``policy``: what each policy did, by its name;
    ``model_sent``: what one put in the place of the model that was asked for.
    """
    route = decision.route
    provider = route.provider if route else decision.provider if isinstance(decision, Refusal) else None
    if provider is None:
        return None
    model_requested = (route.model if route else None) or model_requested
    is_billable = route is not None and (settles or _is_billable(inbound, route))
    costs = NOTHING_BILLED
    if route is not None and is_billable:
        in_plan = decision.caller is not None and decision.caller.in_plan
        costs = cost(route, outcome, reading, prices, model_sent or model_requested, in_plan=in_plan)
    elif _is_in_no_row(inbound, outcome, reading, asked_here=asked_here):
        costs = UNKNOWN
    if not is_billable or outcome.from_cache:
        # The row of the request that generated it has the usage of what is read back; sums must not count it twice.
        reading = replace(reading, usage=None)
    event = Event(
        event_id=outcome.event_id,
        request_id=outcome.request_id,
        attempt=outcome.attempt,
        started_at=outcome.started_at,
        provider=provider,
        model_requested=model_requested,
        policy=marked(policy, decision.caller, provider, reading.model, model_requested),
        **_asked(inbound, decision, fields or first_values(inbound.headers)),
        **_answered(route, outcome, reading),
        **_used(reading),
        **_costs(costs),
    )
    return redacted(event, redactor or redactor_of(inbound, decision))


def _asked(inbound: Inbound, decision: Forward | Refusal, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the columns of who asked for what."""
    route, caller = decision.route, decision.caller
    user_label, tags = labels(inbound, caller.labels if caller else None)
    return {
        "account": caller.account if caller else None,
        "token_name": caller.token_name if caller else None,
        "user_label": user_label,
        "tags": tags or None,
        "credential": caller.credential if caller else None,
        "operation": route.operation.name if route else None,
        "method": shown_method(inbound.method).decode("latin-1"),
        # A refused path may hold a credential.
        "path": (route.target if route else shown(inbound).target).partition(b"?")[0].decode("utf-8", "replace"),
        "client_retry": head_fields.client_retry(fields),
        "client": head_fields.client(fields),
        "session_id": head_fields.session_id(fields),
    }


def _answered(route: Route | None, outcome: Outcome, reading: Reading) -> dict[str, Any]:
    """Return the columns of how it went, and of what the answer says of itself."""
    return {
        "model": reading.model,
        "service_tier": reading.service_tier,
        "streamed": outcome.streamed,
        # The id in the path wins: an answer that is read back may have one of its own.
        "generation_id": (route.generation_id if route else None) or reading.generation_id,
        "status": outcome.status,
        "end_reason": outcome.end_reason,
        "error_type": outcome.error_type or reading.error_type,
        "finish_reason": reading.finish_reason,
        "provider_request_id": outcome.provider_request_id,
        "latency_ms": outcome.latency_ms,
        "first_byte_ms": outcome.first_byte_ms,
        "overhead_ms": outcome.overhead_ms,
        "request_bytes": outcome.request_bytes,
        "response_bytes": outcome.response_bytes,
        "provider_limits": outcome.provider_limits,
        "wire_format": _session_format(route, outcome) or reading.wire_format,
        "queued_ms": outcome.queued_ms,
    }


def _used(reading: Reading) -> dict[str, Any]:
    """Return the columns of the usage."""
    usage = reading.usage or Usage()
    return {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "input_image_tokens": usage.input_image_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "output_image_tokens": usage.output_image_tokens,
        "audio_seconds": usage.audio_seconds,
        "server_tools": usage.server_tools or None,
        "usage": usage.raw,
        "usage_source": "none" if reading.usage is None else "estimated" if reading.estimated else "reported",
        "unreported_tools": usage.unreported_tools or None,
    }


def _costs(costs: Cost) -> dict[str, Any]:
    """Return the columns of the money."""
    return {
        "cost_usd": costs.usd,
        "cost_source": costs.source,
        "computed_cost_usd": costs.computed_usd,
        "cost_parts": costs.parts or None,
        "price_version": costs.price_version,
        "cost_at_least_usd": costs.at_least_usd,
    }


def _is_billable(inbound: Inbound, route: Route) -> bool:
    """Whether the provider may charge for such a request. To read a stored generation back costs nothing."""
    return inbound.method == b"POST" and route.operation.is_billed_at(route.provider)


def _is_in_no_row(inbound: Inbound, outcome: Outcome, reading: Reading, *, asked_here: bool) -> bool:
    """Whether something billed has no row: results that others asked for, or what was not read of a session."""
    is_others = inbound.method == b"GET" and reading.is_results and not asked_here
    return is_others or (outcome.status == 101 and reading.cut_short)


def _session_format(route: Route | None, outcome: Outcome) -> str | None:
    """Return the format of a WebSocket session; its readings have none, since each message is read by itself."""
    return route.dialect if route and outcome.status == 101 and route.operation.session else None
