"""A client's connection on the lane: one request at a time in, carried to a provider and back by the relay.

A connection that asks for something else than a plain request by path is handed over, with what has come of it. What
is pipelined waits, unread, until the request before it is over.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from metrion.admission.refusals import unreadable
from metrion.faults import log_fault
from metrion.lane import wire
from metrion.lane.brake import Brake
from metrion.lane.connect import ConnectError
from metrion.lane.deadline import Deadline
from metrion.lane.half_closed import HalfClosed
from metrion.lane.http1 import BodyReader, MalformedError, RequestHead, ResponseHead, body_reader, read_request_head
from metrion.lane.outgoing import RequestWriter, ResponseWriter
from metrion.lane.upstream import CLIENT_SLOW, ESTIMATING, Upstream
from metrion.model import Headers, Inbound, Origin
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
from metrion.relay.own_answers import reason
from metrion.relay.relay import UNREAD_BODY_BYTES, UNREAD_BODY_SECONDS, Relay
from metrion.relay.states import State

if TYPE_CHECKING:
    from metrion.lane.lane import Lane

logger = logging.getLogger(__name__)

PIPELINED_BYTES = 64 << 10
"""What a client may send ahead of the answer; then it is not read until there is one."""
HEAD_SECONDS = 10.0
"""How long a request head may take from its first byte to its last."""

_PLAIN = re.compile(rb"(?:\r?\n)*+(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /[!-~]*+ HTTP/1\.[01]\r?\n")
_ANY = re.compile(rb"(?:\r?\n)*+[^\r\n][^\n]*+\n")
"""A request line that is served here, and one of any kind."""
_HTTP2 = b"PRI * HTTP/2.0\r\n"

PIPELINED, OPENING, UPSTREAM_SLOW, READS_NOTHING = 1, 2, 4, 8
"""Why a client is not read: the last, because it does not read either."""


class ClientConnection(asyncio.Protocol):
    """See the module."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._transport: asyncio.Transport
        self._over_tls = False
        self._buffer = bytearray()
        """Of heads to come."""
        self._is_plain = False
        """The request line at its begin is served here."""
        self._seen = 0
        """So much of it holds no whole head."""
        self._relay: Relay | None = None
        self._head: RequestHead
        self._body: BodyReader | None = None
        """Set while the body of the request under way is not whole."""
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._request = RequestWriter()
        self._response = ResponseWriter()
        self._held: Effects | None = None
        """What waits for an estimate."""
        self._half_closed: HalfClosed | None = None
        self._unread: int | None = None
        """Bytes read and dropped since a head was refused that cannot be read."""

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Override."""
        self._transport = cast("asyncio.Transport", transport)
        self._brake = Brake(self._transport)
        self._deadline = Deadline(self._on_due)
        self._lane.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        self._over_tls = tls is not None
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._hand_over(alpn=b"h2")

    def data_received(self, data: bytes) -> None:
        """Override."""
        if self._unread is not None:
            self._unread += len(data)
            if self._unread > UNREAD_BODY_BYTES:
                self._transport.abort()
            return
        if self._body is not None:
            self._read_body(data)
        else:
            self._buffer += data
            if self._relay is None:
                self._read_head(data)
            elif len(self._buffer) > PIPELINED_BYTES:
                self._brake.set(PIPELINED, holds=True)
        self._flush()

    def eof_received(self) -> bool:
        """Override: a client that ends its sending may wait for the answer to a request that is whole."""
        if self._relay is None or self._relay.state is State.UNREAD or self._body is not None or self._over_tls:
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(self._transport, self.on_gone)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's protocol
        """Override."""
        self._lane.connections.discard(self)
        self._deadline.close()
        if self._half_closed is not None:
            self._half_closed.cancel()
        self.on_gone()

    def pause_writing(self) -> None:
        """Override: a provider waits for a client that does not read as fast, and so do requests sent ahead."""
        self._brake.set(READS_NOTHING, holds=True)
        if self._upstream is not None:
            self._upstream.stop(CLIENT_SLOW, stopped=True)

    def resume_writing(self) -> None:
        """Override."""
        self._brake.set(READS_NOTHING, holds=False)
        if self._upstream is not None:
            self._upstream.stop(CLIENT_SLOW, stopped=False)
        self._next_request()

    # --- what the lane asks ---

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
        buffer = self._buffer
        if not buffer:
            return
        began = time.perf_counter()
        if not self._is_plain and b"\n" in data:
            self._is_plain = _PLAIN.match(buffer) is not None
            if not self._is_plain and _ANY.match(buffer):
                self._hand_over(b"h2" if buffer.startswith(_HTTP2) else None)
                return
        try:
            found = read_request_head(buffer, seen=self._seen)
        except MalformedError as error:
            self._refuse_unread(error)
            return
        if found is None:
            self._seen = len(buffer)
            if not self._deadline.is_set:
                self._deadline.set(HEAD_SECONDS)
            return
        head, end = found
        self._is_plain, self._seen = False, 0
        if _asks_for_websocket(head.headers):
            self._hand_over()
            return
        self._deadline.set(None)
        del buffer[:end]
        self._head = head
        self._response.begin(minor=head.minor, keep_alive=head.keep_alive)
        relay = self._relay = Relay(self._lane.gateway, self)
        inbound = Inbound(head.method, head.target, head.headers)
        effects = relay.request_head(inbound, ends=head.body == 0, began=began)
        if head.body:
            self._body = body_reader(head.body)
            if buffer:
                data = bytes(buffer)
                buffer.clear()
                # Before the effects, so that a small request goes out in one piece.
                effects += self._body_effects(relay, data)
        self._carry_out(effects)
        if not relay.reads_body and self._body is not None:
            self._brake.set(OPENING, holds=True)

    def _next_request(self) -> None:
        if self._relay is None and not self._transport.is_closing() and not self._brake.holds(READS_NOTHING):
            self._read_head(self._buffer)
            self._flush()
            if self._half_closed is not None and self in self._lane.connections:
                self._miss_rest()

    def _miss_rest(self) -> None:
        """Give up a request that is not whole, and whose client sends no more."""
        if self._relay is None:
            self._transport.close()
        elif self._body is not None:
            self.on_gone()

    def _hand_over(self, alpn: bytes | None = None) -> None:
        """Give the connection away: what it asks for is not plain HTTP/1.1 by path."""
        self._lane.connections.discard(self)
        self._deadline.close()
        if self._half_closed is not None:
            self._half_closed.cancel()
        data, self._buffer = bytes(self._buffer), bytearray()
        self._lane.hand_over(self._transport, data, alpn, ended=self._half_closed is not None)

    def _refuse_unread(self, error: MalformedError) -> None:
        """Answer a head that cannot be read. It has no event: who asked, and for what, is not known."""
        answer = unreadable(bytes(self._buffer[:4096]), error.status, str(error))
        self._response.raw(wire.response_head(answer.status, reason(answer.status), answer.headers) + answer.body)
        self._unread = 0
        self._buffer.clear()
        self._flush()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(UNREAD_BODY_SECONDS, self._transport.abort)

    # --- bodies ---

    def _read_body(self, data: bytes) -> None:
        relay = self._relay
        if relay is None:
            return
        self._carry_out(self._body_effects(relay, data))
        if self._relay is relay and self._body is not None and not relay.reads_body:
            self._brake.set(OPENING, holds=True)

    def _body_effects(self, relay: Relay, data: bytes) -> Effects:
        """Read bytes of the body of the request under way."""
        body = self._body
        if body is None:
            return []
        answered = relay.state is State.UNREAD
        try:
            payload, rest = body.feed(data)
        except MalformedError:
            self._body = None
            return relay.client_gone()
        effects = relay.unread(len(data)) if answered else relay.request_data(payload) if payload else []
        if body.over:
            self._body = None
            self._buffer += rest
            effects += relay.request_end(body.trailers)
        return effects

    # --- the provider's side ---

    def on_interim(self, head: ResponseHead) -> None:
        """Override of :class:`~metrion.lane.upstream.Asker`, as are those below."""
        if self._relay is not None:
            self._carry_out(self._relay.interim(head.status, head.reason, head.headers))
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
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if upstream.is_reusable:
                self._lane.pool.give_back(upstream)
            else:
                upstream.abort()
        if self._relay is not None:
            self._carry_out(self._relay.response_end(trailers))
            self._flush()

    def on_failure(self, reason: str | None) -> None:
        """Override: a connection that was closed while it was idle is replaced, if the request is not out yet."""
        upstream, self._upstream = self._upstream, None
        if self._relay is None or upstream is None:
            return
        if reason is not None and not upstream.has_answered and self._request.again():
            self._brake.set(OPENING, holds=True)
            self._connect(upstream.origin)
            return
        self._carry_out(self._relay.upstream_failed(reason))
        self._flush()

    def on_slow(self, *, slow: bool) -> None:
        """Override."""
        self._brake.set(UPSTREAM_SLOW, holds=slow)
        if not slow and self._request.ended:
            self._request.forget()  # the system has all of it

    def on_gone(self) -> None:
        """Take note that the client has hung up."""
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
        if self._upstream is not None:
            self._upstream.stop(ESTIMATING, stopped=True)
        relay = self._relay
        if relay is not None:
            estimating = asyncio.ensure_future(self._lane.estimator.estimate(relay.attempt))
            estimating.add_done_callback(self._on_estimated)

    def _on_estimated(self, estimating: asyncio.Future[None]) -> None:
        estimating.exception()
        held, self._held = self._held or [], None
        if self._upstream is not None:
            self._upstream.stop(ESTIMATING, stopped=False)
        self._carry_out(held)
        self._flush()

    def _open(self, effect: Open) -> None:
        relay = self._relay
        if relay is None:
            return
        self._request = RequestWriter()
        if (upstream := self._lane.pool.take(effect.upstream)) is None:
            self._connect(effect.upstream)
            return
        self._request.keep()
        self._use(upstream)
        self._carry_out(relay.connected())

    def _connect(self, origin: Origin) -> None:
        connecting = asyncio.get_running_loop().create_task(self._connected(origin))
        if not connecting.done():
            self._connecting = connecting

    async def _connected(self, origin: Origin) -> None:
        relay = self._relay
        try:
            upstream = await self._lane.pool.connect(origin)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client is told that there is no connection
            if not isinstance(error, ConnectError):
                log_fault(logger, "A provider could not be connected to", error)
            self._connecting = None
            self._brake.set(OPENING, holds=False)
            if relay is not None:
                self._carry_out(relay.upstream_failed(str(error) if isinstance(error, ConnectError) else None))
                self._flush()
            return
        self._connecting = None
        self._use(upstream)
        if relay is not None:
            self._carry_out(relay.connected())
        self._brake.set(OPENING, holds=False)
        self._flush()

    def _use(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.stop(CLIENT_SLOW, stopped=self._brake.holds(READS_NOTHING))
        # A request goes on with all of its header fields, and so may ask its provider to close.
        upstream.ask(self, self._head.method, keep_alive=not wire.says_close(self._head.headers))

    def _abort_request(self, _: AbortRequest) -> None:
        self._request.drop()
        self._brake.set(OPENING, holds=False)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None

    def _abort_response(self, _: AbortResponse) -> None:
        self._flush()
        self._response.closes = True
        if self._response.cut_by_reset:
            self._transport.abort()

    def _record(self, effect: Record) -> None:
        if self._relay is not None:
            self._lane.gateway.finish(self._relay.attempt, effect.end_reason)

    def _wake_after(self, effect: Wake) -> None:
        self._deadline.set(effect.seconds)

    def _finish(self, effect: Finish) -> None:
        self._lane.gateway.forget(self)
        self._relay = None
        self._request.drop()
        self._flush()
        if self._response.closes or not effect.keep_open or self._lane.is_draining or self._body is not None:
            self._transport.close()
            return
        self._brake.set(PIPELINED | OPENING | UPSTREAM_SLOW, holds=False)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._next_request)
        elif self._half_closed is not None:
            self._transport.close()

    # --- within ---

    def _flush(self) -> None:
        """Write what has been said in this turn: heads and the bodies behind them in one piece."""
        if self._upstream is not None and (data := self._request.take()):
            self._upstream.write(data, whole=self._request.ended)
            if self._request.ended and self._upstream.is_written:
                self._request.forget()
        if data := self._response.take():
            self._transport.write(data)

    def _on_due(self) -> None:
        if self._relay is None:  # a head that never ends
            self._transport.close()
            return
        slow = self._transport.get_write_buffer_size() > 0
        self._carry_out(self._relay.time_passed(client_is_slow=slow))
        self._flush()


_CARRY_OUT: dict[type[Effect], Callable[[ClientConnection, Any], None]] = {
    Open: ClientConnection._open,
    SendRequest: lambda client, effect: client._request.head(effect),
    SendRequestData: lambda client, effect: client._request.data(effect),
    EndRequest: lambda client, effect: client._request.end(effect),
    AbortRequest: ClientConnection._abort_request,
    SendInterim: lambda client, effect: client._response.interim(effect),
    SendResponse: lambda client, effect: client._response.head(effect),
    SendResponseData: lambda client, effect: client._response.data(effect),
    EndResponse: lambda client, effect: client._response.end(effect),
    AbortResponse: ClientConnection._abort_response,
    Record: ClientConnection._record,
    Wake: ClientConnection._wake_after,
    Finish: ClientConnection._finish,
}


def _asks_for_websocket(headers: Headers) -> bool:
    return any(
        len(name) == 7 and name.lower() == b"upgrade" and value.lower() == b"websocket" for name, value in headers
    )
