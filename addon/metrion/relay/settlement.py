"""Decides which response is billed for usage that comes later: its reading in, what to record of generations out.

A background response and a batch have no usage when they are asked for. A later GET reports it, and so does every
further one; the first that brings it whole is billed. An agent's session reports all that it has used so far, and each
response is billed for what it adds. Pure: :func:`settlement` decides, :func:`carry_out` records it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from metrion.model import EndReason, Reading, Route, Usage


class Generations(Protocol):
    """The generations whose usage is pending, as :class:`metrion.control.generations.Generations` keeps them."""

    def expect(self, provider: str, generation_id: str) -> None:
        """Record that the provider works at a generation."""

    def replace(self, provider: str, generation_id: str, output: str) -> bool:
        """Record that ``output`` will report its usage. True for the first caller only."""

    def settle(self, provider: str, generation_id: str) -> bool:
        """Record that its usage is reported. True for the first caller only."""

    def expects(self, provider: str, generation_id: str) -> bool:
        """Whether its usage has not been reported yet."""

    def advance(self, provider: str, generation_id: str, usage: str, progress: int) -> str | None:
        """Record all that it has used so far; return what was recorded before, or ``""``. ``None``: nothing is new."""

    def finish(self, provider: str, generation_id: str, done_at: datetime) -> None:
        """Record when the provider was done with it, naive UTC."""

    def done_at(self, provider: str, generation_id: str) -> datetime | None:
        """When it was, as far as that is known."""

    def knows(self, provider: str, generation_id: str) -> bool:
        """Whether it was asked for here, its usage reported or not."""


@dataclass(frozen=True, slots=True)
class Expect:
    """The provider works at a generation; a later response reports its usage."""

    provider: str
    id: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Another response will report the usage. ``bills``: the first one like this is billed for a part of it."""

    provider: str
    id: str
    output: str
    bills: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """This response reports the usage. ``bills``: the first one like this is billed for it."""

    provider: str
    id: str
    bills: bool


@dataclass(frozen=True, slots=True)
class Advance:
    """This response reports all that was used so far, as JSON text. It is billed for what was not reported before."""

    provider: str
    id: str
    usage: str
    progress: int
    """How far that is: a number that only grows."""


type Settlement = bool | Expect | Replace | Settle | Advance
"""A bool: there is nothing to record, and the response is or is not billed for an earlier request."""


def settlement(
    route: Route | None, method: bytes, status: int | None, reading: Reading, end_reason: EndReason, *, in_session: bool
) -> Settlement:
    """Decide what a response settles. ``in_session``: each billed response of the WebSocket session has its own row."""
    if status == 101:
        return not in_session
    generation_id = reading.generation_id or (route.generation_id if route else None)
    if route is None or generation_id is None:
        return False
    provider, whole = route.provider, end_reason is EndReason.COMPLETE
    if route.output is not None:
        return _of_output(provider, route.output, reading) if whole else False
    if reading.pending:
        return Expect(provider, generation_id) if method == b"POST" else False
    if reading.growing and reading.usage is not None:
        return _of_growing(provider, route.generation_id or generation_id, reading.usage) if whole else False
    is_read_back = method != b"POST"
    asked_for = route.generation_id or generation_id
    if reading.output is not None and is_read_back:
        return Replace(provider, asked_for, reading.output)
    # A run that waited for a tool's output ends in the answer to another POST, which is billed as such.
    if reading.usage is None or not (is_read_back or route.operation.deferred):
        return False
    # The results of a batch that broke off are read again, whole.
    return Settle(provider, asked_for, bills=is_read_back) if whole else False


def _of_output(provider: str, output: str, reading: Reading) -> Settlement:
    """Decide on a response that a batch may have named as its output."""
    if reading.output is not None:
        following = output.partition("?")[0] + reading.output
        return Replace(provider, output, following, bills=reading.usage is not None)
    return Settle(provider, output, bills=True) if reading.usage is not None else False


def _of_growing(provider: str, generation_id: str, usage: Usage) -> Settlement:
    """Decide on a response that reports all that was used so far."""
    progress = (usage.input_tokens or 0) + (usage.output_tokens or 0) + int(100 * (usage.provider_cost_usd or 0))
    return Advance(provider, generation_id, usage.raw, progress) if usage.raw is not None and progress else False


def carry_out(decided: Settlement, generations: Generations) -> bool | str:
    """Record a decision; return whether the response is billed for an earlier request.

    A string: it is billed for what was not in this usage yet, which was reported before.
    """
    match decided:
        case bool():
            return decided
        case Expect(provider, generation_id):
            generations.expect(provider, generation_id)
            return False
        case Replace(provider, generation_id, output, bills):
            return generations.replace(provider, generation_id, output) and bills
        case Settle(provider, generation_id, bills):
            return generations.settle(provider, generation_id) and bills
        case Advance(provider, generation_id, usage, progress):
            before = generations.advance(provider, generation_id, usage, progress)
            return before or before is not None
