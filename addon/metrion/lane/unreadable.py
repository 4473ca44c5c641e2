"""A client's connection after a head that cannot be read: it is answered, and what still comes is dropped, in bounds.

Closing at once would reset the connection, and destroy the answer before the client has read it.
"""

from __future__ import annotations

import asyncio

from metrion.admission.refusals import unreadable
from metrion.lane import wire
from metrion.lane.http1 import MalformedError
from metrion.relay.own_answers import reason
from metrion.relay.relay import UNREAD_BODY_BYTES, UNREAD_BODY_SECONDS


class Unreadable(asyncio.Protocol):
    """Takes a connection over, to its end. ``data``: what has come of the head; it says for whom it was."""

    def __init__(self, transport: asyncio.Transport, data: bytes, error: MalformedError) -> None:
        self._transport = transport
        self._dropped = 0
        transport.set_protocol(self)
        answer = unreadable(data[:4096], error.status, str(error))
        transport.write(wire.response_head(answer.status, reason(answer.status), answer.headers) + answer.body)
        if transport.can_write_eof():
            transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(UNREAD_BODY_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Override."""
        self._dropped += len(data)
        if self._dropped > UNREAD_BODY_BYTES:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's protocol
        """Override."""
        self._timer.cancel()
