"""The event: one row of ``events`` for each request, and the columns of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from metrion.model.record import record


@record(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of ``events``: the fields are its columns, in order. Columns are added at the end, never changed."""

    event_id: UUID
    request_id: str
    attempt: int = 1
    started_at: datetime
    """Naive UTC."""
    account: str | None = None
    token_name: str | None = None
    user_label: str | None = None
    tags: Mapping[str, str] | None = None
    credential: str | None = None

    provider: str
    operation: str | None = None
    method: str | None = None
    path: str | None = None
    model_requested: str | None = None
    model: str | None = None
    service_tier: str | None = None
    streamed: bool | None = None
    generation_id: str | None = None

    status: int | None = None
    end_reason: str | None = None
    error_type: str | None = None
    finish_reason: str | None = None
    provider_request_id: str | None = None
    client_retry: int | None = None

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    audio_seconds: float | None = None
    server_tools: Mapping[str, int] | None = None
    usage: str | None = None
    """JSON text."""
    usage_source: str = "none"

    cost_usd: Decimal | None = None
    cost_source: str | None = None
    computed_cost_usd: Decimal | None = None
    cost_parts: Mapping[str, Decimal] | None = None
    price_version: str | None = None

    latency_ms: float | None = None
    first_byte_ms: float | None = None
    overhead_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None

    unreported_tools: Mapping[str, int] | None = None
    cost_at_least_usd: Decimal | None = None
    client: str | None = None
    session_id: str | None = None
    provider_limits: str | None = None
    """JSON text."""
    wire_format: str | None = None
    policy: Mapping[str, str] | None = None
    queued_ms: float | None = None


EVENT_COLUMNS: tuple[str, ...] = tuple(column.name for column in fields(Event))
