"""Which connections are used again, on both loops. Time passes where a test says so."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from metrion.lane import pool as module
from metrion.lane.connect import ConnectError, tls_context
from metrion.lane.pool import Connection, Pool
from metrion.model import Origin
from tests.lane.conftest import Run, until
from tests.tls import self_signed


class Client(Connection):
    def __init__(self) -> None:
        self.is_reusable = True
        self.received = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 -- asyncio passes it
        self.lost = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A pool, and the servers' ends of its connections to a listener."""

    def __init__(self, listener: socket.socket, *, known: bool = False) -> None:
        self.clock = Clock()
        self.listener = listener
        self.servers = list[socket.socket]()
        self.origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        self.pool = Pool[Client](Client, tls=lambda _: tls_context(), is_known=lambda _: known, now=self.clock)

    async def connect(self) -> tuple[Client, socket.socket]:
        client = await self.pool.connect(self.origin)
        server, _ = self.listener.accept()
        server.settimeout(10)
        self.servers.append(server)
        return client, server

    async def idle(self) -> tuple[Client, socket.socket]:
        client, server = await self.connect()
        self.pool.give_back(client)
        return client, server

    def take(self) -> Client | None:
        return self.pool.take(self.origin)


async def is_closed(server: socket.socket) -> bool:
    """Wait for the end that the other side has made; whether that is all there is."""
    return await asyncio.to_thread(server.recv, 1) == b""


def test_connection_is_used_again(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        client, server = await place.connect()
        for words in (b"one", b"two"):
            server.sendall(words)
            await until(lambda words=words: client.received.endswith(words))  # type: ignore[misc]  # mypy sees no default
            place.pool.give_back(client)
            assert place.take() is client
            client.transport.write(words)
            assert await asyncio.to_thread(server.recv, 9) == words
        assert client.received == b"onetwo"
        assert client.origin == place.origin
        assert place.take() is None
        place.pool.close()
        client.transport.close()
        assert await is_closed(server)
        await until(lambda: client.lost)

    run(check())


def test_last_used_comes_first(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        clients = [(await place.connect())[0] for _ in range(3)]
        for client in clients:
            place.pool.give_back(client)
        assert [place.take() for _ in range(4)] == [*reversed(clients), None]

    run(check())


def test_origins_are_apart(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        await place.idle()
        for other in (Origin("https", "127.0.0.1", place.origin.port), Origin("http", "localhost", place.origin.port)):
            assert place.pool.take(other) is None
        assert place.take() is not None

    run(check())


def test_failure_to_connect(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        listener.close()
        with pytest.raises(ConnectError, match="connection refused"):
            await place.pool.connect(place.origin)

    run(check())


# --- what servers do to idle connections ------------------------------------------------------------------------------


def ended(server: socket.socket) -> None:
    server.close()


def half_closed(server: socket.socket) -> None:
    server.shutdown(socket.SHUT_WR)


def reset(server: socket.socket) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()


def sent(server: socket.socket) -> None:
    server.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


ACTS = [ended, half_closed, reset, sent]


@pytest.mark.parametrize("act", ACTS)
def test_loop_notices(run: Run, listener: socket.socket, act: Callable[[socket.socket], None]) -> None:
    """Also where the protocol had stopped reading; it hears of none of it."""

    async def check() -> None:
        place = Place(listener)
        client, server = await place.connect()
        client.transport.pause_reading()
        place.pool.give_back(client)
        act(server)
        await until(client.transport.is_closing)
        assert place.take() is None
        await asyncio.sleep(0)
        assert (client.received, client.lost) == (b"", False)
        server.close()

    run(check())


@pytest.mark.parametrize("act", ACTS)
def test_pool_notices_what_the_loop_has_not_seen(
    run: Run, listener: socket.socket, act: Callable[[socket.socket], None]
) -> None:
    async def check() -> None:
        place = Place(listener)
        (good, _), (client, server) = await place.idle(), await place.idle()
        act(server)
        assert place.take() is good
        assert client.transport.is_closing()
        assert place.take() is None
        server.close()

    run(check())


@pytest.mark.parametrize("act", ["ended", "sent"])
def test_tls_connections(run: Run, tmp_path: Path, act: str) -> None:
    async def check() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(tmp_path))
        trust = tls_context(str(tmp_path / "server.pem"))
        ends = list[asyncio.StreamWriter]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ends.append(writer)
            while data := await reader.read(100):
                writer.write(data)

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            origin = Origin("https", "localhost", server.sockets[0].getsockname()[1])
            pool = Pool[Client](Client, tls=lambda _: trust, is_known=lambda _: False)
            client = await pool.connect(origin)
            for words in (b"one", b"two"):
                client.transport.write(words)
                await until(lambda words=words: client.received.endswith(words))  # type: ignore[misc]  # as above
                pool.give_back(client)
                assert pool.take(origin) is client
            pool.give_back(client)
            if act == "ended":
                ends[0].close()
            else:
                ends[0].write(b"stray")
            await until(client.transport.is_closing)
            assert pool.take(origin) is None
            assert client.received == b"onetwo"
            pool.close()

    run(check())


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "seconds"), [(True, 30), (False, 4)])
def test_idle_time(run: Run, listener: socket.socket, known: bool, seconds: int) -> None:
    async def check() -> None:
        place = Place(listener, known=known)
        client, server = await place.idle()
        place.clock.now += seconds - 0.1
        place.pool.drop_expired()
        assert place.take() is client
        place.pool.give_back(client)
        place.clock.now += seconds
        assert place.take() is None
        assert await is_closed(server)

    run(check())


def test_only_the_expired_are_dropped(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        (_, old), (used, _) = await place.idle(), await place.idle()
        place.clock.now += 2
        assert place.take() is used
        place.pool.give_back(used)
        place.clock.now += 2
        place.pool.drop_expired()
        assert await is_closed(old)
        assert place.take() is used

    run(check())


def test_expired_are_dropped_though_nobody_asks(
    run: Run, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.001)

    async def check() -> None:
        place = Place(listener)
        for _ in range(2):  # the sweeping ends when nothing is left, and starts anew
            client, server = await place.idle()
            await asyncio.sleep(0.005)
            assert not client.transport.is_closing()
            place.clock.now += 4
            assert await is_closed(server)

    run(check())


def test_number_of_idle_connections(run: Run, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 2)

    async def check() -> None:
        place = Place(listener)
        (first, _), (second, _), (third, server) = [await place.idle() for _ in range(3)]
        assert await is_closed(server)
        assert third.transport.is_closing()
        assert [place.take() for _ in range(3)] == [second, first, None]

    run(check())


# --- what is not kept -------------------------------------------------------------------------------------------------


def not_reusable(place: Place, client: Client) -> None:
    client.is_reusable = False


def closing(place: Place, client: Client) -> None:
    client.transport.close()


def pool_closed(place: Place, client: Client) -> None:
    place.pool.close()


@pytest.mark.parametrize("why", [not_reusable, closing, pool_closed])
def test_what_is_closed_when_given_back(
    run: Run, listener: socket.socket, why: Callable[[Place, Client], None]
) -> None:
    async def check() -> None:
        place = Place(listener)
        client, server = await place.connect()
        why(place, client)
        place.pool.give_back(client)
        assert place.take() is None
        assert await is_closed(server)
        await until(lambda: client.lost)

    run(check())


def test_request_that_is_not_sent_whole(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        client, server = await place.connect()
        client.transport.write(bytes(64 << 20))
        await asyncio.sleep(0)
        place.pool.give_back(client)
        assert place.take() is None
        assert client.transport.is_closing()
        server.close()

    run(check())


def test_closing_the_pool_closes_what_waits(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        place = Place(listener)
        idle = [await place.idle() for _ in range(3)]
        place.pool.close()
        for _, server in idle:
            assert await is_closed(server)
        assert place.take() is None

    run(check())
