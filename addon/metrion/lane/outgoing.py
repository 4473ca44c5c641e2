"""What goes out in one turn of the loop, framed: a request to a provider, a response to a client. No I/O.

Effects of the relay go in, bytes come out of ``take``, so that a head and the body behind it leave in one piece.
"""

from __future__ import annotations

from metrion.lane import wire
from metrion.relay.effects import (
    EndRequest,
    EndResponse,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
)

REPEATABLE_BYTES = 256 << 10
"""How much of a request is kept to be sent again."""


class RequestWriter:
    """Frames one request."""

    def __init__(self) -> None:
        self.ended = False
        """The last byte has been framed."""
        self._chunked = False
        self._out: list[bytes] = []
        self._kept: list[bytes] | None = None

    def keep(self) -> None:
        """Keep what goes out, within bounds: it may have to be sent again, until the system has all of it."""
        self._kept = []

    def forget(self) -> None:
        """Keep nothing: the request is not sent again."""
        self._kept = None

    def again(self) -> bool:
        """Let everything that has gone out go out once more; return whether that can be done."""
        if self._kept is None:
            return False
        self._out[:0] = self._kept
        self._kept = None
        return True

    def drop(self) -> None:
        """Drop what has not gone out."""
        self._out.clear()
        self._kept = None

    def head(self, effect: SendRequest) -> None:
        """Frame a head; it decides how the body is framed."""
        target, headers = effect.head.target, effect.head.headers
        self._chunked = not effect.ends and wire.is_chunked(headers)
        self._out.append(wire.request_head(effect.method, target, headers))

    def data(self, effect: SendRequestData) -> None:
        """Frame a piece."""
        self._out.append(wire.chunk(effect.data) if self._chunked else effect.data)

    def end(self, effect: EndRequest) -> None:
        """Frame the end."""
        self.ended = True
        if self._chunked:
            self._out.append(wire.last_chunk(effect.trailers))

    def take(self) -> bytes:
        """Return what has come together for this turn."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        if self._kept is not None:
            self._kept.append(data)
            if sum(map(len, self._kept)) > REPEATABLE_BYTES:
                self._kept = None
        return data


class ResponseWriter:
    """Frames one response after the other."""

    def __init__(self) -> None:
        self.closes = False
        """The connection ends with the response."""
        self.cut_by_reset = False
        """Only a reset shows that it is not whole: it has neither a length nor chunks."""
        self._minor = 1
        self._chunked = False
        self._out: list[bytes] = []

    def begin(self, *, minor: int, keep_alive: bool) -> None:
        """Be ready for the response to a request of HTTP/1.``minor``, whose client wants the connection to stay."""
        self._minor = minor
        self.closes = not keep_alive

    def interim(self, effect: SendInterim) -> None:
        """Frame an interim head; HTTP/1.0 has none."""
        if self._minor:
            self._out.append(wire.response_head(effect.status, effect.reason, effect.headers))

    def head(self, effect: SendResponse) -> None:
        """Frame a head; it decides how the body is framed, within what the client understands."""
        headers = effect.headers
        self._chunked = not effect.ends and wire.is_chunked(headers)
        if self._chunked and not self._minor:
            self._chunked = False
            headers = tuple(field for field in headers if field[0].lower() != b"transfer-encoding")
        if not (effect.ends or self._chunked or wire.has_length(headers)):
            self.closes = self.cut_by_reset = True
        if wire.says_close(headers):
            self.closes = True
        self._out.append(wire.response_head(effect.status, effect.reason, headers))

    def data(self, effect: SendResponseData) -> None:
        """Frame a piece."""
        self._out.append(wire.chunk(effect.data) if self._chunked else effect.data)

    def end(self, effect: EndResponse) -> None:
        """Frame the end."""
        self.cut_by_reset = False
        if self._chunked:
            self._out.append(wire.last_chunk(effect.trailers))

    def take(self) -> bytes:
        """Return what has come together for this turn."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data
