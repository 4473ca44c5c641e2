"""What the relay asks of whoever decides about requests and remembers them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from metrion.model import Answer, Asked, Forward, Inbound, Refusal
from metrion.relay.attempt import Attempt
from metrion.relay.held_body import Room


class Gate(Protocol):
    """Decides and remembers, as :class:`metrion.gateway.Gateway` does. Nothing here raises."""

    @property
    def cors_origins(self) -> Collection[str]:
        """Whose pages may see responses."""

    @property
    def room(self) -> Room:
        """Where bodies are held."""

    def decide(self, inbound: Inbound, *, intercepted: bool = False) -> Forward | Refusal | Answer:
        """Decide what happens to a request. ``intercepted``: its client does not know of the proxy."""

    def needs_body(self, forward: Forward) -> bool:
        """Whether what the body of a request asks for decides about it. Asked once for every admitted request."""

    def within_rules(self, forward: Forward, asked: Asked) -> Forward | Refusal:
        """Decide about a request for which ``needs_body`` holds, now that it is known what it asks for."""

    def within_limits(self, decision: Forward) -> Forward | Refusal:
        """Count a request that nothing else refuses any more, or refuse it."""

    def answered(self, inbound: Inbound, answer: Answer, *, began: float) -> None:
        """Record a request that is answered here, and has no event."""

    def begin(self, key: object, inbound: Inbound, decision: Forward | Refusal, *, began: float) -> Attempt:
        """Begin to record a request, known by ``key`` until it is over."""
