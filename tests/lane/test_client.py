"""Clients that are clumsy or hostile, at a running proxy: bounds, half-closes, trailers, and work that never ends."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.credentials import OWN_KEY
from tests.made import Made
from tests.processes import Proxy, cpu_seconds
from tests.rawclient import MODELS, connected, labelled, request
from tests.upstream import PLAIN, Asked, Upstream, answering

MOST = 16 << 20
FLAT = 40 << 20
SECONDS = 15.0
FILLER = b"a" * 65536
EXPECT = "Expect: 100-continue"
CHUNKED = "Transfer-Encoding: chunked"


# --- what never ends --------------------------------------------------------------------------------------------------


def flood(port: int, begun: bytes, piece: bytes) -> int:
    taken = 0
    with connected(port) as client, contextlib.suppress(OSError):
        client.socket.sendall(begun)
        while taken < MOST:
            client.socket.sendall(piece)
            taken += len(piece)
    return taken


@pytest.mark.parametrize("known", [True, False], ids=["token", "no token"])
@pytest.mark.parametrize(
    ("lines", "version", "begun", "piece"),
    [
        ([CHUNKED], "HTTP/1.1", b"", FILLER),
        ([CHUNKED], "HTTP/1.1", b"2;", FILLER),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n5;a=", FILLER),
        ([CHUNKED], "HTTP/1.1", b"2;a", b'="a";b' * 9000),
        ([CHUNKED], "HTTP/1.1", b"0" * 1000, b"0" * 65536),
        ([CHUNKED], "HTTP/1.1", b"", b"\r\n" * 32768),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\nX-Endless: ", FILLER),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\n", b"a:b\r\n" * 13000),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\n", b"X-Sum: %s\r\n" % FILLER[:1000] * 64),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\nX-Fold: a\r\n", b" fold\r\n" * 9000),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\n", FILLER),
        ([CHUNKED, EXPECT], "HTTP/1.1", b"2;", FILLER),
        ([CHUNKED, EXPECT], "HTTP/1.1", b"2\r\n{}\r\n0\r\n", b"a:b\r\n" * 13000),
        ([CHUNKED], "HTTP/1.0", b"2;", FILLER),
    ],
    ids=[
        "chunk size", "extension", "later extension", "many extensions", "zeros", "blank lines", "trailer",
        "small trailers", "trailers", "folds", "trailer name", "expected extension", "expected trailers", "old",
    ],
)  # fmt: skip
def test_a_body_whose_framing_never_ends(
    known: bool, lines: list[str], version: str, begun: bytes, piece: bytes, lane: Proxy, upstream: Upstream
) -> None:
    script = upstream.script(answering(PLAIN))
    head = request(lane, script, *lines, version=version, token=None if known else "")
    before, began = lane.resident_bytes(), time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: flood(lane.port, head + begun, piece), range(4)))
    assert max(taken) < MOST, "everything was taken"
    assert time.monotonic() - began < SECONDS
    assert lane.resident_bytes() - before < FLAT
    assert not any(asked.complete for asked in upstream.asked(script))


@pytest.mark.parametrize("known", [True, False], ids=["token", "no token"])
@pytest.mark.parametrize(
    "piece",
    [b"a:b\r\n" * 13000, b" fold\r\n" * 9000, FILLER, b":" * 65536, b"\r" * 65536],
    ids=["lines", "folds", "name", "colons", "returns"],
)
def test_a_head_that_never_ends(known: bool, piece: bytes, lane: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    head = request(lane, script, "X-Last: 1", token=None if known else "")[:-2]
    before, began = lane.resident_bytes(), time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: flood(lane.port, head, piece), range(4)))
    assert max(taken) < MOST
    assert time.monotonic() - began < SECONDS
    assert lane.resident_bytes() - before < FLAT
    assert upstream.asked(script) == []


@pytest.mark.parametrize(
    "begun",
    [b"", b"1", b"1;a", b"1\r\n", b"0\r\n", b"0\r\na: b\r\n", b"0\r\na: "],
    ids=["nothing", "size", "extension", "data", "trailers", "a trailer", "half a trailer"],
)
def test_a_stranger_that_stands_still_is_closed_within_seconds(begun: bytes, lane: Proxy) -> None:
    with connected(lane.port) as client:
        client.socket.settimeout(SECONDS)
        client.send(request(lane, CHUNKED, token="") + begun)
        assert client.read().status == 401
        client.rest()


@pytest.mark.parametrize(("lines", "status"), [(900, 200), (1100, 431)])
def test_a_head_has_a_greatest_number_of_lines(lines: int, status: int, lane: Proxy) -> None:
    with connected(lane.port) as client:
        client.send(request(lane, *["a: b"] * lines, method="GET", target=MODELS))
        assert client.read("GET").status == status


# --- half-closes ------------------------------------------------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENTS = b'data: {"id": "1", "model": "gpt-4o-2024-08-06", "choices": []}\n\ndata: [DONE]\n\n'
ANSWERS = {
    "length": PLAIN,
    "chunked": STREAM + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(EVENTS), EVENTS),
    "until close": STREAM + b"\r\n" + EVENTS,
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    ("lines", "version", "body"),
    [
        (["Content-Length: 2"], "HTTP/1.1", b"{}"),
        (["Content-Length: 2", "Connection: close"], "HTTP/1.1", b"{}"),
        (["Content-Length: 2", EXPECT], "HTTP/1.1", b"{}"),
        ([CHUNKED], "HTTP/1.1", b"2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n"),
        (["Content-Length: 2"], "HTTP/1.0", b"{}"),
        (["Content-Length: 2", "Connection: keep-alive"], "HTTP/1.0", b"{}"),
    ],
    ids=["length", "close", "expect", "trailers", "old", "old and kept"],
)
def test_a_whole_request_before_a_half_close_is_answered(
    answer: str, lines: list[str], version: str, body: bytes, lane: Proxy, upstream: Upstream
) -> None:
    closed = threading.Event()

    def reply(asked: Asked) -> None:
        asked.read()
        closed.wait(20)
        asked.send(ANSWERS[answer])
        asked.close()

    label, line = labelled()
    script = upstream.script(reply)
    with connected(lane.port) as client:
        client.send(request(lane, script, line, *lines, version=version) + body)
        client.half_close()
        upstream.asked(script, 1)
        lane.health()  # by then the worker has seen the client's end, too
        closed.set()
        said = client.read()
        assert client.rest() == b""
    expected = {"length": b"{}", "no body": b""}.get(answer, EVENTS)
    assert (said.status, said.body) == (204 if answer == "no body" else 200, expected)
    event = lane.event(label)
    assert (event["status"], event["end_reason"]) == (said.status, "complete")


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /openai/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 401),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
    ids=["health", "401", "404"],
)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_metrions_own_answers_before_a_half_close_all_come(wire: bytes, status: int, count: int, lane: Proxy) -> None:
    with connected(lane.port) as client:
        client.send(wire * count)
        client.half_close()
        assert [client.read("GET").status for _ in range(count)] == [status] * count
        assert client.rest() == b""


def test_a_refused_body_before_a_half_close_is_answered(lane: Proxy) -> None:
    for body in (b"{}", b"{"):
        with connected(lane.port) as client:
            client.send(request(lane, "Content-Length: 2", token="") + body)
            client.half_close()
            assert client.read().status == 401
            assert client.rest() == b""


# --- trailers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "AUTHORIZATION: Bearer {token}",
        "authorization:Basic dTpw",
        "X-API-KEY: {own}",
        "Cookie: a={own}",
        "Sec-WebSocket-Protocol: openai-insecure-api-key.{own}",
        "X-Metrion-Token: {token}",
        "X-METRION-TAG-Team: a",
        "x-metrion-anything: a",
        "Proxy-Authorization: Basic {own}",
        "Proxy-Connection: keep-alive",
        "X-Note: before {token} behind",
        "{token}: a",
        "Host: elsewhere",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
    ],
)
def test_a_trailer_that_does_not_leave(line: str, lane: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN))
    trailer = line.format(token=lane.token, own=OWN_KEY)
    for way in ([], [f"x-metrion-token: {lane.token}", f"x-api-key: {OWN_KEY}"]):
        with connected(lane.port) as client:
            head = request(lane, script, *way, CHUNKED, token="" if way else None)
            client.send(head + f"2\r\n{{}}\r\n0\r\nX-Sum: 1\r\n{trailer}\r\n\r\n".encode())
            assert client.read().status == 200
    assert [asked.trailers for asked in upstream.asked(script)] == [[(b"X-Sum", b"1")]] * 2


# --- what is not understood -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["head", "trailers"])
@pytest.mark.parametrize("value", [b"a\rb", b"\ra", b"a\r", b"a\0b", b"\0", b"a\r\r", b"a\x7fb", b"a\x0bb"])
def test_bytes_that_no_field_may_have(value: bytes, place: str, lane: Proxy, upstream: Upstream) -> None:
    script, smuggled = upstream.script(answering(PLAIN)), upstream.script(answering(PLAIN))
    field = b"X-Odd: " + value + b"\r\n"
    head = request(lane, script, CHUNKED)
    with connected(lane.port) as client:
        if place == "head":
            client.send(head[:-2] + field + b"\r\n0\r\n\r\n")
        else:
            client.send(head + b"2\r\n{}\r\n0\r\n" + field + b"\r\n")
        client.send(request(lane, smuggled, method="GET", target=MODELS))
        assert client.rest()[:12] in {b"", b"HTTP/1.1 400"}
        assert client.rest().count(b"HTTP/1.1 ") <= 1
    assert not any(asked.complete for asked in upstream.asked(script))
    assert upstream.asked(smuggled) == []


# --- work without end -------------------------------------------------------------------------------------------------


def waits_of_others(lane: Proxy, busy: threading.Thread) -> list[float]:
    """How long the proxy works, for whomever, before it answers each of another client's calls while this goes on."""
    waits, workers = list[float](), lane.workers()
    with connected(lane.port) as client:
        busy.start()
        while busy.is_alive() and len(waits) < 200:
            began = cpu_seconds(workers)
            client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read("GET").status == 200
            waits.append(cpu_seconds(workers) - began)
    busy.join()
    return sorted(waits)


def exchange(lane: Proxy, wire: bytes) -> threading.Thread:
    def run() -> None:
        with connected(lane.port) as client, contextlib.suppress(OSError):
            reading = threading.Thread(target=client.rest, daemon=True)
            reading.start()
            client.socket.sendall(wire)
            reading.join(20)

    return threading.Thread(target=run)


@pytest.mark.parametrize(
    "body",
    [
        Made(lambda: b"1\r\n \r\n" * 300_000 + b"0\r\n\r\n"),
        Made(lambda: b"1\r\n[\r\n" * 300_000 + b"0\r\n\r\n"),
        Made(lambda: b"1;a\r\n \r\n" * 200_000),
    ],
    ids=["spaces", "brackets", "extensions"],
)
@pytest.mark.parametrize("known", [True, False], ids=["token", "no token"])
def test_small_chunks_keep_nobody_waiting(known: bool, body: bytes, lane: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(PLAIN, close=True))
    head = request(lane, script, CHUNKED, "Connection: close", token=None if known else "")
    waits = waits_of_others(lane, exchange(lane, head + body + b"0\r\n\r\n"))
    assert waits[len(waits) // 2] < 0.5
    assert waits[-1] < 2.0


def test_heads_of_many_lines_keep_nobody_waiting(lane: Proxy) -> None:
    head = request(lane, *["a: b"] * 900, method="GET", target=MODELS, token="")
    waits = waits_of_others(lane, exchange(lane, head * 300 + request(lane, "Connection: close", token="")))
    assert waits[len(waits) // 2] < 0.5
    assert waits[-1] < 2.0


def test_a_large_body_arrives_as_it_was_sent(lane: Proxy, upstream: Upstream) -> None:
    """In whatever pieces it was read; and the request that follows it has its own answer."""
    script = upstream.script(answering(PLAIN))
    body = bytes(range(256)) * 12_000
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1], body[1:70_000], body[70_000:]))
    following = request(lane, method="GET", target=MODELS)
    for framing, wire in ((f"Content-Length: {len(body)}", body), (CHUNKED, chunks + b"0\r\n\r\n")):
        with connected(lane.port) as client:
            sending = threading.Thread(target=client.send, args=(request(lane, script, framing) + wire + following,))
            sending.start()
            assert client.read().status == 200
            assert client.read("GET").body == b"{}"
            sending.join()
    assert [asked.body == body for asked in upstream.asked(script)] == [True, True]
