"""WebSockets for tests: a server that echoes, JSON as it is and all else in capitals, and a client.

Both speak through wsproto, which mitmproxy stands on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, RejectConnection, Request, TextMessage

type Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class EchoServer:
    """``heads`` is what each upgrade request brought: the target and its headers in order."""

    port: int
    heads: list[tuple[str, list[tuple[bytes, bytes]]]] = field(default_factory=list)


@contextlib.contextmanager
def echo_server() -> Iterator[EchoServer]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = EchoServer(listening.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=_echo, args=(connection, server), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _echo(connection: socket.socket, server: EchoServer) -> None:
    ws = WSConnection(ConnectionType.SERVER)
    with connection, contextlib.suppress(OSError):
        while True:
            data = connection.recv(65536)
            if not data:
                return
            ws.receive_data(data)
            for event in ws.events():
                if isinstance(event, Request):
                    server.heads.append((event.target, list(event.extra_headers)))
                    chosen = event.subprotocols[0] if event.subprotocols else None
                    connection.sendall(ws.send(AcceptConnection(subprotocol=chosen)))
                elif isinstance(event, TextMessage):
                    said = event.data if event.data.startswith("{") else event.data.upper()
                    connection.sendall(ws.send(Message(data=said)))
                elif isinstance(event, CloseConnection):
                    connection.sendall(ws.send(event.response()))
                    return


class Client:
    """One session, on a connection of its own or a given one. ``status`` is 101 where the upgrade was accepted."""

    def __init__(
        self,
        port: int,
        target: str,
        headers: Headers = (),
        *,
        subprotocols: Sequence[str] = (),
        host: str = "localhost",
        connection: socket.socket | None = None,
    ) -> None:
        self._socket = connection or socket.create_connection(("127.0.0.1", port), timeout=20)
        self._ws = WSConnection(ConnectionType.CLIENT)
        upgrade = Request(host=host, target=target, extra_headers=list(headers), subprotocols=list(subprotocols))
        self._socket.sendall(self._ws.send(upgrade))
        answer = self._next()
        self.status = answer.status_code if isinstance(answer, RejectConnection) else 101
        self.headers = dict(answer.headers) if isinstance(answer, RejectConnection) else {}

    def ask(self, text: str) -> str:
        """Send a message and wait for the next one."""
        self._socket.sendall(self._ws.send(Message(data=text)))
        event = self._next()
        assert isinstance(event, TextMessage), event
        return event.data

    def close(self) -> None:
        """End the session as the protocol has it."""
        self._socket.sendall(self._ws.send(CloseConnection(code=1000)))
        self._next()
        self._socket.close()

    def drop(self) -> None:
        """End the connection without a word."""
        self._socket.close()

    def _next(self) -> object:
        while True:
            for event in self._ws.events():
                return event
            self._ws.receive_data(self._socket.recv(65536) or None)
