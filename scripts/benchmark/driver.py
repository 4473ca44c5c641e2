"""The load generator: requests over keep-alive connections, each answered whole before the next goes out.

One loop over sockets, since it has to be faster than what it measures. Fails on any answer that is not 2xx, and on a
connection that ends when it should not.
"""

from __future__ import annotations

import math
import re
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scripts.benchmark.system import BenchError

ANSWER_SECONDS = 60.0
"""How long nothing may come at all before the run is given up."""
RECEIVE = 262_144

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Answer:
    """A response as it comes in. A chunked one ends at its first empty line after a 0: no body here has one in it."""

    __slots__ = ("_head", "_left", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._left: float | None = None
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """Take a piece; return whether the response is whole."""
        if self._left is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._left = self._length(self._head[:end])
            data = self._head[end + 4 :]
        if self._left is math.inf:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            return self._tail == _LAST_CHUNK
        self._left -= len(data)
        return self._left <= 0

    def _length(self, head: bytes) -> float:
        if not head.startswith(b"HTTP/1.1 2"):
            raise BenchError(f"not answered: {self._head[:600]!r}")
        if length := _LENGTH.search(head):
            return int(length[1])
        if _CHUNKED.search(head):
            return math.inf
        raise BenchError(f"an answer without an end: {self._head[:600]!r}")


class Caller:
    """One connection with one request in flight, waited for."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain

    def call(self, request: bytes) -> tuple[float, float]:
        """Return the seconds to the first byte and to the last."""
        started = time.perf_counter()
        self._socket.sendall(request)
        answer, first = Answer(), 0.0
        while True:
            if not (data := self._socket.recv(RECEIVE)):
                raise BenchError("a connection ended within an answer")
            first = first or time.perf_counter()
            if answer.feed(data):
                return first - started, time.perf_counter() - started

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


@dataclass(slots=True)
class Load:
    """The outcome of a number of requests."""

    answered: int = 0
    seconds: float = 0.0
    stalls: int = 0
    """How often a piece of an answer came later after the one before it than was allowed."""
    longest_gap: float = 0.0
    longest_wait: float = 0.0
    """For the first byte of an answer."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many requests over how many connections: ``count`` in all, or as many as fit into ``seconds``."""

    connections: int
    count: float = math.inf
    seconds: float = math.inf
    spread: float = 0.0
    """Within how many seconds the connections are opened."""
    stall: float = math.inf
    """A gap of so many seconds within an answer is a stall."""
    hang_up: bool = False
    """Close each connection at the first byte of the answer, and open another."""
    all_open: Callable[[], None] | None = None
    """Called once, when every connection has an answer that has begun and is not over; then all of them hang up."""


class _Connection:
    __slots__ = ("answer", "began", "heard_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        self.answer: Answer | None = None
        self.began = False
        self.heard_at = 0.0


def drive(port: int, requests: Iterator[bytes], plan: Plan) -> Load:
    """Put a load on a port until its plan is fulfilled and every answer is whole."""
    return _Drive(port, requests, plan).run()


class _Drive:
    def __init__(self, port: int, requests: Iterator[bytes], plan: Plan) -> None:
        self._port, self._requests, self._plan = port, requests, plan
        self._selector = selectors.DefaultSelector()
        self._load = Load()
        self._left = plan.count
        self._sent = 0
        self._open = self._begun = 0
        self._over = False

    def run(self) -> Load:
        started = time.perf_counter()
        self._deadline = started + self._plan.seconds
        to_open = self._plan.connections
        try:
            while (to_open or self._open) and not self._over:
                due = to_open
                if to_open and self._plan.spread:
                    passed = (time.perf_counter() - started) / self._plan.spread
                    due = min(to_open, int(self._plan.connections * passed) + 1 - (self._plan.connections - to_open))
                for _ in range(due):
                    self._connect()
                to_open -= max(0, due)
                ready = self._selector.select(0.002 if to_open else ANSWER_SECONDS)
                if not ready and not to_open:
                    raise BenchError(f"nothing came for {ANSWER_SECONDS:g} s; {self._open} answers are not whole")
                for key, _ in ready:
                    if not self._over:
                        self._go_on(key.data)
        finally:
            for key in tuple(self._selector.get_map().values()):
                key.data.socket.close()
            self._selector.close()
        if self._plan.all_open is not None and not self._over:
            raise BenchError("not all answers were open at the same time")
        self._load.seconds = time.perf_counter() - started
        return self._load

    def _connect(self) -> None:
        connection = _Connection(self._port)
        self._selector.register(connection.socket, selectors.EVENT_WRITE, connection)
        self._open += 1

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1

    def _go_on(self, connection: _Connection) -> None:
        if connection.answer is None:
            if error := connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise BenchError(f"no connection: error {error}")
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
            self._send_next(connection)
            return
        data = connection.socket.recv(RECEIVE)
        if not data:
            raise BenchError("a connection ended within an answer")
        now = time.perf_counter()
        gap = now - connection.heard_at
        connection.heard_at = now
        if not connection.began:
            self._begin(connection, gap)
        elif gap > self._load.longest_gap or gap >= self._plan.stall:
            self._load.longest_gap = max(gap, self._load.longest_gap)
            self._load.stalls += gap >= self._plan.stall
        is_whole = connection.answer.feed(data)
        if self._plan.hang_up:
            self._close(connection)
            if not self._is_fulfilled:
                self._connect()
        elif is_whole:
            self._load.answered += 1
            self._begun -= 1
            self._send_next(connection)

    def _begin(self, connection: _Connection, waited: float) -> None:
        connection.began = True
        self._load.longest_wait = max(waited, self._load.longest_wait)
        self._begun += 1
        if self._plan.all_open is not None and self._begun == self._plan.connections:
            self._plan.all_open()
            self._over = True

    @property
    def _is_fulfilled(self) -> bool:
        # A time without an answer measures nothing, so that one request goes out at least.
        return self._left <= 0 or (self._sent > 0 and time.perf_counter() >= self._deadline)

    def _send_next(self, connection: _Connection) -> None:
        if self._is_fulfilled:
            self._close(connection)
            return
        self._left -= 1
        self._sent += 1
        connection.answer = Answer()
        connection.began = False
        connection.heard_at = time.perf_counter()
        connection.socket.send(next(self._requests))
