"""What the relay asks for. Whoever owns the connections carries out a list of these, in order, and nothing else.

Bodies are without their framing. Whoever writes a head frames what follows by it: chunked where it says so, else by
its length, else by the end of the connection.
"""

from __future__ import annotations

from typing import NamedTuple

from metrion.model import EndReason, Head, Headers, Origin


class Open(NamedTuple):
    """Connect to the provider, then call ``Relay.connected`` or ``Relay.upstream_failed``."""

    upstream: Origin


class SendRequest(NamedTuple):
    """Send the head to the provider. It has the key in it, and must reach nothing else."""

    method: bytes
    head: Head
    ends: bool
    """No body follows."""


class SendRequestData(NamedTuple):
    """Send a piece of the body to the provider."""

    data: bytes


class EndRequest(NamedTuple):
    """The request is whole."""

    trailers: Headers = ()


class AbortRequest(NamedTuple):
    """Close the provider's connection: nobody waits for its answer any more."""


class SendInterim(NamedTuple):
    """Send an interim head to the client."""

    status: int
    reason: bytes
    headers: Headers


class SendResponse(NamedTuple):
    """Send the head of the response to the client."""

    status: int
    reason: bytes
    headers: Headers
    ends: bool = False
    """No body follows."""


class SendResponseData(NamedTuple):
    """Send a piece of the body to the client."""

    data: bytes


class EndResponse(NamedTuple):
    """The response is whole."""

    trailers: Headers = ()


class AbortResponse(NamedTuple):
    """Close the client's connection (of HTTP/2: its stream), so that it sees that the response is not whole."""


class Estimate(NamedTuple):
    """Let the attempt estimate its tokens, off the event loop; carry out the rest of the list after that."""


class Record(NamedTuple):
    """Write the event, unless it is written. What follows in the list may complete the response for the client."""

    end_reason: EndReason


class Wake(NamedTuple):
    """Call ``Relay.time_passed`` after so many seconds, and no earlier call; ``None``: none at all."""

    seconds: float | None


class Finish(NamedTuple):
    """The request is over on the wire. ``keep_open``: the client's connection may have the next one."""

    keep_open: bool = True


type Effect = (
    Open
    | SendRequest
    | SendRequestData
    | EndRequest
    | AbortRequest
    | SendInterim
    | SendResponse
    | SendResponseData
    | EndResponse
    | AbortResponse
    | Estimate
    | Record
    | Wake
    | Finish
)
type Effects = list[Effect]
