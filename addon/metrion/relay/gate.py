"""What the relay asks of whoever decides about requests and remembers them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from metrion.model import Answer, Asked, Forward, Inbound, Refusal
from metrion.model.policies import Concurrency, Step
from metrion.relay.attempt import Attempt
from metrion.relay.batch import Gathering
from metrion.relay.caching import KeptAnswer
from metrion.relay.held_body import Room


class Place(Protocol):
    """A request's place at a provider key, or in the line for one."""

    @property
    def is_granted(self) -> bool:
        """Whether it may go out."""

    def wait(self, on_turn: Callable[[], None]) -> None:
        """Have ``on_turn`` called when it may, as far as that is known at once."""

    def leave(self) -> None:
        """Give the place back, or wait no longer. May come twice."""


class Cache(Protocol):
    """Answers for requests that come again. Nothing here raises."""

    def find(self, identity: bytes, most_seconds: float) -> tuple[KeptAnswer, float] | None:
        """Return the answer to a request, and its age in seconds; ``None``: there is none that is young enough."""

    def keep(self, identity: bytes, answer: KeptAnswer, most_bytes: int) -> None:
        """Keep the answer to a request. ``most_bytes``: how much is kept of all."""


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

    @property
    def cache(self) -> Cache | None:
        """Where answers are kept; ``None``: nowhere."""

    @property
    def gathering(self) -> Gathering:
        """Where requests wait to go out as one."""

    def enter(self, forward: Forward, concurrency: Concurrency) -> Place:
        """Have a place for a request at its provider key, or wait for one; until the request is over."""

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

    def fallen_back(self, forward: Forward, step: Step, asked: Asked, *, instead: Forward) -> Forward | None:
        """Return a request as it goes out at a step of its policy; ``None``: it cannot go there.

        ``forward``: as it went out at first. ``asked``: what its body asks for at the step. ``instead``: as it goes out
        now; what budgets hold for it is held for the step from now on.
        """

    def again(self, key: object, attempt: Attempt, *, last_activity: float) -> Attempt:
        """Write the event of an attempt that is not handed on; return the next. See :meth:`Attempt.following`."""
