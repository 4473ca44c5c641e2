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
from mitmproxy.proxy.layers.http import _http2

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


def install() -> None:
    """Have mitmproxy's HTTP layers make these connections: they name the class and offer no other way to choose."""
    layers.http.Http2Server = Http2Server  # type: ignore[misc]  # a subclass in its place
