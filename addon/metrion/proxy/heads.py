"""Heads as the lane's reader has them → messages as mitmproxy has them."""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.net.http import http1

from metrion.lane import wire
from metrion.lane.http1 import RequestHead, ResponseHead


def request_of(head: RequestHead, raw: bytes) -> http.Request:
    """Return a head as mitmproxy has it.

    :raises ValueError: the target is neither a path nor a host.
    """
    if not head.target.startswith(b"/"):
        return http1.read_request_head(raw.strip(b"\r\n").split(b"\r\n"))
    version = b"HTTP/1.1" if head.minor else b"HTTP/1.0"
    headers = http.Headers(head.headers)
    return http.Request("", 0, head.method, b"", b"", head.target, version, headers, None, None, time.time(), None)


def response_of(head: ResponseHead) -> http.Response:
    """Return a head as mitmproxy has it. What goes on is HTTP/1.1, whatever the provider speaks."""
    fields = http.Headers(wire.unambiguous(head))
    return http.Response(b"HTTP/1.1", head.status, head.reason, fields, None, None, time.time(), None)
