"""A client's connection on the lane: one request at a time in, carried to a provider and back by the relay.

A connection that asks for something other than a plain request by path is handed over, with what has come of it.
Requests that a client sends ahead wait, unread, until the one before them is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from metrion.lane import wire
from metrion.lane.body import BodyReader, body_reader
from metrion.lane.brake import CLIENT_SLOW, ESTIMATING, OPENING, PIPELINED, READS_NOTHING, TURN, UPSTREAM_SLOW, Brake
from metrion.lane.deadline import Deadline
from metrion.lane.half_closed import HalfClosed
from metrion.lane.http1 import MalformedError, RequestHead, ResponseHead
from metrion.lane.next_head import Foreign, NextHead
from metrion.lane.outgoing import ResponseWriter
from metrion.lane.sender import Sender
from metrion.lane.shared import Shared
from metrion.lane.turn import Turn
from metrion.lane.unreadable import Unreadable
from metrion.model import Headers
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effect,
    Effects,
    EndRequest,
    EndResponse,
    Estimate,
    Finish,
    Open,
    Record,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
    Wake,
)
from metrion.relay.gathering import GatheringRelay
from metrion.relay.states import State

_PIPELINED_BYTES = 64 << 10
"""How much a client may send ahead of an answer; with more it is not read until the answer is out."""
HEAD_SECONDS = 10.0
"""How long a request head may take from its first byte to its last."""


class ClientConnection(asyncio.Protocol):
    """See the module."""

    def __init__(self, lane: Shared) -> None:
        self._lane = lane
        self._transport: asyncio.Transport
        self._over_tls = False
        self._next = NextHead()
        self._sender: Sender
        self._relay: GatheringRelay | None = None
        self._head: RequestHead
        self._body: BodyReader | None = None
        """Set while the body of the request under way is not whole."""
        self._turn = Turn(32 << 10)
        self._left = b""
        """Bytes of that body that wait for the next turn."""
        self._is_next_due = False
        """The next request is about to be read, as far as it has come."""
        self._response = ResponseWriter()
        self._held: Effects | None = None
        """Effects that wait for an estimate."""
        self._half_closed: HalfClosed | None = None
        self.idle_since = asyncio.get_running_loop().time()

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Override."""
        self._transport = cast("asyncio.Transport", transport)
        self._brake = Brake(self._transport)
        self._sender = Sender(self, self._lane.pool, self._brake)
        self._deadline = Deadline(self._on_due)
        self._lane.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        self._over_tls = tls is not None
        self._peer = transport.get_extra_info("peername")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._hand_over(alpn=b"h2")

    def data_received(self, data: bytes) -> None:
        """Override."""
        if self._left:
            self._left += data
        elif self._body is not None:
            self._read_body(data)
        else:
            self._next.data += data
            if self._relay is None:
                self._read_head(data)
            elif len(self._next.data) > _PIPELINED_BYTES:
                self._brake.set(PIPELINED, holds=True)
        self._flush()

    def eof_received(self) -> bool:
        """Override: a client that ends its sending may still wait for the answer to a whole request."""
        waits = self._is_next_due if self._relay is None else self._relay.state is not State.UNREAD
        if not waits or self._body is not None or self._over_tls:
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(self._transport, self.on_gone)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's protocol
        """Override."""
        self._leave()
        self.on_gone()

    def pause_writing(self) -> None:
        """Override: a provider waits for a client that does not read as fast, and so do requests sent ahead."""
        self._brake.set(READS_NOTHING, holds=True)
        self._sender.stop(CLIENT_SLOW, stopped=True)

    def resume_writing(self) -> None:
        """Override."""
        self._brake.set(READS_NOTHING, holds=False)
        self._sender.stop(CLIENT_SLOW, stopped=False)
        self._next_request()

    # --- for the lane ---

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight, or the end of a response waits for its client to read it."""
        return self._relay is not None or self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self._transport.close()

    # --- heads ---

    def _read_head(self, data: bytes | bytearray) -> None:
        """Read the head of the next request, if it is there, and begin with it. ``data``: what has just come."""
        if not self._next.data:
            return
        began = time.perf_counter()
        try:
            head = self._next.read(data)
        except MalformedError as error:
            self._refuse_unread(error)
            return
        if head is None:
            if not self._deadline.is_set:
                self._deadline.set(HEAD_SECONDS)
            return
        if isinstance(head, Foreign):
            self._hand_over(head.alpn)
            return
        self._deadline.set(None)
        self._head = head
        self._response.begin(minor=head.minor, keep_alive=head.keep_alive)
        relay = self._relay = GatheringRelay(self._lane.gateway, self, on_turn=lambda: self._deadline.set(0.0))
        inbound = self._lane.inbound(head, secure=self._over_tls, peer=self._peer)
        effects = relay.request_head(inbound, ends=head.body == 0, began=began)
        left = b""
        if head.body:
            self._body = body_reader(head.body)
            if self._next.data:
                # Before the effects, so that a small request goes out in one piece.
                data, size = self._next.take(), self._turn.size
                left = data[size:]
                effects += self._body_effects(relay, data[:size], memoryview(left))
        self._carry_out(effects)
        if self._body is not None and left:
            self._wait_for_turn(left)
        self._wait_until_open()

    def _next_request(self) -> None:
        if self._relay is None and not self._transport.is_closing() and not self._brake.holds(READS_NOTHING):
            self._is_next_due = False
            self._read_head(self._next.data)
            self._flush()
            if self._half_closed is not None and not self._is_next_due and self in self._lane.connections:
                self._miss_rest()

    def _miss_rest(self) -> None:
        """Give up a request that is not whole: its client sends no more."""
        if self._relay is None:
            self._transport.close()
        elif self._body is not None:
            self.on_gone()

    def _hand_over(self, alpn: bytes | None = None) -> None:
        """Hand the connection over: what it asks for is not plain HTTP/1.1 by path."""
        self._leave()
        self._lane.hand_over(self._transport, self._next.take(), alpn, ended=self._half_closed is not None)

    def _leave(self) -> None:
        self._lane.connections.discard(self)
        self._deadline.close()
        if self._half_closed is not None:
            self._half_closed.cancel()

    def _refuse_unread(self, error: MalformedError) -> None:
        """Answer a head that cannot be read. It has no event: who asked, and for what, is not known."""
        self._lane.gateway.log.unreadable(error.status, str(error), self._peer)
        self._leave()
        Unreadable(self._transport, self._next.take(), error)

    # --- bodies ---

    def _read_body(self, data: bytes) -> None:
        """Read bytes of the body of the request under way, as many as this turn allows."""
        if left := self._turn.read(data, self._read_piece):
            self._wait_for_turn(left)
        self._wait_until_open()

    def _wait_until_open(self) -> None:
        if self._body is not None and self._relay is not None and not self._relay.reads_body:
            self._brake.set(OPENING, holds=True)

    def _read_piece(self, piece: bytes, more: memoryview) -> bool:
        if self._relay is not None:
            self._carry_out(self._body_effects(self._relay, piece, more))
        return self._body is not None

    def _wait_for_turn(self, left: bytes) -> None:
        self._left = left
        self._brake.set(TURN, holds=True)
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        left, self._left = self._left, b""
        self._read_body(left)
        self._flush()
        if not self._left:
            self._brake.set(TURN, holds=False)

    def _body_effects(self, relay: GatheringRelay, data: bytes, more: memoryview) -> Effects:
        """Read bytes of the body of the request under way; ``more``: those that follow them."""
        body = self._body
        if body is None:
            return []
        answered = relay.state is State.UNREAD
        try:
            payload, rest = body.feed(data)
        except MalformedError as error:
            return relay.unread(len(data)) if answered else relay.request_broken(str(error))
        effects = relay.unread(len(data)) if answered else relay.request_data(payload) if payload else []
        if body.over:
            self._body = None
            self._next.data += rest
            self._next.data += more
            effects += relay.request_end(body.trailers)
        return effects

    # --- the provider's side ---

    def on_interim(self, head: ResponseHead) -> None:
        """Override of :class:`~metrion.lane.upstream.Asker`, as are those below."""
        if self._relay is not None:
            self._carry_out(self._relay.interim(head.status, head.reason, wire.unambiguous(head)))
            self._flush()

    def on_head(self, head: ResponseHead, headers: Headers) -> None:
        """Override."""
        if self._relay is not None:
            self._carry_out(self._relay.response_head(head.status, head.reason, headers, ends=head.body == 0))

    def on_data(self, data: bytes) -> None:
        """Override."""
        if self._relay is not None:
            self._carry_out(self._relay.response_data(data))
            self._flush()

    def on_end(self, trailers: Headers) -> None:
        """Override."""
        self._sender.on_end()
        if self._relay is not None:
            self._carry_out(self._relay.response_end(trailers))
            self._flush()

    def on_failure(self, why: str | None) -> None:
        """Override."""
        if self._sender.on_failure(why):
            self.on_unreachable(why)

    def on_slow(self, *, slow: bool) -> None:
        """Override."""
        self._sender.on_slow(slow=slow)

    def on_connected(self) -> None:
        """Override of :class:`~metrion.lane.sender.Owner`, as is the one below."""
        if self._relay is not None:
            self._carry_out(self._relay.connected())
            self._flush()

    def on_unreachable(self, why: str | None) -> None:
        """Override."""
        if self._relay is not None:
            self._carry_out(self._relay.upstream_failed(why))
            self._flush()

    def on_gone(self) -> None:
        """End the request under way: the client has hung up."""
        if self._relay is not None:
            self._carry_out(self._relay.client_gone())

    # --- effects ---

    def _carry_out(self, effects: Effects) -> None:
        if self._held is not None:  # an estimate is under way
            self._held += effects
            return
        for place, effect in enumerate(effects):
            if type(effect) is Estimate:
                self._held = effects[place + 1 :]
                self._estimate()
                return
            _CARRY_OUT[type(effect)](self, effect)

    def _estimate(self) -> None:
        self._sender.stop(ESTIMATING, stopped=True)
        relay = self._relay
        if relay is not None:
            estimating = asyncio.ensure_future(self._lane.estimator.estimate(relay.attempt))
            estimating.add_done_callback(self._on_estimated)

    def _on_estimated(self, estimating: asyncio.Future[None]) -> None:
        estimating.exception()
        held, self._held = self._held or [], None
        self._sender.stop(ESTIMATING, stopped=False)
        self._carry_out(held)
        self._flush()

    def _open(self, effect: Open) -> None:
        if self._relay is not None and self._sender.open(effect.upstream, self._head):
            self._carry_out(self._relay.connected())

    def _abort_response(self, _: AbortResponse) -> None:
        self._flush()
        self._response.closes = True
        if self._response.cut_by_reset:
            self._transport.abort()

    def _record(self, effect: Record) -> None:
        if self._relay is not None:
            self._lane.gateway.finish(self._relay.attempt, effect.end_reason)

    def _finish(self, effect: Finish) -> None:
        self._lane.gateway.forget(self)
        self._relay = None
        self.idle_since = asyncio.get_running_loop().time()
        self._sender.request.drop()
        self._flush()
        if self._response.closes or not effect.keep_open or self._lane.is_draining or self._body is not None:
            self._transport.close()
            return
        self._brake.set(PIPELINED | OPENING | UPSTREAM_SLOW, holds=False)
        if self._next.data:
            self._is_next_due = True
            asyncio.get_running_loop().call_soon(self._next_request)
        elif self._half_closed is not None:
            self._transport.close()

    # --- within ---

    def _flush(self) -> None:
        """Write what this turn has brought: heads and the bodies after them in one piece."""
        self._sender.flush()
        if data := self._response.take():
            self._transport.write(data)

    def _on_due(self) -> None:
        if self._relay is None:  # a head that never ends
            self._transport.close()
            return
        self._carry_out(self._relay.time_passed(client_is_slow=self._transport.get_write_buffer_size() > 0))
        self._flush()


_CARRY_OUT: dict[type[Effect], Callable[[ClientConnection, Any], None]] = {
    Open: ClientConnection._open,
    SendRequest: lambda client, effect: client._sender.request.head(effect),
    SendRequestData: lambda client, effect: client._sender.request.data(effect),
    EndRequest: lambda client, effect: client._sender.request.end(effect),
    AbortRequest: lambda client, _: client._sender.abort(),
    SendInterim: lambda client, effect: client._response.interim(effect),
    SendResponse: lambda client, effect: client._response.head(effect),
    SendResponseData: lambda client, effect: client._response.data(effect),
    EndResponse: lambda client, effect: client._response.end(effect),
    AbortResponse: ClientConnection._abort_response,
    Record: ClientConnection._record,
    Wake: lambda client, effect: client._deadline.set(effect.seconds),
    Finish: ClientConnection._finish,
}
