"""Bodies of HTTP/1 for mitmproxy's layers, read by the lane's reader, and what mitmproxy has no event for."""

from __future__ import annotations

from dataclasses import dataclass

import h11
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.proxy.layers.http import HttpEvent

from metrion.lane.body import BodyReader
from metrion.lane.http1 import MalformedError


@dataclass
class Interim(HttpEvent):
    """An interim response has arrived; the final one is still to come."""

    response: http.Response


@dataclass
class RequestBroken(HttpEvent):
    """The body of a request cannot be read; its client is still there. ``why`` quotes nothing."""

    why: str


class Body:
    """Reads a body for mitmproxy, which calls it again and again until there is nothing more."""

    def __init__(self, reader: BodyReader) -> None:
        self.reader = reader
        self.fault: MalformedError | None = None

    def __call__(self, buf: ReceiveBuffer) -> h11.Data | h11.EndOfMessage | None:
        """Take what has come."""
        if self.fault is not None:
            raise h11.RemoteProtocolError(str(self.fault))
        data = bytes(buf.maybe_extract_at_most(len(buf)) or b"")
        try:
            payload, rest = self.reader.feed(data) if data or not self.reader.over else (b"", b"")
        except MalformedError as error:
            self.fault = error
            return h11.Data(error.payload) if error.payload else self(buf)
        if rest:
            buf += rest
        if payload:
            return h11.Data(payload)
        return h11.EndOfMessage() if self.reader.over else None

    def read_eof(self) -> h11.EndOfMessage:
        """Take the end of the connection."""
        try:
            self.reader.finish()
        except MalformedError as error:
            raise h11.RemoteProtocolError(str(error)) from None
        return h11.EndOfMessage()
