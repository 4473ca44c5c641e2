"""The event: one row of ``events`` for each request, and the columns of it with their SQL types.

A column is declared here and nowhere else: the store's tables and the journal's lines follow from it. To add one, add
a field at the end, and its row in ``docs/events.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Annotated, get_args, get_origin, get_type_hints
from uuid import UUID

from metrion.model.record import record

MONEY = "DECIMAL(18, 12)"
"""The SQL type of amounts in US dollars."""

Uuid = Annotated[UUID, "UUID"]
Timestamp = Annotated[datetime, "TIMESTAMP"]
Text = Annotated[str, "VARCHAR"]
Json = Annotated[str, "JSON"]
Boolean = Annotated[bool, "BOOLEAN"]
SmallInt = Annotated[int, "SMALLINT"]
BigInt = Annotated[int, "BIGINT"]
Double = Annotated[float, "DOUBLE"]
Money = Annotated[Decimal, MONEY]
Texts = Annotated[Mapping[str, str], "MAP(VARCHAR, VARCHAR)"]
Counts = Annotated[Mapping[str, int], "MAP(VARCHAR, BIGINT)"]
Amounts = Annotated[Mapping[str, Decimal], f"MAP(VARCHAR, {MONEY})"]


@record(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of ``events``: the fields are its columns, in order. A column is added at the end, and never changed."""

    event_id: Uuid
    request_id: Text
    attempt: SmallInt = 1
    started_at: Timestamp
    """Naive UTC."""
    account: Text | None = None
    token_name: Text | None = None
    user_label: Text | None = None
    tags: Texts | None = None
    credential: Text | None = None

    provider: Text
    operation: Text | None = None
    method: Text | None = None
    path: Text | None = None
    model_requested: Text | None = None
    model: Text | None = None
    service_tier: Text | None = None
    streamed: Boolean | None = None
    generation_id: Text | None = None

    status: SmallInt | None = None
    end_reason: Text | None = None
    error_type: Text | None = None
    finish_reason: Text | None = None
    provider_request_id: Text | None = None
    client_retry: SmallInt | None = None

    input_tokens: BigInt | None = None
    cache_read_tokens: BigInt | None = None
    cache_write_tokens: BigInt | None = None
    cache_write_1h_tokens: BigInt | None = None
    output_tokens: BigInt | None = None
    reasoning_tokens: BigInt | None = None
    input_audio_tokens: BigInt | None = None
    input_image_tokens: BigInt | None = None
    output_audio_tokens: BigInt | None = None
    output_image_tokens: BigInt | None = None
    audio_seconds: Double | None = None
    server_tools: Counts | None = None
    usage: Json | None = None
    usage_source: Text = "none"

    cost_usd: Money | None = None
    cost_source: Text | None = None
    computed_cost_usd: Money | None = None
    cost_parts: Amounts | None = None
    price_version: Text | None = None

    latency_ms: Double | None = None
    first_byte_ms: Double | None = None
    overhead_ms: Double | None = None
    request_bytes: BigInt | None = None
    response_bytes: BigInt | None = None

    unreported_tools: Counts | None = None
    cost_at_least_usd: Money | None = None
    client: Text | None = None
    session_id: Text | None = None
    provider_limits: Json | None = None
    wire_format: Text | None = None
    policy: Texts | None = None
    queued_ms: Double | None = None


def _sql_type(annotation: object) -> str:
    """Return the SQL type in the annotation of a column, which may be ``None`` besides."""
    (column,) = (part for part in (annotation, *get_args(annotation)) if get_origin(part) is Annotated)
    return str(column.__metadata__[0])


EVENT_COLUMNS: tuple[str, ...] = tuple(column.name for column in fields(Event))
"""Their names, in order."""

COLUMN_TYPES: Mapping[str, str] = {
    name: _sql_type(annotation) for name, annotation in get_type_hints(Event, include_extras=True).items()
}
"""Their SQL types by name, in the same order."""
