"""A replayed flow → the new request that it is: decided on, metered and given the stored key like any other.

It is what the flow shows at present. In the place of what is masked in it goes the token that the process remembers of
the flow; where it remembers none, the request is refused.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from mitmproxy import http

from metrion.admission import identified, token_of, unmasked
from metrion.admission.codes import BAD_REQUEST, MISSING_TOKEN
from metrion.gateway.gateway import Gateway
from metrion.model import Head, Headers, Inbound, Origin, Refusal, RefusalKind, Route
from metrion.proxy.admissions import Admissions
from metrion.proxy.flows import asks_for_websocket

logger = logging.getLogger(__name__)

_MASKED = (
    "This flow cannot be replayed as it is: its credentials are masked, and this process may not fill them in. Put a "
    "Metrion token into it, as in Authorization: Bearer, and replay it again."
)
_NO_REQUEST = "A tunnel or a WebSocket session cannot be replayed."
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect", b"connection"})


def replayed(flow: http.HTTPFlow, admissions: Admissions, gateway: Gateway) -> tuple[Inbound, Refusal | None]:
    """Return a replayed flow as a request, and why it is refused before anything else is asked."""
    request = flow.request
    head, was_masked = unmasked(Head(request.data.path, request.headers.fields))
    headers = (*_without_framing(head.headers), *_framing(request))
    inbound = Inbound(request.data.method, head.target, headers)
    inbound = replace(inbound, origin=_origin(flow, inbound, gateway))
    if request.data.method.upper() == b"CONNECT" or asks_for_websocket(request):
        return inbound, _refusal(BAD_REQUEST, _NO_REQUEST, inbound, gateway)
    token = admissions.token(flow)
    if was_masked and token is not None:
        return identified(inbound, token), None
    if not was_masked or token_of(inbound) is not None:
        return inbound, None
    logger.warning(_MASKED)
    return inbound, _refusal(MISSING_TOKEN, _MASKED, inbound, gateway)


def _refusal(kind: RefusalKind, message: str, inbound: Inbound, gateway: Gateway) -> Refusal:
    route = gateway.router.route(inbound)
    if isinstance(route, Refusal):
        return route
    return Refusal.of_routed(route, kind, message) if isinstance(route, Route) else Refusal(kind, message)


def _origin(flow: http.HTTPFlow, inbound: Inbound, gateway: Gateway) -> Origin | None:
    """Return the server that a flow was for; ``None``: it was addressed to the proxy, and its path names the provider.

    The flow of a request by path has the path that the client sent, and the server that the request went to.
    """
    data = flow.request.data
    origin = Origin(data.scheme.decode("ascii", "replace") or "https", data.host.lower(), data.port)
    by_path = gateway.router.route(inbound)
    is_own = flow.client_conn.sockname[:2] == (data.host, data.port)
    return None if is_own or (isinstance(by_path, Route) and by_path.upstream == origin) else origin


def _without_framing(headers: Headers) -> Headers:
    return tuple(field for field in headers if field[0].lower() not in _FRAMING)


def _framing(request: http.Request) -> Headers:
    """Frame the body that is replayed, whatever the flow says of it."""
    if request.trailers:
        return ((b"transfer-encoding", b"chunked"),)
    has_body = request.raw_content or "content-length" in request.headers or "transfer-encoding" in request.headers
    return ((b"content-length", b"%d" % len(request.raw_content or b"")),) if has_body else ()
