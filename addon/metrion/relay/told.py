"""What a policy has a response tell its client: an attempt in, header fields out.

The cost is there only where it is known before the response begins: where there is none. Of what a provider may bill,
it is known with the end of the response, and no head waits for that.
"""

from __future__ import annotations

from metrion.model import Forward, Headers
from metrion.relay.attempt import Attempt


def telling(forward: Forward, attempt: Attempt) -> Headers:
    """Return the fields that are added to a response."""
    told = forward.policies.told if forward.policies is not None else None
    if told is None:
        return ()
    fields: list[tuple[bytes, bytes]] = []
    if "event-id" in told.headers:
        fields.append((b"x-metrion-event-id", str(attempt.id).encode()))
    if "cost-usd" in told.headers and _costs_nothing(forward, attempt):
        fields.append((b"x-metrion-cost-usd", b"0"))
    return tuple(fields)


def _costs_nothing(forward: Forward, attempt: Attempt) -> bool:
    """Whether nothing of a response can be billed, whatever it says: nor for an earlier request."""
    if attempt.from_cache:
        return True
    route, is_post = forward.route, attempt.request.inbound.method == b"POST"
    settles = route.generation_id is not None or route.output is not None or route.operation.session
    return not settles and not (is_post and route.operation.is_billed_at(route.provider))
