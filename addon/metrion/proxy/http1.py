"""mitmproxy's HTTP/1 connections, with the lane's reader in place of mitmproxy's own.

So heads, chunks and trailers are bounded and understood as on the lane, in both directions, and no message quotes them.
Besides, they do what mitmproxy's lack:

* Interim responses (103 Early Hints and the like) are handed on as :class:`Interim`; mitmproxy takes the first head for
  the final one.
* Trailers pass in both directions; mitmproxy raises NotImplementedError, and the client hangs.
* A client that ends its sending behind a whole request is answered; mitmproxy takes it for a hang-up.
* Requests that a client sends without waiting for the answers go out one after the other; mitmproxy takes the
  connection to the provider for the next before it is done with the last, and crashes.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

import h11
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpEvent,
    ReceiveHttp,
    RequestEndOfMessage,
    RequestHeaders,
    RequestTrailers,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    _http1,
)
from mitmproxy.utils import asyncio_utils

from metrion.lane import wire
from metrion.lane.half_closed import HalfClosed
from metrion.lane.http1 import BodyReader, MalformedError, body_reader, read_request_head, read_response_head
from metrion.proxy.alarm import connection_handler
from metrion.refusals import unreadable
from metrion.relay.relay import reason

type Commands = Generator[commands.Command, object, None]

_LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Interim(HttpEvent):
    """An interim response has arrived; the final one is still to come."""

    response: http.Response


class _Body:
    """Reads a body for mitmproxy, which calls it again and again until there is nothing more."""

    def __init__(self, reader: BodyReader) -> None:
        self.reader = reader
        self._fault: MalformedError | None = None

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        if self._fault is not None:
            raise h11.RemoteProtocolError(str(self._fault))
        data = bytes(buf.maybe_extract_at_most(len(buf)) or b"")
        try:
            payload, rest = self.reader.feed(data) if data or not self.reader.over else (b"", b"")
        except MalformedError as error:
            self._fault = error
            return h11.Data(error.payload) if error.payload else self(buf)
        if rest:
            buf += rest
        if payload:
            return h11.Data(payload)
        return h11.EndOfMessage() if self.reader.over else None

    def read_eof(self) -> h11.EndOfMessage:
        try:
            self.reader.finish()
        except MalformedError as error:
            raise h11.RemoteProtocolError(str(error)) from None
        return h11.EndOfMessage()


class _Trailers(_http1.Http1Connection):
    """Reads trailers into events, and writes them from events."""

    _received: type[RequestTrailers | ResponseTrailers]
    _to_send: http.Headers | None = None

    def read_body(self, event: events.Event) -> Commands:
        """Override: trailers become an event before the end of the message."""
        body: object = self.body_reader
        for command in super().read_body(event):
            trailers = body.reader.trailers if isinstance(body, _Body) else ()
            if trailers and isinstance(command, ReceiveHttp) and isinstance(command.event, self.ReceiveEndOfMessage):
                yield ReceiveHttp(self._received(command.event.stream_id, http.Headers(trailers)))
            yield command

    def send(self, event: HttpEvent) -> Commands:
        """Override: trailers stand between the last chunk and the end."""
        if isinstance(event, RequestTrailers | ResponseTrailers):
            self._to_send = event.trailers
            return
        for command in super().send(event):
            if (
                self._to_send
                and isinstance(event, RequestEndOfMessage | ResponseEndOfMessage)
                and isinstance(command, commands.SendData)
                and command.data == _LAST_CHUNK
            ):
                command.data = b"0\r\n%s\r\n" % bytes(self._to_send)
                self._to_send = None
            yield command


class Http1Server(_Trailers, _http1.Http1Server):
    """A client's connection."""

    _received = RequestTrailers
    _half_closed: HalfClosed | None = None

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: read the head of a request."""
        if not isinstance(event, events.DataReceived):
            yield commands.CloseConnection(self.conn)
            return
        data = bytes(self.buf)
        try:
            found = read_request_head(data)
            if found is None:
                return
            head, end = found
            self.request = http1.read_request_head(data[:end].strip(b"\r\n").split(b"\r\n"))
        except (MalformedError, ValueError) as error:
            yield from self._refuse(data, error)
            return
        self.buf.maybe_extract_at_most(end)
        self.body_reader = _Body(body_reader(head.body))  # type: ignore[assignment]  # does all that a reader does
        yield ReceiveHttp(RequestHeaders(self.stream_id, self.request, head.body == 0))
        self.state = self.read_body
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

    def wait(self, event: events.Event) -> Commands:
        """Override: a client that has ended its sending waits for its answer, as long as it is there."""
        first = isinstance(event, events.ConnectionClosed) and self._half_closed is None
        handler = connection_handler(self.context) if first and not self.conn.tls else None
        if handler is None or self.conn.state is not ConnectionState.CAN_WRITE:
            yield from super().wait(event)
            return
        gone = events.ConnectionClosed(self.conn)
        self._half_closed = HalfClosed(
            handler.transports[self.conn].writer.transport,  # type: ignore[union-attr]  # of a client in the clear
            lambda: asyncio_utils.create_task(handler.server_event(gone), name="metrion hang-up", keep_ref=True),
        )

    def mark_done(self, *, request: bool = False, response: bool = False) -> Commands:
        """Override: a client that has ended its sending has had its last answer, unless it has sent ahead."""
        yield from super().mark_done(request=request, response=response)
        if self._half_closed is not None and self.state == self.read_headers:
            self._half_closed.cancel()
            yield commands.CloseConnection(self.conn)
            self.state = self.done


class Http1Client(_Trailers, _http1.Http1Client):
    """A provider's connection."""

    _received = ResponseTrailers

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: read the heads of responses; interim ones come before the final one."""
        if not (isinstance(event, events.DataReceived) and self.request and self.stream_id is not None):
            yield from super().read_headers(event)
            return
        while True:
            try:
                found = read_response_head(bytes(self.buf), method=self.request.data.method)
            except MalformedError as error:
                yield commands.CloseConnection(self.conn)
                yield ReceiveHttp(ResponseProtocolError(self.stream_id, str(error), ErrorCode.GENERIC_SERVER_ERROR))
                return
            if found is None:
                return
            head, end = found
            self.buf.maybe_extract_at_most(end)
            version, now = b"HTTP/1.1" if head.minor else b"HTTP/1.0", time.time()
            fields = http.Headers(wire.unambiguous(head))
            response = http.Response(version, head.status, head.reason, fields, None, None, now, None)
            if head.status >= 200 or head.status == 101:
                break
            yield ReceiveHttp(Interim(self.stream_id, response))
        self.response = response
        self.body_reader = _Body(body_reader(head.body))  # type: ignore[assignment]  # does all that a reader does
        yield ReceiveHttp(ResponseHeaders(self.stream_id, response, head.body == 0))
        self.state = self.read_body
        yield from self.state(event)

    def read_body(self, event: events.Event) -> Commands:
        """Override: this connection is done before the client's is, which may have the next request at hand."""
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
    """Let mitmproxy's HTTP layers make these connections: they name the classes and offer no other way to choose."""
    layers.http.Http1Server = Http1Server  # type: ignore[misc]  # a subclass in its place
    layers.http.Http1Client = Http1Client  # type: ignore[misc]
