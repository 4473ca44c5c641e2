"""A provider of which a test says every byte, for answers that the simulator cannot give.

    with running_upstream() as upstream:
        script = upstream.script(answering(b"HTTP/1.1 200 OK\\r\\n…"))   # the header that chooses it, to send along
        ...
        (asked,) = upstream.asked(script)                              # the requests that reached it

A request's head is read by h11, strictly; what is then said, and when the body is read, is the script's business.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import h11

SCRIPT_HEADER = "x-script"
PATIENCE = 20.0
"""Seconds after which a script that waits for the proxy gives up."""

type Header = tuple[bytes, bytes]
type Script = Callable[[Asked], None]
"""Answers one request. When it returns, the connection waits for the next one, unless it was closed."""


@dataclass(slots=True)
class Asked:
    """One request at the provider, and the connection to answer it on."""

    socket: socket.socket
    connection: int
    """Counts the connections."""
    parser: h11.Connection = field(repr=False)
    method: bytes
    target: bytes
    headers: list[Header]
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    complete: bool = False
    """The body was read to its end."""
    malformed: str | None = None
    """What is wrong with the body's framing."""
    gone: threading.Event = field(default_factory=threading.Event)
    """The proxy has closed the connection, or reset it."""

    def header(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found.lower() == name]

    def read(self) -> bytes:
        """Read the whole body, or what there is of it; returns it."""
        pieces = [self.body]
        while not self.complete and self.malformed is None and not self.gone.is_set():
            try:
                event = self.parser.next_event()
            except h11.RemoteProtocolError as error:
                self.malformed = str(error)
                break
            if event is h11.NEED_DATA:
                self._receive()
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = event.headers.raw_items()
                self.complete = True
        self.body = b"".join(pieces)
        return self.body

    def send(self, *wire: bytes) -> None:
        """Send bytes as they are. What the proxy no longer takes is dropped."""
        try:
            for piece in wire:
                self.socket.sendall(piece)
        except OSError:
            self.gone.set()

    def send_endlessly(self, piece: bytes, most: int) -> int:
        """Send a piece again and again until the proxy closes, or so many bytes went out; returns how many did."""
        sent = 0
        while sent < most and not self.gone.is_set():
            self.send(piece)
            sent += len(piece)
        return sent

    def close(self) -> None:
        """End the connection, orderly."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.gone.set()

    def wait_until_gone(self) -> None:
        """Read, and drop, until the proxy has closed the connection."""
        while not self.gone.is_set():
            self._receive()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.gone.set()
        elif not self.complete:
            self.parser.receive_data(data)


def answering(*wire: bytes, close: bool = False) -> Script:
    """Read the request, send these bytes, and close the connection or keep it."""

    def answer(asked: Asked) -> None:
        asked.read()
        asked.send(*wire)
        if close:
            asked.close()

    return answer


class Upstream:
    """See the module."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.malformed: list[bytes] = []
        """The heads that were no HTTP; nothing was answered."""
        self._scripts: dict[bytes, Script] = {}
        self._asked: list[tuple[bytes, Asked]] = []
        self._changed = threading.Condition()
        self._connections = itertools.count(1)
        self._names = itertools.count(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, script: Script) -> str:
        """Take a script; returns the header line that chooses it."""
        name = f"script-{next(self._names)}"
        self._scripts[name.encode()] = script
        return f"{SCRIPT_HEADER}: {name}"

    def asked(self, script: str, count: int = 0) -> list[Asked]:
        """Wait until so many requests for the script were there; returns all of them."""
        name = script.rpartition(" ")[2].encode()

        def found() -> list[Asked]:
            return [asked for chosen, asked in self._asked if chosen == name]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, PATIENCE), f"{len(found())} of {count} came"
            return found()

    def total(self) -> int:
        """How many requests were there at all."""
        with self._changed:
            return len(self._asked)

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        number = next(self._connections)
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        with connection, contextlib.suppress(OSError):
            while asked := self._next_request(connection, number, rest):
                (name,) = asked.header(SCRIPT_HEADER.encode()) or [b""]
                with self._changed:
                    self._asked.append((name, asked))
                    self._changed.notify_all()
                self._scripts.get(name, answering(PLAIN))(asked)
                if asked.gone.is_set() or not asked.complete:
                    return
                rest = asked.parser.trailing_data[0]

    def _next_request(self, connection: socket.socket, number: int, begun: bytes) -> Asked | None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        received = begun
        if begun:
            parser.receive_data(begun)
        try:
            while (event := parser.next_event()) is h11.NEED_DATA:
                data = connection.recv(65536)
                if not data:
                    return None
                received += data
                parser.receive_data(data)
        except h11.RemoteProtocolError:
            self.malformed.append(received)
            return None
        assert isinstance(event, h11.Request), event
        return Asked(connection, number, parser, event.method, event.target, event.headers.raw_items())


PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
"""What is said to a request that chooses no script."""


@contextlib.contextmanager
def running_upstream() -> Iterator[Upstream]:
    """Serve from threads of this process for the length of the block."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    upstream = Upstream(listening.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=upstream.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield upstream
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
