"""What flows show of a request: its head with every credential masked, and where mitmproxy is to connect.

The key is in none of them; :mod:`metrion.proxy.messages` puts it on a head that only the provider gets.
"""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy.context import Context

from metrion.admission.credentials import has_prefix
from metrion.admission.masking import shown_method
from metrion.model import Head, Origin

MARK = "metrion"
"""Key in ``flow.metadata`` of our id of the request, for other scripts to read. It lets no flow through."""
NO_EVENT = "-"
"""In its place for a request that has no event."""


def replace_head(request: http.Request, head: Head) -> None:
    """Give a request another head."""
    request.data.path = head.target
    request.data.headers = http.Headers(head.headers)


def _mask_request_line(request: http.Request) -> None:
    """Mask a Metrion token that is the method, or in the host, of a refused request."""
    request.data.method = shown_method(request.data.method)
    if has_prefix(request.data.host.lower().encode("utf-8", "replace")):
        request.data.host, request.data.authority = "***", b"***"


def aim(request: http.Request, upstream: Origin) -> None:
    """Set where mitmproxy connects to."""
    request.data.host, request.data.port = upstream.host, upstream.port
    request.data.scheme = upstream.scheme.encode()


def flow_of_own_answer(request: http.Request, context: Context) -> http.HTTPFlow:
    """Return a flow for a request that Metrion answers itself."""
    _mask_request_line(request)
    flow = http.HTTPFlow(context.client, context.server)
    flow.request = request
    if not request.data.host:  # addressed to the proxy itself
        request.data.host, request.data.port = context.client.sockname[:2]
        request.data.scheme = b"http"
    return flow


def asks_for_websocket(request: http.Request) -> bool:
    """Whether the client asks to upgrade the connection to a WebSocket session."""
    asked: str = request.headers.get("upgrade", "")
    return asked.lower() == "websocket"
