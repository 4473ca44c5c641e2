"""mitmproxy's HTTP/1 connections, with what they lack.

* Interim responses (103 Early Hints and the like) are handed on as :class:`Interim`; mitmproxy takes the first head for
  the final one.
* Trailers pass in both directions; mitmproxy raises NotImplementedError, and the client hangs.
* A request head has a greatest size; mitmproxy collects without end.
* Requests that a client sends without waiting for the answers go out one after the other; mitmproxy takes the
  connection to the provider for the next before it is done with the last, and crashes.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

import h11
from h11._readers import ChunkedReader  # what mitmproxy reads chunked bodies with
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.layers.http import (
    HttpEvent,
    ReceiveHttp,
    RequestEndOfMessage,
    RequestTrailers,
    ResponseEndOfMessage,
    ResponseTrailers,
    _http1,
)

type Commands = Generator[commands.Command, object, None]

MAX_HEAD_BYTES = 1 << 20
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01\b)\d\d\b")
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Interim(HttpEvent):
    """An interim response has arrived; the final one is still to come."""

    response: http.Response


class _Trailing:
    """Takes a chunked body's trailers aside, so that mitmproxy does not see them."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        self.trailers: http.Headers | None = None

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        event = self._reader(buf)
        if isinstance(event, h11.EndOfMessage) and event.headers:
            self.trailers = http.Headers(event.headers.raw_items())
            return h11.EndOfMessage()
        return event

    def read_eof(self) -> None:
        self._reader.read_eof()


class _Trailers(_http1.Http1Connection):
    """Reads trailers into events, and writes them from events."""

    _received: type[RequestTrailers | ResponseTrailers]
    _to_send: http.Headers | None = None

    def read_body(self, event: events.Event) -> Commands:
        """Override: trailers become an event before the end of the message."""
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = _Trailing(self.body_reader)  # type: ignore[assignment]  # does all that a reader does
        reader: object = self.body_reader
        for command in super().read_body(event):
            trailers = reader.trailers if isinstance(reader, _Trailing) else None
            if trailers and isinstance(command, ReceiveHttp) and isinstance(command.event, self.ReceiveEndOfMessage):
                yield ReceiveHttp(self._received(command.event.stream_id, trailers))
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

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: a head that grows without end is refused."""
        yield from super().read_headers(event)
        if self.state == self.read_headers and len(self.buf) > MAX_HEAD_BYTES:
            yield commands.SendData(self.conn, _http1.make_error_response(431, "The request head is too large."))
            yield commands.CloseConnection(self.conn)
            self.state = self.done


class Http1Client(_Trailers, _http1.Http1Client):
    """A provider's connection."""

    _received = ResponseTrailers

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Override: interim responses come before the final one."""
        while self.request and self.stream_id is not None and _INTERIM.match(bytes(self.buf)[:16]):
            lines = self.buf.maybe_extract_lines()
            if lines is None:
                break
            with suppress(ValueError):  # an unreadable one is left out: the final one is what counts
                response = http1.read_response_head([bytes(line) for line in lines])
                yield ReceiveHttp(Interim(self.stream_id, response))
        yield from super().read_headers(event)

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
