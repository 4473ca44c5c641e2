"""Requests to a simulator, by an HTTP client and byte by byte over a socket, and an exchange for it to answer with."""

from __future__ import annotations

import http.client
import socket
from typing import Any

from tests.corpus import Exchange

CHAT = b'{"model": "gpt-4o", "messages": []}'
KEY = {"authorization": "Bearer any"}
PATH = "/openai/v1/chat/completions"
SSE = b"".join(b'data: {"n":%d}\n\n' % number for number in range(40)) + b"data: [DONE]\n\n"


def recorded(**changes: Any) -> Exchange:
    """Return a stream of 41 events as if it had been recorded, with these fields changed."""
    given: dict[str, Any] = {
        "id": "written-here",
        "file": "",
        "provider": "openai",
        "kind": "chat",
        "provenance": "",
        "method": "POST",
        "path": "/v1/chat/completions",
        "request_headers": {},
        "request_body": CHAT,
        "status": 200,
        "response_headers": {"content-type": "text/event-stream", "openai-version": "2020-10-01"},
        "response_body": SSE,
        "streamed": True,
        "stream_format": "sse",
        "expected": {},
        "flags": frozenset(),
        "ambiguous": frozenset(),
    }
    return Exchange(**given | changes)


def post(
    client: http.client.HTTPConnection, headers: dict[str, str], body: bytes = CHAT, path: str = PATH
) -> tuple[http.client.HTTPResponse, bytes]:
    client.request("POST", path, body, KEY | headers)
    response = client.getresponse()
    return response, response.read()


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def raw(headers: dict[str, str], *, method: str = "POST", body: bytes = CHAT, path: str = PATH) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: simulator", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (KEY | headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
