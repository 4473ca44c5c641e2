"""How a request went, as its client saw it and as the provider's headers report it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from metrion.model import EndReason
from metrion.model.record import record


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
    provider_limits: str | None = None
    """What the provider's headers say of its limits, as JSON."""
    beyond_plan: bool | None = None
    """Of a flat-rate plan: whether the provider's headers say that this is charged besides; ``None``: none came."""
    attempt: int = 1
    """Which sending of the request this is."""
    policy: Mapping[str, str] | None = None
    """What each policy did, by its name."""
    queued_ms: float | None = None
    from_cache: bool = False
    """The answer was kept from an earlier request, and its provider was not asked."""
