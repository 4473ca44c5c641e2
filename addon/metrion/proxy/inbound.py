"""mitmproxy's request → what Metrion decides about: what is asked, of which server and by whom, and what is wrong."""

from __future__ import annotations

import re
from itertools import chain

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode, validate_request
from mitmproxy.proxy.mode_specs import LocalMode, ReverseMode, TransparentMode, TunMode, WireGuardMode

from metrion.admission import identified
from metrion.admission.codes import BAD_REQUEST
from metrion.gateway.gateway import Gateway
from metrion.model import Forward, Inbound, Origin, Refusal
from metrion.relay.own_answers import refuse

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00\r\n]")
"""HTTP/1.1 has none of these, because they would end the line; what comes otherwise might."""

_INTERCEPTING = (TransparentMode, LocalMode, WireGuardMode, TunMode)
"""Modes in which clients do not know of the proxy, and so bring no token."""


def inbound_request(request: http.Request, context: Context, mode: HTTPMode, gateway: Gateway) -> Inbound:
    """Return a request as it came, identified by its tunnel where it came through one."""
    origin = _origin(request, context, mode, gateway)
    client = context.client
    inbound = Inbound(
        request.data.method,
        request.data.path,
        request.headers.fields,
        origin,
        secure=client.tls,
        peer=client.peername,
        trusted_proxies=gateway.settings.trusted_proxies,
    )
    tunnel = gateway.tunnels.get(context.client.id)
    return identified(inbound, tunnel) if tunnel or (mode is HTTPMode.regular and origin) else inbound


def inbound_tunnel(request: http.Request) -> Inbound:
    """Return a CONNECT as a request to the host that it names."""
    origin = Origin("https", request.data.host.lower(), request.data.port)
    return Inbound(request.data.method, b"/", request.headers.fields, origin)


def no_tunnel(request: http.Request, mode: HTTPMode) -> str | None:
    """Say why a CONNECT opens no tunnel here, wherever it leads; ``None``: it may."""
    if request.is_http2:
        return "CONNECT is served in HTTP/1.1 only."
    if mode is HTTPMode.transparent:
        return "CONNECT is served in regular mode only, and not within a tunnel."
    return None


def is_intercepted(context: Context) -> bool:
    """Whether the client does not know of the proxy."""
    return isinstance(context.client.proxy_mode, _INTERCEPTING)


def trouble(
    forward: Forward, inbound: Inbound, request: http.Request, context: Context, mode: HTTPMode
) -> Refusal | None:
    """Refuse a request for what is wrong with it beside its route and its caller."""
    error = validate_request(mode, request, context.options.validate_inbound_headers)
    if error is not None:  # it quotes what is wrong, which may be a credential
        error = "A header field has a name, or says of the body's length, what no server has to accept."
    if not _METHOD.fullmatch(inbound.method) or any(map(_CONTROL.search, chain(*inbound.headers))):
        error = "The method or a header field holds a character that no server has to accept."
    if context.client.state is ConnectionState.CLOSED:
        error = "The framing of the request body cannot be understood."
    return None if error is None else refuse(forward, BAD_REQUEST, error)


def _origin(request: http.Request, context: Context, mode: HTTPMode, gateway: Gateway) -> Origin | None:
    """Return the server that a request is for, ``None`` where it is addressed to the proxy itself."""
    if mode is HTTPMode.transparent:
        server = context.server
        host, port = server.address or ("", 0)
        origin = Origin("https" if server.tls else "http", host.lower(), port)
        by_path = isinstance(context.client.proxy_mode, ReverseMode) and not gateway.router.knows(origin)
        return None if by_path else origin
    if not request.data.host:
        return None
    origin = Origin(request.scheme or "https", request.data.host.lower(), request.data.port)
    # HTTP/2 always names a host. One that is no provider's is the proxy's own name, whatever that is.
    return origin if not request.is_http2 or gateway.router.knows(origin) else None
