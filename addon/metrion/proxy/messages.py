"""What the relay sends → mitmproxy's HTTP events, for one stream.

Nothing is decided here. The head for the provider has the key in it; it is made anew, and is in no flow.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

from mitmproxy import http
from mitmproxy.proxy.layers.http import (
    HttpEvent,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseTrailers,
)

from metrion.model import Head, Headers, Origin
from metrion.proxy.flows import replace_head
from metrion.relay.effects import (
    Effects,
    EndRequest,
    EndResponse,
    SendInterim,
    SendRequestData,
    SendResponse,
    SendResponseData,
)


class Messages:
    """See the module."""

    request: http.Request
    """The client's; set with its head."""
    came: http.Response | None = None
    """The provider's response, once there is one."""

    def __init__(self, stream_id: int) -> None:
        self._stream_id = stream_id

    def request_head(
        self, head: Head, shown: http.Request, upstream: Origin, *, ends: bool, server_alpn: bytes | None
    ) -> RequestHeaders:
        """Return the head with the provider's key on. It must reach nothing but the upstream connection.

        ``shown`` is the request in the flow, ``server_alpn`` the protocol that was agreed on with the provider.
        """
        request = http.Request.__new__(http.Request)  # its constructor looks at the type of each of its fields
        request.data = copy.copy(shown.data)
        request.data.content = request.data.trailers = None
        # HTTP/2 has the host in a field of its own.
        request.data.authority = upstream.authority if shown.is_http2 else b""
        replace_head(request, head)
        if shown.is_http2:
            del request.headers["host"]
            if not ends and server_alpn != b"h2" and "content-length" not in request.headers:
                request.headers["transfer-encoding"] = "chunked"
        return RequestHeaders(self._stream_id, request, ends)

    def to_server(self, effect: SendRequestData | EndRequest) -> Iterator[HttpEvent]:
        """Yield what follows the head of a request."""
        match effect:
            case SendRequestData(data):
                yield RequestData(self._stream_id, data)
            case EndRequest(trailers):
                if trailers:
                    yield RequestTrailers(self._stream_id, http.Headers(trailers))
                yield RequestEndOfMessage(self._stream_id)

    def to_client(self, effect: SendInterim | SendResponse | SendResponseData | EndResponse) -> Iterator[HttpEvent]:
        """Yield a part of a response."""
        match effect:
            case SendInterim(status, reason, headers):
                yield ResponseHeaders(self._stream_id, self._response(status, reason, headers))
            case SendResponse(status, reason, headers, ends):
                yield ResponseHeaders(self._stream_id, self._response(status, reason, headers), ends)
            case SendResponseData(data):
                yield ResponseData(self._stream_id, data)
            case EndResponse(trailers):
                if trailers:
                    yield ResponseTrailers(self._stream_id, http.Headers(trailers))
                yield ResponseEndOfMessage(self._stream_id)

    def whole_response(self, effects: Effects) -> http.Response:
        """Return the response in a list of effects that has all of it."""
        head = next(effect for effect in effects if isinstance(effect, SendResponse))
        response = self._response(head.status, head.reason, head.headers)
        response.data.content = b"".join(effect.data for effect in effects if isinstance(effect, SendResponseData))
        return response

    def _response(self, status: int, reason: bytes, headers: Headers) -> http.Response:
        if not self.request.is_http11:
            dropped = {b"transfer-encoding"} | ({b"connection"} if self.request.is_http2 else set())
            headers = tuple(field for field in headers if field[0].lower() not in dropped)
        came = self.came
        if came is not None and came.headers.fields is headers and came.status_code == status:
            return came
        version, now = came.data.http_version if came is not None else b"HTTP/1.1", time.time()
        return http.Response(version, status, reason, http.Headers(headers), None, None, now, now)
