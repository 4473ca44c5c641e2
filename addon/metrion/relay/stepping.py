"""The steps that a request may still fall back to: each a decision, a head and a body that go out in its place.

Every step begins with the request as it went out at first, so that none inherits what another one changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from metrion.model import Forward, Head
from metrion.model.policies import Fallback, MemberSetting, Policies
from metrion.parsing.json_members import UnreadableError
from metrion.relay.asked import read
from metrion.relay.body_policies import changed
from metrion.relay.gate import Gate
from metrion.relay.request import Request
from metrion.relay.rewrites import replaced


@dataclass(frozen=True, slots=True)
class Turn:
    """A request at a step."""

    forward: Forward
    head: Head
    body: bytes
    model: str | None
    """What it asks for there, if that is something else than its client asked for."""
    words: str


class Steps:
    """See the module. ``forward``, ``head`` and ``body``: as it went out at first."""

    def __init__(self, fallback: Fallback, forward: Forward, head: Head) -> None:
        self.policy = fallback.policy
        self._left = list(fallback.steps)
        self._forward = forward
        self._head = head
        self._first: tuple[bytes, str | None, str | None] | None = None

    def next(self, gate: Gate, body: bytes, request: Request, now: Forward) -> Turn | None:
        """Return the next step that can be gone; ``None``: there is none.

        ``body``: what is to go out again. ``now``: as it goes out now.
        """
        if self._first is None:
            self._first = body, request.sent_model, request.sent_model or request.model
        body, sent, model = self._first
        while self._left:
            step, there = self._left.pop(0), body
            if step.model is not None:
                setting = MemberSetting(self.policy, "model", step.model)
                try:
                    there = changed(body, Policies(sets=(setting,))).body
                except UnreadableError:
                    continue
            known = step.model or model
            asked = replace(read(there), models=(known,)) if known is not None else read(there)
            admitted = gate.fallen_back(self._forward, step, asked, instead=now)
            if admitted is None:
                continue
            here = admitted.route is self._forward.route
            head = self._head if here else admitted.wire
            if there is not body:
                head = Head(head.target, replaced(head.headers, b"content-length", b"%d" % len(there)))
            return Turn(admitted, head, there, step.model or sent, step.words(admitted.route.provider))
        return None
