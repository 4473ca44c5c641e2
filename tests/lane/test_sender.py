"""Which connection a request goes out on, and when it goes out again. Connections only keep what is written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from metrion.lane.brake import OPENING, UPSTREAM_SLOW, Brake
from metrion.lane.connect import ConnectError
from metrion.lane.http1 import RequestHead
from metrion.lane.pool import Pool
from metrion.lane.sender import Owner, Sender
from metrion.lane.upstream import Upstream
from metrion.model import Head, Origin
from metrion.relay.effects import EndRequest, SendRequest, SendRequestData
from tests.lane.conftest import Run, until

ORIGIN = Origin("http", "provider", 80)
HEAD = RequestHead(b"POST", b"/v1", ((b"host", b"provider"),), 1, True, 2)
SENT = b"POST /v1 HTTP/1.1\r\nhost: provider\r\ncontent-length: 2\r\n\r\n{}"
CLOSED = "server closed connection"


@dataclass
class Wire:
    """A transport that keeps what is written."""

    written: bytearray = field(default_factory=bytearray)
    unsent: int = 0
    """How much the system has not taken."""
    is_open: bool = True

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return not self.is_open

    def abort(self) -> None:
        self.is_open = False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass
class Connections:
    """A pool. ``idle`` is what waits in it, ``opens`` what comes of a new connection, ``None``: nothing yet."""

    idle: list[Wire] = field(default_factory=list)
    opens: Wire | Exception | None = None
    given_back: int = 0

    def take(self, origin: Origin) -> Upstream | None:
        return connected(origin, self.idle.pop()) if self.idle else None

    async def connect(self, origin: Origin) -> Upstream:
        while self.opens is None:  # noqa: ASYNC110 -- for ever, or until a test changes it
            await asyncio.sleep(0)
        if isinstance(self.opens, Exception):
            raise self.opens
        return connected(origin, self.opens)

    def give_back(self, _: Upstream) -> None:
        self.given_back += 1


def connected(origin: Origin, wire: Wire) -> Upstream:
    upstream = Upstream()
    upstream.connection_made(cast("asyncio.Transport", wire))
    upstream.origin = origin
    return upstream


class Client:
    """Whoever sends: keeps the calls that it gets."""

    def __init__(self, connections: Connections) -> None:
        self.calls: list[object] = []
        self.brake = Brake(cast("asyncio.Transport", Wire()))
        self.sender = Sender(cast("Owner", self), cast("Pool[Upstream]", connections), self.brake)

    def on_connected(self) -> None:
        self.calls.append("connected")

    def on_unreachable(self, why: str | None) -> None:
        self.calls.append(why)

    def open(self) -> bool:
        self.brake.set(OPENING, holds=True)
        return self.sender.open(ORIGIN, HEAD)

    def send(self) -> None:
        """Send the whole request."""
        headers = (*HEAD.headers, (b"content-length", b"2"))
        self.sender.request.head(SendRequest(HEAD.method, Head(HEAD.target, headers), ends=False))
        self.sender.request.data(SendRequestData(b"{}"))
        self.sender.request.end(EndRequest())
        self.sender.flush()


def test_a_connection_that_waits_is_used_at_once() -> None:
    wire = Wire()
    client = Client(Connections(idle=[wire]))
    assert client.open()
    client.send()
    assert (bytes(wire.written), client.calls) == (SENT, [])


def test_a_new_connection_is_reported_and_lets_the_client_be_read(run: Run) -> None:
    wire = Wire()

    async def scenario() -> None:
        client = Client(Connections(opens=wire))
        assert not client.open()
        await until(lambda: client.calls == ["connected"])
        client.send()
        assert bytes(wire.written) == SENT
        assert not client.brake.holds(OPENING)

    run(scenario())


@pytest.mark.parametrize(
    ("failure", "why"),
    [(ConnectError("the name cannot be resolved"), "the name cannot be resolved"), (ValueError("secret"), None)],
    ids=["a reason", "a fault"],
)
def test_a_connection_that_cannot_be_had_is_reported_without_words_of_others(
    failure: Exception, why: str | None, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        client = Client(Connections(opens=failure))
        client.open()
        await until(lambda: client.calls == [why])
        assert not client.brake.holds(OPENING)

    run(scenario())
    assert "secret" not in caplog.text


def test_a_request_given_up_opens_no_connection(run: Run) -> None:
    async def scenario() -> None:
        connections = Connections()
        client = Client(connections)
        client.open()
        await asyncio.sleep(0)
        client.sender.abort()
        connections.opens = Wire()
        for _ in range(5):
            await asyncio.sleep(0)
        assert client.calls == []
        assert not client.brake.holds(OPENING)

    run(scenario())


def test_a_request_goes_again_where_its_connection_was_closed_while_idle(run: Run) -> None:
    first, second = Wire(unsent=1), Wire()

    async def scenario() -> None:
        client = Client(Connections(idle=[first], opens=second))
        client.open()
        client.send()
        assert not client.sender.on_failure(CLOSED)
        assert client.brake.holds(OPENING)
        await until(lambda: client.calls == ["connected"])
        client.sender.flush()

    run(scenario())
    assert bytes(first.written) == bytes(second.written) == SENT


@pytest.mark.parametrize(
    ("why", "has_answered", "unsent"),
    [(None, False, 1), (CLOSED, True, 1), (CLOSED, False, 0)],
    ids=["no HTTP", "an answer had begun", "the system had all of it"],
)
def test_other_failures_end_the_request(why: str | None, has_answered: bool, unsent: int) -> None:
    client = Client(Connections(idle=[Wire(unsent=unsent)]))
    client.open()
    client.send()
    upstream = client.sender._upstream
    assert upstream is not None
    upstream.has_answered = has_answered
    assert client.sender.on_failure(why)
    assert not client.sender.on_failure(why), "there is no connection any more"


@pytest.mark.parametrize("reusable", [True, False])
def test_a_connection_is_given_back_or_closed(reusable: bool) -> None:
    wire = Wire()
    connections = Connections(idle=[wire])
    client = Client(connections)
    client.open()
    upstream = client.sender._upstream
    assert upstream is not None
    upstream.is_reusable = reusable
    client.sender.on_end()
    assert (connections.given_back, wire.is_open) == ((1, True) if reusable else (0, False))


def test_a_slow_provider_stops_its_client() -> None:
    client = Client(Connections(idle=[Wire()]))
    client.open()
    for slow in (True, False):
        client.sender.on_slow(slow=slow)
        assert client.brake.holds(UPSTREAM_SLOW) is slow
