"""An HTTP/2 client for tests, within a tunnel of a proxy: many requests on one connection, each byte under control."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events

from tests.processes import Proxy


@dataclass(slots=True)
class Stream:
    """What has come of one request so far."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    """The response is whole."""
    reset: bool = False


class Http2Connection:
    """A client on a connection that is there already."""

    def __init__(self, connection: socket.socket, authority: str, scheme: str) -> None:
        self._socket = connection
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._authority, self._scheme = authority, scheme
        self.streams: dict[int, Stream] = {}
        self.closed = False
        """The proxy has ended the connection, and all that is on it."""
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def post(self, path: str, headers: Mapping[str, str], body: bytes, *, end: bool = True) -> int:
        """Begin a request; returns its number. Without ``end``, more of its body is to come."""
        number = self._h2.get_next_available_stream_id()
        pseudo = {":method": "POST", ":scheme": self._scheme, ":authority": self._authority, ":path": path}
        self._h2.send_headers(number, list({**pseudo, **headers}.items()))
        self.streams[number] = Stream()
        self.send(number, body, end=end)
        return number

    def connect(self, headers: Iterable[tuple[str, str]]) -> int:
        """Begin a CONNECT with these headers, pseudo-headers among them; returns its number."""
        number = self._h2.get_next_available_stream_id()
        self._h2.config.validate_outbound_headers = False  # this library demands a path of it
        self._h2.send_headers(number, list(headers))
        self._h2.config.validate_outbound_headers = True
        self.streams[number] = Stream()
        self._flush()
        return number

    def send(self, number: int, body: bytes, *, end: bool = False) -> None:
        """Send a further piece of a request's body."""
        self._h2.send_data(number, body, end_stream=end)
        self._flush()

    def reset(self, number: int) -> None:
        """Leave one request; the others go on."""
        self._h2.reset_stream(number)
        self._flush()

    def read(self, *numbers: int) -> list[Stream]:
        """Read until these are over, well or not, or the connection is; returns them."""
        wanted = [self.streams[number] for number in numbers]
        while not self.closed and not all(stream.ended or stream.reset for stream in wanted):
            self._receive()
        return wanted

    def read_body(self, number: int, size: int) -> bytes:
        """Read so much of a body, or what there is of it."""
        stream = self.streams[number]
        while not self.closed and len(stream.body) < size and not (stream.ended or stream.reset):
            self._receive()
        return stream.body

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        self.closed = not data
        self._take(self._h2.receive_data(data) if data else ())
        self._flush()

    def _take(self, events: Iterable[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.ResponseReceived():
                    headers = {str(name): str(value) for name, value in event.headers}
                    stream = self.streams[event.stream_id]
                    stream.status, stream.headers = int(headers[":status"]), headers
                case h2.events.TrailersReceived():
                    self.streams[event.stream_id].headers |= {str(name): str(value) for name, value in event.headers}
                case h2.events.DataReceived():
                    self.streams[event.stream_id].body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.streams[event.stream_id].ended = True
                case h2.events.StreamReset():
                    self.streams[event.stream_id].reset = True
                case h2.events.ConnectionTerminated():
                    self.closed = True

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


class Http2Client(Http2Connection):
    """See the module. ``host`` and ``port`` are where the tunnel leads; the token comes with its CONNECT."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        credential = base64.b64encode(f"{proxy.token}:".encode()).decode()
        self._tunnel = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        self._tunnel.set_tunnel(host, port, {"Proxy-Authorization": f"Basic {credential}"})
        self._tunnel.connect()
        context = ssl.create_default_context(cafile=str(proxy.home / "ca" / "mitmproxy-ca-cert.pem"))
        context.set_alpn_protocols(["h2"])
        wrapped = context.wrap_socket(self._tunnel.sock, server_hostname=host)
        assert wrapped.selected_alpn_protocol() == "h2"
        super().__init__(wrapped, f"{host}:{port}", "https")
