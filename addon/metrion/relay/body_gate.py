"""What the gate decides about a request by its body: a head first, then the body, or word that nobody can hold it.

The gate is asked at the head where nothing depends on the body, or where the head says that nobody can read it; then
nothing waits. A request counts for its limits once nothing else refuses it.
"""

from __future__ import annotations

from metrion.model import Asked, Forward, Inbound, Refusal
from metrion.relay import asked
from metrion.relay.gate import Gate
from metrion.relay.held_body import HeldBody


class BodyGate:
    """The decision about one request."""

    __slots__ = ("_gate", "waits")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.waits = False
        """The request goes nowhere before its body is judged."""

    def head(self, forward: Forward, inbound: Inbound, *, ends: bool) -> Forward | Refusal:
        """Decide about an admitted request as far as its head allows. ``ends``: it has no body."""
        decision: Forward | Refusal = forward
        if self._gate.needs_body(forward):
            unread = Asked() if ends else asked.before_body(inbound.headers)
            if unread is None:
                self.waits = True
                return forward
            decision = self._gate.within_rules(forward, unread)
        return self._gate.within_limits(decision) if isinstance(decision, Forward) else decision

    def body(self, forward: Forward, held: HeldBody, *, is_whole: bool) -> Forward | Refusal:
        """Decide about a request that waits, now that its body is whole, or cannot be held any longer."""
        self.waits = False
        decision = self._gate.within_rules(forward, asked.read(held.whole) if is_whole else asked.TOO_LARGE)
        return self._gate.within_limits(decision) if isinstance(decision, Forward) else decision
