"""Makes the access log: a request that is over in, one line of JSON out.

A line has ``time``, ``method``, ``path`` (as the client sent it, without its query), ``provider``, ``model``,
``operation``, ``status``, ``duration_ms``, ``address``, ``token`` and ``event_id``, each null where it is not known.
``event_id`` is that of the row in ``events``. Every request has a line, also one that has no event. Never: a credential
or a query.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.json import Encoder

from metrion.logs.visible import secrets_of, visible
from metrion.model import Event, Forward, Inbound, Refusal

_encode = Encoder().encode


def access_line(
    inbound: Inbound | None,
    *,
    status: int | None,
    seconds: float,
    now: datetime,
    decision: Forward | Refusal | None = None,
    event: Event | None = None,
    address: str | None = None,
) -> str:
    """Return the line. ``inbound`` is ``None`` where the head could not be read."""
    secrets = frozenset[str]() if inbound is None else secrets_of(inbound, decision)
    route = decision.route if decision is not None else None
    provider = route.provider if route else decision.provider if isinstance(decision, Refusal) else None
    caller = decision.caller if decision is not None else None
    model = (event.model or event.model_requested) if event is not None else None
    fields = {
        "time": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "method": None if inbound is None else visible(inbound.method.decode("latin-1"), secrets, longest=32),
        "path": None if inbound is None else visible(inbound.path.decode("utf-8", "replace"), secrets),
        "provider": provider,
        "model": None if model is None else visible(model, secrets),
        "operation": route.operation.name if route else None,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "address": address,
        "token": caller.token_name if caller else None,
        "event_id": str(event.event_id) if event is not None else None,
    }
    return _encode(fields).decode()
