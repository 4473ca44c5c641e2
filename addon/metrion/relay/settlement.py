"""Who is billed for what is told later: a response's reading in, what is to be noted of pending generations out.

A background response and a batch have no usage when they are asked for. It comes with a later GET, and with every
further one; the first that brings it whole is billed. Pure: :func:`settlement` decides, :func:`carry_out` notes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metrion.model import EndReason, Reading, Route


class Generations(Protocol):
    """What is pending, as :class:`metrion.control.generations.Generations` keeps it."""

    def expect(self, provider: str, generation_id: str) -> None:
        """Take note that the provider works at something."""

    def replace(self, provider: str, generation_id: str, output: str) -> bool:
        """Take note that something else is to tell its usage. True for the first only."""

    def settle(self, provider: str, generation_id: str) -> bool:
        """Take note that its usage is told. True for the first only."""

    def expects(self, provider: str, generation_id: str) -> bool:
        """Whether its usage has not been told yet."""


@dataclass(frozen=True, slots=True)
class Expect:
    """The provider works at something; what it is billed for comes later."""

    provider: str
    id: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Something else tells what it is billed for. ``bills``: this response bills a part, if it is the first."""

    provider: str
    id: str
    output: str
    bills: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """This response tells it. ``bills``: it has the bill, if it is the first."""

    provider: str
    id: str
    bills: bool


type Settlement = bool | Expect | Replace | Settle
"""A bool: nothing to note; whether the response bills something is known already."""


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
    """Decide about a response that a batch may have named as its output."""
    if reading.output is not None:
        following = output.partition("?")[0] + reading.output
        return Replace(provider, output, following, bills=reading.usage is not None)
    return Settle(provider, output, bills=True) if reading.usage is not None else False


def carry_out(decided: Settlement, generations: Generations) -> bool:
    """Note what was decided; return whether the response is billed for what was asked earlier."""
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
