"""Providers that are clumsy or hostile, at a running proxy: framings, early answers, bounds, endless work."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time

import pytest

from tests.lane.test_client import FILLER, FLAT, MOST, SECONDS, waits_of_others
from tests.made import Made
from tests.processes import Proxy
from tests.rawclient import MODELS, Answer, connected, labelled, request
from tests.upstream import PLAIN, Asked, Upstream, answering

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b'{"a": 1, "b": [2, 3]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])


def ask(lane: Proxy, *lines: str, method: str = "POST", version: str = "HTTP/1.1") -> Answer:
    with connected(lane.port) as client:
        body = ("Content-Length: 2",) if method == "POST" else ()
        client.send(request(lane, *lines, *body, method=method, version=version) + (b"{}" if body else b""))
        return client.read(method)


# --- framings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"Content-Length: %d, ,%d,\r\n\r\n%s" % (len(BODY), len(BODY), BODY),
        OK + b"Content-Length: 0%d\r\nContent-Length:%d\r\n\r\n%s" % (len(BODY), len(BODY), BODY),
        OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"Transfer-Encoding:\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"Transfer-Encoding: , chunked ,\r\n\r\n" + CHUNKS,
        OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS,
        OK + b"Transfer-Encoding\t: chunked\r\ncontent-length : 3\r\n\r\n" + CHUNKS,
        OK + CHUNKED + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + CHUNKS,
        OK + CHUNKED + b"Content-Length: five\r\n\r\n" + CHUNKS,
        OK + CHUNKED + CHUNKED + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
        OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
        OK + CHUNKED + b"\r\n" + CHUNKS.replace(b"5\r\n", b"5  \r\n", 1),
        OK + CHUNKED + b"\r\n" + CHUNKS.replace(b"5\r\n", b"5 ; a = b\r\n", 1),
        OK + CHUNKED + b"\r\n" + CHUNKS[:-2] + b"X-Sum : 1\r\n\r\n",
        OK + LENGTH + b"X-Fold: a\r\n\tb\r\n\r\n" + BODY,
        (OK + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    ],
    ids=[
        "list with empty elements", "zero in front", "identity", "no coding", "empty codings", "parameter",
        "spaces before colons", "chunked and different lengths", "chunked and a word", "chunked three times",
        "folded", "spaces after a size", "spaces in an extension", "space in a trailer", "folded field", "lone LF",
        "old and chunked",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_an_odd_framing_passes_once(version: str, wire: bytes, lane: Proxy, upstream: Upstream) -> None:
    """The provider keeps its connection open: whoever waited for its end would wait for long."""
    label, line = labelled()
    answer = ask(lane, line, upstream.script(answering(wire)), version=version)
    assert (answer.status, answer.body, answer.whole) == (200, BODY, True)
    assert not {b"content-length", b"transfer-encoding"} <= answer.headers.keys()
    assert not {b"content-length", b"transfer-encoding"} & set(answer.repeated)
    event = lane.event(label)
    assert (event["status"], event["end_reason"]) == (200, "complete")


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Transfer-Encoding: gzip\r\n", gzip.compress(BODY)),
        (b"Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", gzip.compress(BODY)),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked, gzip\r\n", gzip.compress(BODY)),
    ],
    ids=["gzip", "gzip and a length", "chunked, gzip"],
)
def test_another_coding_passes_as_it_is(lines: bytes, body: bytes, lane: Proxy, upstream: Upstream) -> None:
    """It ends with the connection, in no chunks of ours, and beside no length."""
    script = upstream.script(answering(OK + lines + b"\r\n" + body, close=True))
    with connected(lane.port) as client:
        client.send(request(lane, script, "Content-Length: 2") + b"{}")
        head, _, rest = client.rest().partition(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert b"gzip" in head
    assert rest == body


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204), ("POST", 204), ("POST", 304)]
)
@pytest.mark.parametrize(
    "lines",
    [
        CHUNKED + LENGTH,
        LENGTH + CHUNKED,
        CHUNKED * 2,
        LENGTH * 2,
        LENGTH + b"Content-Length: 3\r\n",
        b"Content-Length: x\r\n",
    ],
    ids=["chunked and length", "length and chunked", "chunked twice", "length twice", "different lengths", "a word"],
)  # fmt: skip
def test_a_response_without_a_body_says_its_framing_once(
    lines: bytes, method: str, status: int, lane: Proxy, upstream: Upstream
) -> None:
    script = upstream.script(answering(b"HTTP/1.1 %d x\r\n%s\r\n" % (status, lines)))
    answer = ask(lane, script, method=method)
    assert (answer.status, answer.body, answer.whole) == (status, b"", True)
    assert not {b"content-length", b"transfer-encoding"} <= answer.headers.keys()
    assert not {b"content-length", b"transfer-encoding"} & set(answer.repeated)


@pytest.mark.parametrize(
    "lines", [LENGTH + b"Content-Length: 3\r\n", b"Content-Length: 3, 21\r\n", b"Content-Length:\r\n"]
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_different_lengths_are_a_502(version: str, lines: bytes, lane: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    answer = ask(lane, line, upstream.script(answering(OK + lines + b"\r\n" + BODY)), version=version)
    assert (answer.status, answer.headers[b"x-should-retry"]) == (502, b"false")
    assert lane.event(label)["status"] == 502


# --- early answers ----------------------------------------------------------------------------------------------------

EARLY = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "205": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "307": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("wire", EARLY)
@pytest.mark.parametrize(
    ("lines", "version", "begun"),
    [
        (["Content-Length: 100000"], "HTTP/1.1", b"x" * 10),
        (["Content-Length: 100000"], "HTTP/1.1", b""),
        (["Content-Length: 100000", "Connection: close"], "HTTP/1.1", b"x" * 10),
        (["Content-Length: 100000", "Expect: 100-continue"], "HTTP/1.1", b""),
        (["Transfer-Encoding: chunked"], "HTTP/1.1", b"5\r\nxxxxx\r\n"),
        (["Content-Length: 100000"], "HTTP/1.0", b"x"),
    ],
    ids=["length", "nothing of it", "close", "expect", "chunked", "old"],
)
def test_an_early_answer_comes_once(
    lines: list[str], version: str, begun: bytes, wire: str, lane: Proxy, upstream: Upstream
) -> None:
    def answer_early(asked: Asked) -> None:
        asked.send(EARLY[wire])
        asked.wait_until_gone()

    label, line = labelled()
    with connected(lane.port) as client:
        client.send(request(lane, upstream.script(answer_early), line, *lines, version=version) + begun)
        answer = client.read()
        assert (answer.status, answer.whole) == (int(wire[:3]), True)
        assert client.rest() == b""
    event = lane.event(label)
    assert (event["status"], event["end_reason"]) == (answer.status, "complete")


@pytest.mark.parametrize("wire", ["204", "205", "401"])
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_an_early_answer_comes_though_the_provider_closes(
    reset: bool, wire: str, lane: Proxy, upstream: Upstream
) -> None:
    """While megabytes of the body are on their way: writing them fails, and the answer is there to be read."""

    def answer_early(asked: Asked) -> None:
        asked.send(EARLY[wire])
        if reset:
            asked.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asked.socket.close()
        asked.gone.set()

    script = upstream.script(answer_early)
    statuses = []
    for _ in range(8):
        with connected(lane.port) as client:
            # On a busy machine all of it may be on its way before the answer is read: then the connection would stay.
            client.send(request(lane, script, "Content-Length: 4096000", "Connection: close"))
            sending = threading.Thread(target=client.send, args=[b"x" * 4096] * 1000)
            sending.start()
            statuses.append(client.read().status)
            client.rest()
            sending.join()
    expected = int(wire[:3])
    # What arrives between a look at the socket and a write to it cannot be seen.
    assert statuses.count(expected) >= (5 if reset else 7), statuses


# --- what never ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"HTTP/1.1 200 OK", b" " * 65536),
        (b"HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 13000),
        (b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n", b" fold\r\n" * 9000),
        (b"HTTP/1.0 200 OK\r\n", FILLER),
        (OK + CHUNKED + b"\r\n2;", FILLER),
        (OK + CHUNKED + b"\r\n2\r\n{}\r\n2;a=", FILLER),
        (OK + CHUNKED + b"\r\n" + b"0" * 15, b"0" * 65536),
        (OK + CHUNKED + b"\r\n2", b" " * 65536),
        (OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", b"a:b\r\n" * 13000),
        (OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX-Fold: a\r\n", b" fold\r\n" * 9000),
        (OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", FILLER),
        (b"HTTP/1.1 103 Early Hints\r\n", b"a:b\r\n" * 13000),
    ],
    ids=[
        "status line", "small lines", "folds", "old", "extension", "later extension", "zeros", "spaces",
        "small trailers", "folded trailers", "trailer name", "interim",
    ],
)  # fmt: skip
def test_a_provider_whose_framing_never_ends(begun: bytes, piece: bytes, lane: Proxy, upstream: Upstream) -> None:
    sent = []

    def answer(asked: Asked) -> None:
        asked.read()
        asked.send(begun)
        sent.append(asked.send_endlessly(piece, MOST))

    label, line = labelled()
    script = upstream.script(answer)
    before, began = lane.resident_bytes(), time.monotonic()
    said = ask(lane, script, line)
    assert not said.whole or said.status == 502
    assert lane.event(label)["end_reason"] == "upstream_error"
    assert lane.resident_bytes() - before < FLAT
    assert time.monotonic() - began < SECONDS
    assert sent != [MOST]


# --- work without end -------------------------------------------------------------------------------------------------

EVENT = b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1},"choices":[]}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "wire",
    [
        Made(lambda: OK + CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 400_000 + b"0\r\n\r\n"),
        Made(lambda: SSE + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT * 4000) + b"0\r\n\r\n"),
        Made(lambda: SSE + CHUNKED + b"\r\n" + chunk(EVENT * 30_000) + b"0\r\n\r\n"),
        Made(lambda: SSE + CHUNKED + b"\r\n" + chunk(b":\n" * 1_000_000) + b"0\r\n\r\n"),
        Made(lambda: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 40_000 + PLAIN),
        Made(lambda: (b"HTTP/1.1 103 Early Hints\r\n" + b"a: b\r\n" * 900 + b"\r\n") * 400 + PLAIN),
        Made(lambda: b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000 + PLAIN),
    ],
    ids=["bytes", "events in bytes", "events", "comments", "interim", "large interim", "continue"],
)  # fmt: skip
def test_much_work_keeps_nobody_waiting(wire: bytes, lane: Proxy, upstream: Upstream) -> None:
    script = upstream.script(answering(wire, close=True))

    def call() -> None:
        with connected(lane.port) as client:
            client.send(request(lane, script, "Connection: close", "Content-Length: 2") + b"{}")
            client.socket.settimeout(30)
            assert client.rest().startswith(b"HTTP/1.1 ")

    waits = waits_of_others(lane, threading.Thread(target=call))
    assert waits[len(waits) // 2] < 0.5
    assert waits[-1] < 2.0


def test_a_large_answer_arrives_as_it_was_sent(lane: Proxy, upstream: Upstream) -> None:
    """In whatever pieces it was read; and the connection serves the next request."""
    body = bytes(range(256)) * 12_000
    chunks = b"".join(map(chunk, (body[:1], body[1:70_000], body[70_000:]))) + b"0\r\n\r\n"
    for framing, wire in ((b"Content-Length: %d\r\n" % len(body), body), (CHUNKED, chunks)):
        script = upstream.script(answering(OK + framing + b"\r\n" + wire))
        with connected(lane.port) as client:
            for _ in range(2):
                client.send(request(lane, script, method="GET", target=MODELS))
                assert client.read("GET").body == body
        first, second = upstream.asked(script, 2)
        assert first.connection == second.connection
