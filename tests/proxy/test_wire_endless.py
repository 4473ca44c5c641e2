"""What never ends, from clients without a token and from providers: memory stays flat, and the connection ends."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.made import Made
from tests.processes import Proxy, cpu_seconds
from tests.rawclient import MODELS, RawClient, connected, labelled, request
from tests.upstream import PLAIN, Asked, Upstream, answering

MOST = 16 << 20
"""Bytes that each connection sends at most; nobody should take so many."""
FLAT = 12 << 20
"""By how much the worker's memory may grow, whatever is sent."""
STRANGERS = 4
"""Connections that send the same at once."""
SECONDS = 10.0
"""In which a connection of somebody without a token is closed, once its request stands still or never ends."""

STRANGER = b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: proxy\r\n"
CHUNKED = STRANGER + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FILLER = b"a" * 65536


# --- from clients -----------------------------------------------------------------------------------------------------


def flood(port: int, begun: bytes, piece: bytes) -> int:
    """Send without end and without reading, as an attacker does; returns how much was taken before the end."""
    taken = 0
    with connected(port) as client, contextlib.suppress(OSError):
        client.socket.sendall(begun)
        while taken < MOST:
            client.socket.sendall(piece)
            taken += len(piece)
    return taken


def heads_that_come_slowly(port: int) -> list[bytes]:
    """Send a byte now and then; return those of whom the connection is never closed."""
    begun = [
        b"G",
        b"GET / HTTP/1.1",
        STRANGER,
        STRANGER + b"X-Slow: ",
        STRANGER + b"Content-Length: 5\r\n\r\n",
        CHUNKED,
    ]
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        open_ones: dict[socket.socket, bytes] = {}
        for head in begun:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(head)
            selector.register(connection, selectors.EVENT_READ)
            open_ones[connection] = head
        began = time.monotonic()
        while open_ones and time.monotonic() - began < 2 * SECONDS:
            for key, _ in selector.select(timeout=0.5):
                connection = key.fileobj  # type: ignore[assignment]  # only sockets are registered
                with contextlib.suppress(OSError):
                    if connection.recv(65536):
                        continue
                selector.unregister(connection)
                del open_ones[connection]
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
        return list(open_ones.values())


@pytest.fixture(scope="module")
def slow_heads(wired: Proxy) -> Iterator[Future[list[bytes]]]:
    """Sent while the other tests of strangers run, since it takes ten seconds."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(heads_that_come_slowly, wired.port)


@pytest.mark.usefixtures("slow_heads")
@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", FILLER),
        (b"GET /", FILLER),
        (b"GET / HTTP/1.1\r\n", FILLER),
        (STRANGER + b"X-Endless: ", FILLER),
        (STRANGER, b"X-Endless: %s\r\n" % FILLER[:1000] * 64),
        (b"", b"\r\n" * 32768),
        (CHUNKED, FILLER),
        (CHUNKED + b"1;", FILLER),
        (CHUNKED + b"0" * 1000, b"0" * 65536),
        (CHUNKED, b"1;%s\r\nx\r\n" % FILLER[:4000] * 16),
        (CHUNKED + b"0\r\n", b"X-Endless: %s\r\n" % FILLER[:1000] * 64),
        (CHUNKED + b"0\r\nX-Endless: ", FILLER),
        (STRANGER + b"Content-Length: 9999999999\r\n\r\n", FILLER),
    ],
    ids=[
        "no request",
        "request line",
        "header name",
        "header",
        "headers",
        "blank lines",
        "chunk size",
        "chunk extension",
        "zeros",
        "small chunks",
        "trailers",
        "trailer",
        "body",
    ],
)  # fmt: skip
def test_a_stranger_that_never_ends(begun: bytes, piece: bytes, wired: Proxy, upstream: Upstream) -> None:
    before, came, began = wired.resident_bytes(), upstream.total(), time.monotonic()
    with ThreadPoolExecutor(STRANGERS) as pool:
        taken = list(pool.map(lambda _: flood(wired.port, begun, piece), range(STRANGERS)))
    grown, took = wired.resident_bytes() - before, time.monotonic() - began
    assert max(taken) < MOST, "everything was taken"
    assert grown < FLAT
    assert took < SECONDS
    assert upstream.total() == came


def test_strangers_whose_heads_come_slowly(slow_heads: Future[list[bytes]]) -> None:
    """A byte now and then keeps no connection open; one that has not begun a request may wait for longer."""
    assert slow_heads.result() == []


def test_an_idle_connection_is_kept(wired: Proxy) -> None:
    """Clients keep theirs for the next call: what bounds a slow head does not count between requests."""
    with connected(wired.port) as client:
        for _ in range(2):
            client.send(request(wired, method="GET", target=MODELS))
            assert client.read("GET").status == 200
            client.socket.settimeout(1.5)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(SECONDS)


# --- from providers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", FILLER),
        (b"HTTP/1.1 200 ", FILLER),
        (OK + b"X-Endless: ", FILLER),
        (OK, b"X-Endless: %s\r\n" % FILLER[:1000] * 64),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", FILLER),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", FILLER),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Endless: %s\r\n" % FILLER[:1000] * 64),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Endless: ", FILLER),
        (b"HTTP/1.1 103 Early Hints\r\nX-Endless: ", FILLER),
    ],
    ids=[
        "no response",
        "status line",
        "header",
        "headers",
        "chunk size",
        "chunk extension",
        "trailers",
        "trailer",
        "interim",
    ],
)  # fmt: skip
def test_a_provider_that_never_ends(begun: bytes, piece: bytes, wired: Proxy, upstream: Upstream) -> None:
    """Before its head went on it has given no answer; after that the answer is cut."""
    sent = []

    def answer(asked: Asked) -> None:
        asked.read()
        asked.send(begun)
        sent.append(asked.send_endlessly(piece, MOST))

    script = upstream.script(answer)
    label, line = labelled()
    before = wired.resident_bytes()
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2") + b"{}")
        said = client.read()
    event = wired.event(label)
    assert wired.resident_bytes() - before < FLAT
    assert event["end_reason"] == "upstream_error"
    assert not said.whole or (said.status, said.headers[b"x-should-retry"]) == (502, b"false")
    assert sent != [MOST], "everything was taken"


@pytest.mark.parametrize(("kilobytes", "status"), [(250, 200), (262, 502)])
def test_a_response_head_has_a_greatest_size(kilobytes: int, status: int, wired: Proxy, upstream: Upstream) -> None:
    lines = b"".join(b"X-%03d: %s\r\n" % (number, b"v" * 1017) for number in range(kilobytes))
    script = upstream.script(answering(OK + lines + b"Content-Length: 2\r\n\r\n{}"))
    with connected(wired.port) as client:
        client.send(request(wired, script, "Content-Length: 2") + b"{}")
        answer = client.read()
    assert answer.status == status
    if status == 200:
        assert sum(name.startswith((b"x-0", b"x-1")) for name in answer.headers) > 100


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"e" * 4000), True),
        (b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"e" * 4200), False),
        (b"2\r\n{}\r\n0\r\n%s\r\n" % (b"X-Sum: %s\r\n" % (b"v" * 1000) * 15), True),
        (b"2\r\n{}\r\n0\r\n%s\r\n" % (b"X-Sum: %s\r\n" % (b"v" * 1000) * 17), False),
    ],
    ids=["chunk line", "chunk line too long", "trailers", "trailers too long"],
)
def test_a_responses_lines_and_trailers_have_a_greatest_size(
    body: bytes, whole: bool, wired: Proxy, upstream: Upstream
) -> None:
    script = upstream.script(answering(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body))
    label, line = labelled()
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2") + b"{}")
        answer = client.read()
    assert (answer.whole and answer.status == 200) == whole
    assert wired.event(label)["end_reason"] == ("complete" if whole else "upstream_error")


# --- who does not read ------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_read(wired: Proxy, upstream: Upstream) -> None:
    """The provider waits with it; when it reads on, all is there."""
    size = 32 << 20
    stands_still = threading.Event()

    def answer(asked: Asked) -> None:
        asked.read()
        asked.send(OK + b"Content-Length: %d\r\n\r\n" % size)
        asked.socket.settimeout(1.0)
        sent = 0
        try:
            while sent < size:
                sent += asked.socket.send(FILLER[: size - sent])
        except TimeoutError:
            stands_still.set()
        asked.socket.settimeout(20.0)
        while sent < size:
            sent += asked.socket.send(FILLER[: size - sent])

    before = wired.resident_bytes()
    with connected(wired.port) as client:
        client.send(request(wired, upstream.script(answer), "Content-Length: 2") + b"{}")
        assert stands_still.wait(SECONDS)
        assert wired.resident_bytes() - before < FLAT
        assert len(client.read().body) == size


def test_a_provider_that_does_not_read(wired: Proxy, upstream: Upstream) -> None:
    """The client waits with it."""
    size = 32 << 20
    go_on = threading.Event()

    def answer(asked: Asked) -> None:
        go_on.wait(20)
        asked.read()
        asked.send(PLAIN)

    script = upstream.script(answer)
    before = wired.resident_bytes()
    with connected(wired.port) as client:
        client.send(request(wired, script, f"Content-Length: {size}"))
        client.socket.settimeout(1.0)
        sent, stands_still = 0, False
        while not stands_still:
            try:
                sent += client.socket.send(FILLER)
            except TimeoutError:
                stands_still = True
        assert sent < size
        assert wired.resident_bytes() - before < FLAT
        go_on.set()
        client.socket.settimeout(SECONDS)
        while sent < size:
            sent += client.socket.send(FILLER[: size - sent])
        assert client.read().status == 200
    (asked,) = upstream.asked(script)
    assert len(asked.body) == size


# --- work without end -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def another_caller(proxy: Proxy) -> Iterator[list[float]]:
    """Call all the while; gives how long the proxy worked before it answered each call, for whomever."""
    waits, workers = list[float](), proxy.workers()
    over = threading.Event()

    def call() -> None:
        with connected(proxy.port) as client:
            while not over.is_set():
                began = cpu_seconds(workers)
                client.send(request(proxy, method="GET", target=MODELS))
                assert client.read("GET").status == 200
                waits.append(cpu_seconds(workers) - began)

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call)
        try:
            yield waits
        finally:
            over.set()
            calling.result()


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        Made(lambda: OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"),
        Made(lambda: INTERIM * 40_000 + OK + b"Content-Length: 2\r\n\r\n{}"),
    ],
    ids=["one-byte chunks", "interim responses"],
)
def test_much_work_keeps_nobody_else_waiting(wire: bytes, way: str, wired: Proxy, upstream: Upstream) -> None:
    if way != "lane":  # the same within less time
        wire = wire.replace(INTERIM * 30_000, b"")
    # In pieces, because the provider gives up where one cannot be sent for a while.
    script = upstream.script(answering(*(wire[at : at + 10_000] for at in range(0, len(wire), 10_000))))
    with another_caller(wired) as waits, connected(wired.port) as client:
        client.send(request(wired, script, "Content-Length: 2") + b"{}")
        end = b"0\r\n\r\n" if b"chunked" in wire[:100] else b"{}"
        assert read_until(client, end) > 100_000
    assert waits
    assert max(waits) < 0.5


def read_until(client: RawClient, end: bytes) -> int:
    """Read as fast as can be, without parsing; returns how many bytes it were."""
    size, last = 0, b""
    while not last.endswith(end):
        data = client.receive()
        assert data, "closed before the end"
        size += len(data)
        last = (last + data)[-64:]
    return size


def test_one_byte_chunks_from_a_client_keep_nobody_else_waiting(wired: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    with another_caller(wired) as waits, connected(wired.port) as client:
        client.send(request(wired, script, "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n")
        assert client.read().status == 200
    assert waits
    assert max(waits) < 0.5
    assert len(upstream.asked(script)[0].body) == 100_000
