"""mitmproxy's HTTP/2 connection of a client, on which a CONNECT is a request like any other: refused by its stream.

A CONNECT has neither a scheme nor a path (RFC 9113, section 8.5), and mitmproxy ends the whole connection because of
that, with all the other requests on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder
from hpack.struct import HeaderTuple
from mitmproxy.proxy import layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import RequestHeaders, _http2

_CONNECT = (b":method", b"CONNECT")
_COMPLETION = ((b":scheme", b"https"), (b":path", b"/"))


class _Decoder(Decoder):
    """Completes the heads of CONNECT requests."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Override: as the class says."""
        headers = list(super().decode(data, raw))
        if _CONNECT in headers:
            there = {name for name, _ in headers}
            headers[:0] = [HeaderTuple(*field) for field in _COMPLETION if field[0] not in there]
        return headers


class Http2Server(_http2.Http2Server):
    """A client's connection."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        decoder, own = _Decoder(), self.h2_conn.decoder
        decoder.max_header_list_size = own.max_header_list_size
        decoder.max_allowed_table_size = own.max_allowed_table_size
        self.h2_conn.decoder = decoder


class Http2Client(_http2.Http2Client):
    """A provider's connection, on which a request may be sent again."""

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        """Override: a second sending is another stream of the connection."""
        if isinstance(event, RequestHeaders):
            self.our_stream_id.pop(event.stream_id, None)
        yield from super()._handle_event(event)


def install() -> None:
    """Have mitmproxy's HTTP layers make these connections: they name the classes and offer no other way to choose."""
    layers.http.Http2Server = Http2Server  # type: ignore[misc]  # a subclass in its place
    layers.http.Http2Client = Http2Client  # type: ignore[misc]  # as above
