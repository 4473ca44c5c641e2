"""Real sockets and servers, on both loops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import certifi
import pytest

from metrion.lane import connect as module
from metrion.lane.connect import (
    Address,
    ConnectError,
    Resolve,
    SocketAddress,
    connect,
    in_turn,
    open_socket,
    tls_context,
)
from metrion.model import Origin
from tests.lane.conftest import Run, open_files, until
from tests.tls import self_signed

V4, V6 = socket.AF_INET, socket.AF_INET6


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by descent

    def data_received(self, data: bytes) -> None:
        self.received.set_result(data)


def no_tls(origin: Origin) -> ssl.SSLContext:
    raise AssertionError(origin)


def origin_of(listening: socket.socket, scheme: str = "http", host: str = "127.0.0.1") -> Origin:
    return Origin(scheme, host, listening.getsockname()[1])


def resolving(*addresses: Address) -> Resolve:
    async def resolve(host: str, port: int, **_: int) -> list[tuple[int, int, int, str, SocketAddress]]:
        return [(family, 0, 0, "", address) for family, address in addresses]

    return resolve


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def dead() -> Iterator[Address]:
    """An address of IPv6 that never answers: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("::1", 0), family=V6, backlog=0))
        address = listening.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(V6))
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield V6, address


@contextlib.asynccontextmanager
async def tls_server(folder: Path, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Speak TLS as ``localhost``, and send the names that the client named, and the protocol."""
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder))
    context.set_alpn_protocols(["h2", "http/1.1"])
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken = writer.get_extra_info("ssl_object")
        writer.write(repr((names, spoken.selected_alpn_protocol())).encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


# --- what is connected ------------------------------------------------------------------------------------------------


def test_plain_connection(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        client = await connect(origin_of(listener), Client, no_tls)
        server, _ = listener.accept()
        server.sendall(b"hello")
        assert await client.received == b"hello"
        client.transport.write(b"world")
        assert await asyncio.to_thread(server.recv, 10) == b"world"
        server.close()
        client.transport.close()

    run(check())


def test_options_of_the_socket(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        opened = await open_socket("127.0.0.1", listener.getsockname()[1])
        with opened:
            assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60

    run(check())


def test_tls_connection(run: Run, tmp_path: Path) -> None:
    async def check() -> None:
        async with tls_server(tmp_path) as port:
            context = tls_context(str(tmp_path / "server.pem"))
            client = await connect(Origin("https", "localhost", port), Client, lambda _: context)
            assert await client.received == repr((["localhost"], "http/1.1")).encode()
            client.transport.close()

    run(check())


# --- what is not ------------------------------------------------------------------------------------------------------


def test_connection_refused(run: Run, free: int) -> None:
    async def check() -> None:
        with pytest.raises(ConnectError, match=r"^connection refused$"):
            await connect(Origin("http", "127.0.0.1", free), Client, no_tls)

    run(check())


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64, "a..b", "a" * 300])
def test_name_that_is_none(run: Run, host: str) -> None:
    async def check() -> None:
        with pytest.raises(ConnectError, match=r"^the name cannot be resolved$"):
            await connect(Origin("http", host, 80), Client, no_tls)

    run(check())


@pytest.mark.parametrize(
    ("host", "trusts", "message"),
    [
        ("localhost", False, "^the certificate is not valid: self-signed certificate$"),
        ("127.0.0.1", True, "^the certificate is not valid: IP address mismatch, .*'127.0.0.1'$"),
    ],
)
def test_certificate_that_is_not_valid(run: Run, tmp_path: Path, host: str, trusts: bool, message: str) -> None:
    async def check() -> None:
        async with tls_server(tmp_path) as port:
            context = tls_context(str(tmp_path / "server.pem") if trusts else None)
            with pytest.raises(ConnectError, match=message):
                await connect(Origin("https", host, port), Client, lambda _: context)

    run(check())


def test_tls_that_is_too_old(run: Run, tmp_path: Path) -> None:
    async def check() -> None:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        async with tls_server(tmp_path, old) as port:
            context = tls_context(str(tmp_path / "server.pem"))
            with pytest.raises(ConnectError, match=r"^TLS failed: .*version|^the connection ended before TLS"):
                await connect(Origin("https", "localhost", port), Client, lambda _: context)

    run(check())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "^TLS failed: "),
        (b"", "^(the connection ended before TLS was set up|connection reset by peer|TLS failed: .*eof.*)$"),
    ],
)
def test_server_that_speaks_no_tls(run: Run, answer: bytes, message: str) -> None:
    async def check() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            origin = Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1])
            with pytest.raises(ConnectError, match=message):
                await connect(origin, Client, lambda _: tls_context())

    run(check())


# --- which address ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addresses", "order"),
    [
        ("", ""),
        ("6", "6"),
        ("6644", "6464"),
        ("4466", "4646"),
        ("44446", "46444"),
        ("464", "464"),
    ],
)
def test_families_take_turns(addresses: str, order: str) -> None:
    numbered: list[Address] = [({"4": V4, "6": V6}[kind], (at,)) for at, kind in enumerate(addresses)]
    turns = in_turn(numbered)
    assert "".join("4" if family == V4 else "6" for family, _ in turns) == order
    assert sorted(turns, key=lambda address: address[1]) == numbered
    assert all(
        [turn for turn in turns if turn[0] == kind] == [a for a in numbered if a[0] == kind] for kind in (V4, V6)
    )


def test_dead_address_beside_a_live_one(
    run: Run, listener: socket.socket, dead: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START_SECONDS", 0.01)

    async def check() -> None:
        before = open_files()
        opened = await open_socket("name", 1, resolving(dead, dead, (V4, listener.getsockname())))
        assert opened.getpeername() == listener.getsockname()
        opened.close()
        await until(lambda: open_files() <= before)

    run(check())


def test_failure_makes_way_at_once(
    run: Run, free: int, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START_SECONDS", 3600)

    async def check() -> None:
        refused = (V4, ("127.0.0.1", free))
        opened = await open_socket("name", 1, resolving(refused, refused, (V4, listener.getsockname())))
        assert opened.getpeername() == listener.getsockname()
        opened.close()

    run(check())


def test_second_address_is_left_alone_where_the_first_answers(run: Run, listener: socket.socket) -> None:
    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as second:
            second.setblocking(False)
            opened = await open_socket("name", 1, resolving((V4, listener.getsockname()), (V4, second.getsockname())))
            assert opened.getpeername() == listener.getsockname()
            opened.close()
            with pytest.raises(BlockingIOError):
                second.accept()

    run(check())


def test_only_one_of_several_that_answer_stays_open(
    run: Run, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_START_SECONDS", 0)

    async def check() -> None:
        before = open_files()
        opened = await open_socket("name", 1, resolving(*[(V4, listener.getsockname())] * 5))
        assert opened.getpeername() == listener.getsockname()
        opened.close()
        await until(lambda: open_files() <= before)

    run(check())


def test_first_failure_is_told_where_all_fail(run: Run, free: int) -> None:
    async def check() -> None:
        unreachable = (V4, ("255.255.255.255", 1))
        with pytest.raises(ConnectionRefusedError):
            await open_socket("name", 1, resolving((V4, ("127.0.0.1", free)), unreachable))

    run(check())


# --- callers that leave -----------------------------------------------------------------------------------------------


def test_caller_leaves_while_nothing_answers(run: Run, dead: Address) -> None:
    async def check() -> None:
        before = open_files()
        for addresses in ([dead], [dead, dead]):
            opening = asyncio.create_task(open_socket("name", 1, resolving(*addresses)))
            await until(lambda: open_files() > before)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await until(lambda: open_files() <= before)

    run(check())


def test_caller_leaves_in_the_middle_of_tls(run: Run, listener: socket.socket) -> None:
    async def leave() -> None:
        connecting = asyncio.create_task(connect(origin_of(listener, "https"), Client, lambda _: tls_context()))
        server, _ = await asyncio.to_thread(listener.accept)
        assert await asyncio.to_thread(server.recv, 1) == b"\x16"
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await asyncio.to_thread(read_until_closed, server)
        server.close()

    async def check() -> None:
        await leave()  # what a loop opens once, it keeps
        before = open_files()
        for _ in range(3):
            await leave()
        await until(lambda: open_files() <= before)

    run(check())


def test_caller_leaves_at_any_step(run: Run, tmp_path: Path) -> None:
    """Wherever that is, nothing is left, or the connection is made."""

    async def check() -> None:
        async with tls_server(tmp_path) as port:
            context = tls_context(str(tmp_path / "server.pem"))
            before = open_files()
            steps, left = 0, 0
            while True:
                connecting = asyncio.create_task(connect(Origin("https", "localhost", port), Client, lambda _: context))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if connecting.done():
                    connecting.result().transport.close()
                    break
                connecting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    (await connecting).transport.close()
                left += connecting.cancelled()
                steps += 1
            assert left > 3
            await until(lambda: open_files() <= before)

    run(check())


def read_until_closed(server: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while server.recv(4096):
            pass


# --- trust ------------------------------------------------------------------------------------------------------------


def test_trust_is_certifis_or_one_files(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    everybodys, ours = tls_context(), tls_context(str(certificate))
    assert len(everybodys.get_ca_certs()) == Path(certifi.where()).read_text("ascii").count("BEGIN CERTIFICATE")
    assert [ca["subject"] for ca in ours.get_ca_certs()] == [((("commonName", "localhost"),),)]
    for context in (everybodys, ours):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert not context.hostname_checks_common_name


def test_file_to_trust_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        tls_context("/nowhere.pem")
