"""A client of which a test says every byte, and that reads answers strictly, by h11.

with connected(proxy.port) as client:
    client.send(request(proxy, "Content-Length: 2"), b"{}")
    answer = client.read()
"""

from __future__ import annotations

import contextlib
import socket
import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import h11

from tests.processes import Proxy

PATIENCE = 10.0
"""Seconds without a byte after which the test fails."""
CHAT = "/openai/v1/chat/completions"
MODELS = "/openai/v1/models"


@dataclass(slots=True)
class Answer:
    """One response, as far as it came."""

    status: int
    headers: dict[bytes, bytes]
    """Names in lower case."""
    repeated: list[bytes]
    """Names that came more than once."""
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    whole: bool = False
    """It came to its end, by its own framing."""


class RawClient:
    """One connection to the proxy."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def send(self, *pieces: bytes) -> None:
        """Send bytes as they are. What the proxy no longer takes is dropped."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.socket.sendall(piece)

    def read(self, method: str = "POST") -> Answer:
        """Read the answer to the next request. An :class:`h11.RemoteProtocolError` says that it is no HTTP."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "proxy")]))
        parser.send(h11.EndOfMessage())
        if self._rest:
            parser.receive_data(self._rest)
        interim: list[int] = []
        body = bytearray()
        answer: Answer | None = None
        while True:
            event = self._event(parser, answer)
            match event:
                case None:
                    break
                case h11.InformationalResponse():
                    interim.append(event.status_code)
                case h11.Response():
                    names = [name for name, _ in event.headers]
                    repeated = sorted({name for name in names if names.count(name) > 1})
                    answer = Answer(event.status_code, dict(event.headers), repeated, interim=interim)
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage() if answer is not None:
                    answer.whole, answer.trailers = True, list(event.headers.raw_items())
                    break
                case _:
                    raise AssertionError(event)
        assert answer is not None, "the connection ended without an answer"
        answer.body = bytes(body)
        self._rest = parser.trailing_data[0]
        return answer

    def _event(self, parser: h11.Connection, answer: Answer | None) -> h11.Event | None:
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                if answer is not None and parser.trailing_data[1]:  # it broke off
                    return None
                raise
            if isinstance(event, h11.Event):
                return None if isinstance(event, h11.ConnectionClosed) else event
            parser.receive_data(self.receive())

    def receive(self) -> bytes:
        """Return what arrives next, nothing at the end of the connection."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def peek(self) -> bytes:
        """Wait for what arrives next and return all that was not yet read."""
        self._rest += self.receive()
        return self._rest

    def rest(self) -> bytes:
        """Read until the proxy has closed the connection; returns what came."""
        while data := self.receive():
            self._rest += data
        return self._rest

    def half_close(self) -> None:
        """Say that no more will be sent; answers are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Hang up at once and for good."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextlib.contextmanager
def connected(port: int) -> Iterator[RawClient]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield RawClient(connection)


def request(
    proxy: Proxy,
    *lines: str,
    method: str = "POST",
    target: str = CHAT,
    version: str = "HTTP/1.1",
    host: Sequence[str] = ("proxy",),
    token: str | None = None,
) -> bytes:
    """Build the head of a request with the proxy's token; another or, if it is empty, none."""
    token = proxy.token if token is None else token
    head = [f"{method} {target} {version}", *(f"Host: {name}" for name in host)]
    head += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1")


def labelled() -> tuple[str, str]:
    """Return a new label for an event, and the header line that gives it."""
    label = uuid.uuid4().hex
    return label, f"x-metrion-user: {label}"
