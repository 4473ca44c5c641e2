"""What arrives is recorded as it was on the wire, HTTP or not."""

from __future__ import annotations

import hashlib
import http.client
import socket

import pytest

from tests.simulated import Simulator
from tests.simulator.calls import CHAT, KEY, raw, read_to_end


def test_a_request_is_recorded_as_it_was_on_the_wire(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(
        b"POST /openai/v1//chat%2Fcompletions?b=1&a=%20 HTTP/1.1\r\nHOST: x\r\nX-Two: 1\r\nx-ODD-case:  v \r\n"
        b"x-two: 2\r\nx-latin: \xe9\r\nContent-Length: 3\r\nConnection: close\r\n\r\na\x00b"
    )
    assert read_to_end(wire).startswith(b"HTTP/1.1 401 ")
    (received,) = simulator.received(1)
    assert received.request_line == b"POST /openai/v1//chat%2Fcompletions?b=1&a=%20 HTTP/1.1"
    assert (received.method, received.target) == (b"POST", b"/openai/v1//chat%2Fcompletions?b=1&a=%20")
    assert received.headers == (
        (b"HOST", b"x"),
        (b"X-Two", b"1"),
        (b"x-ODD-case", b"v"),
        (b"x-two", b"2"),
        (b"x-latin", b"\xe9"),
        (b"Content-Length", b"3"),
        (b"Connection", b"close"),
    )
    assert received.header("X-TWO") == [b"1", b"2"]
    assert (received.body, received.body_bytes, received.body_complete) == (b"a\x00b", 3, True)
    assert (received.provider, received.answered, received.client_closed_after) == ("openai", True, None)
    assert simulator.received() == []


def test_a_large_upload_is_hashed_and_not_kept(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    part = bytes(range(256)) * 4096
    client.request("POST", "/openai/v1/files", iter([part] * 20), KEY)
    assert client.getresponse().read()
    (received,) = simulator.received(1)
    assert received.header("transfer-encoding") == [b"chunked"]
    assert (received.body, received.body_bytes) == (None, 20 << 20)
    assert received.body_sha256 == hashlib.sha256(part * 20).hexdigest()


def test_an_upload_that_breaks_off_is_recorded(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(raw({})[:-5])
    wire.close()
    (received,) = simulator.received(1)
    assert (received.body, received.body_complete, received.answered) == (CHAT[:-5], False, False)
    assert received.client_closed_after is not None


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"],
)
def test_what_is_not_http_is_recorded_and_refused(simulator: Simulator, wire: socket.socket, sent: bytes) -> None:
    wire.sendall(sent)
    assert read_to_end(wire).startswith(b"HTTP/1.1 400 ")
    (received,) = simulator.received(1)
    assert received.malformed
    assert received.request_line == sent.partition(b"\r\n")[0]
