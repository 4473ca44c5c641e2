"""Answers browsers' preflights for the origins that the configuration names; for all others nothing changes.

A page may call a provider's API through the proxy only if both are allowed by name: the answer to the preflight, and
``access-control-allow-origin`` on the response where the provider did not send one (Fetch Standard, CORS protocol).
"""

from __future__ import annotations

from collections.abc import Collection

from metrion.model import Answer, Headers, Inbound

_PREFLIGHT_SECONDS = 7200
"""How long a browser may keep the answer: no browser keeps it longer."""


def allowed_origin(inbound: Inbound, origins: Collection[str]) -> bytes | None:
    """Return the origin that a request comes from, if it is one of ``origins`` (``*``: any)."""
    if not origins:
        return None
    for name, value in inbound.headers:
        if name.lower() == b"origin":
            return value if "*" in origins or value.decode("latin-1") in origins else None
    return None


def preflight(inbound: Inbound, origins: Collection[str]) -> Answer | None:
    """Answer a preflight from an allowed origin; ``None`` for every other request."""
    if inbound.method != b"OPTIONS":
        return None
    origin = allowed_origin(inbound, origins)
    asked = {name.lower(): value for name, value in inbound.headers}
    method = asked.get(b"access-control-request-method")
    if origin is None or method is None:
        return None
    headers = [
        (b"access-control-allow-methods", method),
        (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"")),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_SECONDS),
        (b"content-length", b"0"),
    ]
    return Answer(200, (*allowing(origin, ()), *(header for header in headers if header[1])), b"")


def allowing(origin: bytes, headers: Headers) -> Headers:
    """Return what to add to a response so that a page of ``origin`` may see it: nothing if the provider did."""
    if any(name.lower() == b"access-control-allow-origin" for name, _ in headers):
        return ()
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"origin"),
    )
