"""mitmproxy's HTTP/1 connections, with the lane's reader in place of mitmproxy's own.

Heads, chunks and trailers are bounded and understood as on the lane, in both directions, and no message quotes them.
These connections also do what mitmproxy's do not:

* Interim responses (103 Early Hints and the like) are handed on as :class:`Interim`; mitmproxy takes the first head for
  the final one.
* Trailers pass in both directions; mitmproxy raises NotImplementedError, and the client hangs.
* A client that ends its sending after a whole request is answered; mitmproxy takes it for a hang-up.
* Requests that a client sends without waiting for the answers go out one after the other; mitmproxy takes the
  connection to the provider for the next before it is done with the last, and crashes.
* Many interim responses, and many requests sent ahead, are dealt with a few at a time, so that nobody waits for them.
* A body is framed as the head that goes out says, and a connection is closed where another reader of that head may see
  the end of the body elsewhere; mitmproxy goes by what it reads there itself, and raises where it cannot read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import cast

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpEvent,
    ReceiveHttp,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    _http1,
)
from mitmproxy.utils import asyncio_utils

from metrion.admission.refusals import unreadable
from metrion.lane import wire
from metrion.lane.body import body_reader
from metrion.lane.client import HEAD_SECONDS
from metrion.lane.half_closed import HalfClosed
from metrion.lane.http1 import (
    MalformedError,
    ResponseHead,
    read_request_head,
    read_response_head,
)
from metrion.model import Headers
from metrion.proxy.bodies import Body, Interim, RequestBroken
from metrion.proxy.connections import connection_handler
from metrion.proxy.heads import request_of, response_of
from metrion.proxy.pacing import pace_of
from metrion.relay.own_answers import reason
from metrion.relay.relay import UNREAD_BODY_BYTES

type Commands = Generator[commands.Command, object, None]

_MAX_PIPELINED = 1 << 20
"""How many bytes a client may send ahead of the answer that it waits for; with more its connection is closed."""
_HEADS_PER_TURN = 16
SERVER_CLOSED = "server closed connection"
"""What is said of a provider that closed without a response; mitmproxy's words."""


class _Connection(_http1.Http1Connection):
    """What both sides have in common: trailers, and turns. A turn that is not the last asks for the next."""

    _received: type[RequestTrailers | ResponseTrailers]
    _to_send: Headers = ()
    _in_chunks = False
    """The body that goes out is sent in chunks."""
    _closes = False
    """The connection ends with the response."""

    def _handle_event(self, event: events.Event) -> Commands:
        """Override: go on in a turn of its own."""
        if not isinstance(event, events.Wakeup):
            yield from super()._handle_event(event)
            return
        if (reader := pace_of(self.context, self.conn)) is not None:
            reader.let_go(self)
        if self.state == self.read_headers:
            yield from self.state(events.DataReceived(self.conn, b""))

    def _go_on_later(self, began: float | None = None) -> Commands:
        """Read nothing more until the next turn, and let others have as much time as this one has taken."""
        if (reader := pace_of(self.context, self.conn)) is not None:
            reader.hold(self)
        yield commands.RequestWakeup(0 if began is None else time.thread_time() - began)

    def read_body(self, event: events.Event) -> Commands:
        """Override: trailers become an event before the end of the message."""
        body: object = self.body_reader
        for command in super().read_body(event):
            trailers = body.reader.trailers if isinstance(body, Body) else ()
            if trailers and isinstance(command, ReceiveHttp) and isinstance(command.event, self.ReceiveEndOfMessage):
                yield ReceiveHttp(self._received(command.event.stream_id, http.Headers(trailers)))
            yield command

    def _framed(self, event: HttpEvent) -> Commands:
        """Send a part of a body, or its end."""
        if isinstance(event, RequestTrailers | ResponseTrailers):
            self._to_send = event.trailers.fields
        elif isinstance(event, RequestData | ResponseData):
            if event.data:
                yield commands.SendData(self.conn, wire.chunk(event.data) if self._in_chunks else event.data)
        elif self._in_chunks:
            yield commands.SendData(self.conn, wire.last_chunk(self._to_send))
            self._in_chunks, self._to_send = False, ()

    def mark_done(self, *, request: bool = False, response: bool = False) -> Commands:
        """Override: close a connection that is not to be used again, for whatever reason."""
        yield from super().mark_done(request=request, response=response)
        if self.state == self.read_headers and self._closes:
            yield commands.CloseConnection(self.conn)
            self.state = self.done


class Http1Server(_Connection, _http1.Http1Server):
    """A client's connection."""

    _received = RequestTrailers
    _half_closed: HalfClosed | None = None
    _head_timer: asyncio.TimerHandle | None = None
    _seen = 0
    """How much of a head was there before."""
    _unread = 0

    def _handle_event(self, event: events.Event) -> Commands:
        """Override: bound what is read and dropped of a request that is answered, in bytes on the wire."""
        if isinstance(event, events.DataReceived) and (
            self._fault or (self.response_done and self.state == self.read_body)
        ):
            self._unread += len(event.data)
            if self._unread > UNREAD_BODY_BYTES:
                yield commands.CloseConnection(self.conn)
                return
        yield from super()._handle_event(event)
        is_whole = self.state not in (self.read_headers, self.read_body)
        goes_on = isinstance(event, events.DataReceived | events.Wakeup)
        if self._half_closed is not None and goes_on and not is_whole:
            yield from self.state(events.ConnectionClosed(self.conn))  # what was sent ahead is not whole

    @property
    def _fault(self) -> MalformedError | None:
        """Why the body of the request cannot be read."""
        reader: object = getattr(self, "body_reader", None)  # there is none before the first request
        return reader.fault if isinstance(reader, Body) else None

    def read_body(self, event: events.Event) -> Commands:
        """Override: a body that cannot be read may still be answered; what follows it is dropped."""
        was_broken = self._fault is not None
        if was_broken and isinstance(event, events.DataReceived):
            self.buf.maybe_extract_at_most(len(self.buf))
            return
        for command in super().read_body(event):
            if was_broken or self._fault is None or isinstance(event, events.ConnectionClosed):
                yield command
            elif isinstance(command, ReceiveHttp) and isinstance(command.event, RequestProtocolError):
                yield ReceiveHttp(RequestBroken(self.stream_id, str(self._fault)))
            elif not isinstance(command, commands.CloseConnection):
                yield command

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: read the head of a request."""
        if not isinstance(event, events.DataReceived):
            self._stop_timer()
            yield commands.CloseConnection(self.conn)
            return
        data = bytes(self.buf)
        try:
            found = read_request_head(data, seen=self._seen)
            if found is None:
                self._seen = len(data)
                self._start_timer()
                return
            self._stop_timer()
            self._seen = 0
            head, end = found
            self.request = request_of(head, data[:end])
        except (MalformedError, ValueError) as error:
            self._stop_timer()
            yield from self._refuse(data, error)
            return
        self.buf.maybe_extract_at_most(end)
        self._closes = not head.keep_alive
        self.body_reader = Body(body_reader(head.body))  # type: ignore[assignment]  # does all that a reader does
        self.state = self.read_body  # before the head is handed on: it may be answered at once, and the body is to come
        yield ReceiveHttp(RequestHeaders(self.stream_id, self.request, head.body == 0))
        yield from self.state(event)

    def _refuse(self, data: bytes, error: Exception) -> Commands:
        """Answer a head that cannot be read. It has no event: who asked, and for what, is not known."""
        status = error.status if isinstance(error, MalformedError) else 400
        message = str(error) if isinstance(error, MalformedError) else "The request line cannot be read."
        answer = unreadable(data, status, message)
        yield commands.SendData(
            self.conn, wire.response_head(answer.status, reason(answer.status), answer.headers) + answer.body
        )
        yield commands.CloseConnection(self.conn)
        self.state = self.done

    def _start_timer(self) -> None:
        handler = connection_handler(self.context)
        if handler is not None and self._head_timer is None and self.buf:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(HEAD_SECONDS, _in_task, handler.on_timeout, "metrion slow head")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def wait(self, event: events.Event) -> Commands:
        """Override: a client that has ended its sending waits for its answer, as long as it is there."""
        if isinstance(event, events.DataReceived):
            if len(self.buf) > _MAX_PIPELINED:
                yield from super().wait(events.ConnectionClosed(self.conn))
            return
        transport = self._half_closing() if self._half_closed is None else None
        handler = connection_handler(self.context)
        if transport is None or handler is None:
            yield from super().wait(event)
            return
        gone = events.ConnectionClosed(self.conn)
        self._half_closed = HalfClosed(
            transport, lambda: _in_task(partial(handler.server_event, gone), "metrion hang-up")
        )

    def _half_closing(self) -> asyncio.BaseTransport | None:
        """Return what carries the connection, if its client can still be written to."""
        handler = connection_handler(self.context)
        stream = handler.transports.get(self.conn) if handler is not None and not self.conn.tls else None
        writer = stream.writer if stream is not None else None
        if not isinstance(writer, asyncio.StreamWriter) or self.conn.state is not ConnectionState.CAN_WRITE:
            return None
        return None if writer.transport.is_closing() else writer.transport  # it is closing after a reset

    def mark_done(self, *, request: bool = False, response: bool = False) -> Commands:
        """Override: what is sent ahead is read in a turn of its own; without any, a client that half-closed is done."""
        ahead = bytes(self.buf.maybe_extract_at_most(len(self.buf)) or b"")
        yield from super().mark_done(request=request, response=response)
        if self.state == self.passthrough:  # another protocol: mitmproxy's connection reads on
            if ahead:
                yield from self.state(events.DataReceived(self.conn, ahead))
            return
        self.buf += ahead
        if self.state != self.read_headers:
            return
        if ahead:
            yield from self._go_on_later()
        elif self._half_closed is not None:
            self._half_closed.cancel()
            yield commands.CloseConnection(self.conn)
            self.state = self.done

    def send(self, event: HttpEvent) -> Commands:
        """Override: what follows a head is framed as the head says."""
        if isinstance(event, ResponseHeaders):
            self._decide_framing(event.response)
            yield from super().send(event)
        elif isinstance(event, ResponseData | ResponseTrailers):
            yield from self._framed(event)
        elif isinstance(event, ResponseEndOfMessage):
            yield from self._framed(event)
            yield from self.mark_done(response=True)
        else:
            yield from super().send(event)

    def _decide_framing(self, response: http.Response) -> None:
        fields, status = response.headers.fields, response.status_code
        method = self.request.data.method if self.request is not None else b""
        self._in_chunks = False
        if status < 200 or status in (204, 304) or method in (b"HEAD", b"CONNECT"):
            return
        self._in_chunks = wire.is_chunked(fields)
        if not (self._in_chunks or wire.has_length(fields)) or wire.says_close(fields):
            self._closes = True


def _in_task(work: Callable[[], Coroutine[object, object, None]], name: str) -> None:
    asyncio_utils.create_task(work(), name=name, keep_ref=True)


class Http1Client(_Connection, _http1.Http1Client):
    """A provider's connection."""

    _received = ResponseTrailers

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: read the heads of responses; interim ones come before the final one, and there may be many."""
        if self.request is None or self.stream_id is None or not isinstance(event, events.DataReceived):
            yield from self._end_without_response()
            return
        began, data, end = time.thread_time(), bytes(self.buf), 0
        for _ in range(_HEADS_PER_TURN):
            try:
                found = read_response_head(data, method=self.request.data.method, start=end)
            except MalformedError as error:
                yield commands.CloseConnection(self.conn)
                yield ReceiveHttp(ResponseProtocolError(self.stream_id, str(error), ErrorCode.GENERIC_SERVER_ERROR))
                return
            if found is None:
                self.buf.maybe_extract_at_most(end)
                return
            head, end = found
            if head.status >= 200 or head.status == 101:
                self.buf.maybe_extract_at_most(end)
                yield from self._begin_response(head)
                return
            yield ReceiveHttp(Interim(self.stream_id, response_of(head)))
        self.buf.maybe_extract_at_most(end)
        yield from self._go_on_later(began)

    def _end_without_response(self) -> Commands:
        """Close the connection: the provider has ended it, or sends what nobody has asked for."""
        if self.conn.state & ConnectionState.CAN_WRITE:
            yield commands.CloseConnection(self.conn)
        if self.stream_id is not None:
            message = "its response ended within the head" if self.buf else SERVER_CLOSED
            yield ReceiveHttp(ResponseProtocolError(self.stream_id, message, ErrorCode.GENERIC_SERVER_ERROR))

    def _begin_response(self, head: ResponseHead) -> Commands:
        self.response = response_of(head)
        self._closes = not head.keep_alive
        reader = Body(body_reader(head.body, of_response=True))
        self.body_reader = reader  # type: ignore[assignment]  # does all that a reader does
        yield ReceiveHttp(ResponseHeaders(cast("int", self.stream_id), self.response, head.body == 0))
        self.state = self.read_body
        yield from self.state(events.DataReceived(self.conn, b""))

    def send(self, event: HttpEvent) -> Commands:
        """Override: the request is framed as its head says, and its end leaves the connection open."""
        if isinstance(event, RequestProtocolError) and event.code is ErrorCode.CANCEL:
            self.state = self._ignore
        if isinstance(event, RequestHeaders):
            self._in_chunks = wire.is_chunked(event.request.headers.fields)
            yield from super().send(event)
        elif isinstance(event, RequestData | RequestTrailers):
            yield from self._framed(event)
        elif isinstance(event, RequestEndOfMessage):
            yield from self._framed(event)
            yield from self.mark_done(request=True)
        else:
            yield from super().send(event)

    def _ignore(self, _: events.Event) -> Commands:
        """Drop what comes of a connection that was given up: its stream may already ask another."""
        yield from ()

    def read_body(self, event: events.Event) -> Commands:
        """Override: finish before the client's connection does, which may have the next request at hand."""
        end: commands.Command | None = None
        for command in super().read_body(event):
            upgrades = self.response is not None and self.response.status_code == 101
            if isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseEndOfMessage) and not upgrades:
                end = command
            else:
                yield command
        if end is not None:
            yield end


def install() -> None:
    """Have mitmproxy's HTTP layers make these connections: they name the classes and offer no other way to choose."""
    layers.http.Http1Server = Http1Server  # type: ignore[misc]  # a subclass in its place
    layers.http.Http1Client = Http1Client  # type: ignore[misc]  # as above
