"""What the relay asks of whoever decides about requests and remembers them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from metrion.model import Answer, Forward, Inbound, Refusal
from metrion.relay.attempt import Attempt


class Gate(Protocol):
    """Decides and remembers, as :class:`metrion.gateway.Gateway` does. Nothing here raises."""

    @property
    def cors_origins(self) -> Collection[str]:
        """Whose pages may see responses."""

    def decide(self, inbound: Inbound, *, intercepted: bool = False) -> Forward | Refusal | Answer:
        """Decide what happens to a request. ``intercepted``: its client does not know of the proxy."""

    def within_limits(self, decision: Forward) -> Forward | Refusal:
        """Count a request that nothing else refuses any more, or refuse it."""

    def answered(self, inbound: Inbound, answer: Answer, *, began: float) -> None:
        """Record a request that is answered here, and has no event."""

    def begin(self, key: object, inbound: Inbound, decision: Forward | Refusal, *, began: float) -> Attempt:
        """Begin to record a request, known by ``key`` until it is over."""

    def again(self, key: object, attempt: Attempt, *, last_activity: float) -> Attempt:
        """Write the event of an attempt that is not handed on; return the next. See :meth:`Attempt.following`."""
