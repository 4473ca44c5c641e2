"""A port that is taken alone and then shared."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import pytest

from metrion.errors import ServeError
from metrion.serving.listening import Listeners, Listening


def connect(listeners: Listeners) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listeners.port), timeout=5)


def test_any_port_is_the_same_for_all_workers() -> None:
    listeners = Listeners("127.0.0.1", 0, 3)
    listeners.listen()
    ports = {listener.getsockname()[1] for number in range(3) for listener in listeners.of(number)}
    assert ports == {listeners.port}
    listeners.close()


def test_connections_send_at_once() -> None:
    """asyncio sets TCP_NODELAY on what is accepted, if it knows that it is TCP."""

    async def accepted_without_delay() -> bool:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted: socket.socket = writer.get_extra_info("socket")
            found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        await asyncio.start_server(on_connection, sock=listener)
        _, writer = await asyncio.open_connection("127.0.0.1", listeners.port)
        writer.close()
        return bool(await found)

    listeners = Listeners("127.0.0.1", 0, 1)
    listeners.listen()
    (listener,) = listeners.of(0)
    assert asyncio.run(accepted_without_delay())
    listeners.close()


def test_connections_are_spread_over_the_workers() -> None:
    listeners = Listeners("127.0.0.1", 0, 2)
    listeners.listen()
    connections = [connect(listeners) for _ in range(64)]
    accepted: Counter[int] = Counter()
    for number in range(2):
        (listener,) = listeners.of(number)
        listener.setblocking(False)
        try:
            while True:
                connections.append(listener.accept()[0])
                accepted[number] += 1
        except BlockingIOError:
            pass
    assert sum(accepted.values()) == 64
    assert min(accepted.values()) > 8
    for connection in connections:
        connection.close()
    listeners.close()


@pytest.mark.parametrize("holders", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_port_that_is_listened_on_cannot_be_taken(holders: int, workers: int) -> None:
    held = Listeners("127.0.0.1", 0, holders)
    held.listen()
    with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{held.port}: Address already in use.*--port"):
        Listeners("127.0.0.1", held.port, workers)
    held.close()
    again = Listeners("127.0.0.1", held.port, workers)
    again.listen()
    again.close()


def test_of_two_that_take_a_port_at_once_one_listens() -> None:
    first = Listeners("127.0.0.1", 0, 2)
    second = Listeners("127.0.0.1", first.port, 2)
    second.listen()
    with pytest.raises(ServeError, match="in use"):
        first.listen()
    connect(second).close()
    first.close()
    second.close()


def test_nobody_can_connect_before_it_listens() -> None:
    listeners = Listeners("127.0.0.1", 0, 1)
    with pytest.raises(ConnectionRefusedError):
        connect(listeners)
    listeners.close()


def test_port_is_free_when_the_last_worker_has_closed_its_sockets() -> None:
    listeners = Listeners("127.0.0.1", 0, 2)
    listeners.listen()
    own = listeners.of(1)
    listeners.close(but=own)
    connect(listeners).close()
    listeners.close()
    with pytest.raises(ConnectionRefusedError):
        connect(listeners)


@pytest.mark.parametrize("host", ["localhost", ""])
def test_all_addresses_of_a_host_have_the_same_port(host: str) -> None:
    listeners = Listeners(host, 0, 2)
    listeners.listen()
    assert {listener.getsockname()[1] for listener in listeners.of(0) + listeners.of(1)} == {listeners.port}
    connect(listeners).close()
    listeners.close()


@pytest.mark.parametrize(("host", "names"), [("192.0.2.1", "assign"), ("no.such.host.invalid", "no.such.host.invalid")])
def test_host_that_is_not_here_is_an_error(host: str, names: str) -> None:
    with pytest.raises(ServeError, match=rf"{names}.*--host"):
        Listeners(host, 8080, 1)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")])
def test_url(host: str, url: str) -> None:
    assert Listening(host, 1).url == url


@pytest.mark.parametrize(
    ("host", "everywhere", "readable", "local"),
    [
        ("127.0.0.1", False, False, "127.0.0.1"),
        ("127.8.8.8", False, False, "127.8.8.8"),
        ("::1", False, False, "[::1]"),
        ("localhost", False, False, "localhost"),
        ("0.0.0.0", True, True, "127.0.0.1"),  # noqa: S104 -- not listened on
        ("::", True, True, "[::1]"),
        ("192.0.2.7", False, True, "192.0.2.7"),
        ("2001:db8::7", False, True, "[2001:db8::7]"),
    ],
)
def test_what_a_person_reads_of_a_host(host: str, local: str, *, everywhere: bool, readable: bool) -> None:
    plain, secure = Listening(host, 8080), Listening(host, 8080, "https")
    assert (plain.is_everywhere, plain.is_readable, secure.is_readable) == (everywhere, readable, False)
    assert plain.local_url == f"http://{local}:8080"
    if everywhere:
        assert "0.0.0.0" not in plain.url  # noqa: S104 -- not listened on
        assert "[::]" not in plain.url
    else:
        assert plain.url == plain.local_url


def test_an_error_says_who_holds_the_port() -> None:
    held = Listeners("127.0.0.1", 0, 1)
    held.listen()
    with pytest.raises(ServeError, match=r"cannot listen on 127\.0\.0\.1:\d+: .* Ann's proxy holds it; choose one"):
        Listeners("127.0.0.1", held.port, 1, lambda _host, _port: "Ann's proxy holds it")
    held.close()
