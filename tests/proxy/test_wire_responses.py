"""What providers should not send, and do: what can only be read in one way passes, the rest is no answer."""

from __future__ import annotations

import pytest

from tests.processes import Proxy
from tests.rawclient import Answer, connected, labelled, request
from tests.upstream import Asked, Upstream, answering

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"a": 1, "b": [2, 3]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])


def ask(proxy: Proxy, *lines: str) -> Answer:
    """Make one call on a connection of its own."""
    with connected(proxy.port) as client:
        client.send(request(proxy, *lines, "Content-Length: 2") + b"{}")
        return client.read()


@pytest.mark.parametrize(
    "wire",
    [
        OK + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
        OK + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n" + CHUNKS,
        OK + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
        OK + LENGTH + LENGTH + b"\r\n" + BODY,
        OK + b"Content-Length: %d, %d\r\n\r\n%s" % (len(BODY), len(BODY), BODY),
        OK + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
        OK + b"Transfer-Encoding: Chunked\r\n\r\n" + CHUNKS,
        OK + b"Content-Length : %d\r\n\r\n%s" % (len(BODY), BODY),
        OK + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
        OK + b"X-Odd \t: x\r\n" + LENGTH + b"\r\n" + BODY,
        OK + CHUNKED + b"\r\n" + CHUNKS.replace(b"5\r\n", b"5;name=value\r\n", 1),
        OK + CHUNKED + b"\r\n" + CHUNKS.replace(b"5\r\n", b"0005\r\n", 1),
        OK + b"X-Empty:\r\nX-Trailing: value \t \r\n" + LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"X-Latin: caf\xe9\r\n" + LENGTH + b"\r\n" + BODY,
    ],
    ids=[
        "length and chunked",
        "another length and chunked",
        "chunked and length",
        "equal lengths",
        "list of equal lengths",
        "chunked twice",
        "list of chunked",
        "capital",
        "space before the colon of a length",
        "space before the colon of a coding",
        "space before a colon",
        "chunk extension",
        "zeros before a chunk size",
        "spaces after values",
        "no reason",
        "no space after the status",
        "latin-1",
    ],
)  # fmt: skip
def test_an_odd_framing_passes(wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    """On one connection, at the end of whose answer the next begins: its end was found, and nobody waits for more."""
    label, line = labelled()
    script = upstream.script(answering(wire))
    with connected(wired.port) as client:
        for _ in range(2):
            client.send(request(wired, script, line, "Content-Length: 2") + b"{}")
            answer = client.read()
            assert (answer.status, answer.body, answer.whole) == (200, BODY, True)
            assert not {b"content-length", b"transfer-encoding"} <= answer.headers.keys()
            assert not {b"content-length", b"transfer-encoding"} & set(answer.repeated)
    rows = wired.events(f"SELECT status, end_reason FROM events WHERE user_label = '{label}'")  # noqa: S608 -- our own
    assert [tuple(row.values()) for row in rows] == [(200, "complete")] * 2


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n" + CHUNKS,
        b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"Content-Length: 00%d\r\n\r\n%s" % (len(BODY), BODY),
        OK + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"Transfer-Encoding: identity\r\n\r\n" + BODY,
        OK + b"Transfer-Encoding: \r\n" + LENGTH + b"\r\n" + BODY,
        b"HTTP/1.2 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    ],
    ids=["1.0 and chunked", "1.0", "zeros", "identity", "identity until it closes", "no coding", "1.2"],
)  # fmt: skip
def test_an_odd_framing_of_a_provider_that_closes_passes(wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    answer = ask(wired, upstream.script(answering(wire, close=True)), line)
    assert (answer.status, answer.body, answer.whole) == (200, BODY, True)
    assert wired.event(label)["end_reason"] == "complete"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=["204", "204 with both", "304 with both"],
)
def test_an_odd_head_without_a_body_passes(head: bytes, wired: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    answer = ask(wired, upstream.script(answering(head)), line)
    assert (answer.status, answer.body, answer.whole) == (int(head[9:12]), b"", True)
    assert wired.event(label)["end_reason"] == "complete"


@pytest.mark.parametrize(
    "wire",
    [
        OK + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY,
        OK + b"Content-Length: 3, %d\r\n\r\n%s" % (len(BODY), BODY),
        OK + b"Content-Length: five\r\n\r\n" + BODY,
        OK + b"Content-Length: -5\r\n\r\n" + BODY,
        OK + b"Content-Length: +5\r\n\r\n" + BODY,
        OK + b"Content-Length: 0x5\r\n\r\n" + BODY,
        OK + b"Content-Length: 5 5\r\n\r\n" + BODY,
        OK + b"X-Nul: a\x00b\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"X-Cr: a\rSet-Cookie: b\r\n" + LENGTH + b"\r\n" + BODY,
        OK + b"no colon\r\n" + LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 2x0 OK\r\n" + LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\n" + BODY,
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
    ids=[
        "different lengths",
        "list of different lengths",
        "word",
        "negative",
        "plus",
        "hexadecimal",
        "two numbers",
        "nul",
        "bare cr",
        "no colon",
        "status with a letter",
        "short status",
        "another protocol",
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_a_502(wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    """Not to be asked for again: the provider was told everything, and will bill it."""
    label, line = labelled()
    script = upstream.script(answering(wire, close=True))
    answer = ask(wired, script, line)
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (502, b"upstream_unreachable")
    assert answer.headers[b"x-should-retry"] == b"false"
    event = wired.event(label)
    assert (event["status"], event["end_reason"]) == (502, "upstream_error")
    assert len(upstream.asked(script)) == 1


@pytest.mark.parametrize(
    "wire",
    [
        OK + CHUNKED + b"\r\n5\r\n" + BODY[:5] + b"\r\nxyz\r\n",
        OK + CHUNKED + b"\r\n5\r\n" + BODY[:5] + b"no end of line",
        OK + CHUNKED + b"\r\n-1\r\n",
        OK + CHUNKED + b"\r\n0x5\r\n" + BODY[:5] + b"\r\n0\r\n\r\n",
        OK + CHUNKED + b"\r\nfffffffffffffffff\r\n" + BODY,
        OK + CHUNKED + b"\r\n5\r\n" + BODY[:5] + b"\r\n0\r\nno colon\r\n\r\n",
        OK + CHUNKED + b"\r\n5\r\n" + BODY[:5] + b"\r\n",
        OK + b"Content-Length: 100\r\n\r\n" + BODY,
    ],
    ids=["word", "no crlf", "negative", "hexadecimal mark", "huge", "bad trailer", "no last chunk", "short"],
)  # fmt: skip
def test_a_broken_body_is_no_whole_answer(wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    """The head may have gone on: then the client sees that the rest is missing."""
    label, line = labelled()
    answer = ask(wired, upstream.script(answering(wire, close=True)), line)
    assert not answer.whole or (answer.status, answer.headers[b"x-should-retry"]) == (502, b"false")
    assert wired.event(label)["end_reason"] == "upstream_error"


@pytest.mark.parametrize(
    "head",
    [OK, b"HTTP/1.0 200 OK\r\n", OK + b"Connection: close\r\n", OK + b"Connection: keep-alive\r\n"],
    ids=["1.1", "1.0", "close", "keep-alive"],
)
def test_a_response_that_ends_with_its_connection(head: bytes, wired: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    answer = ask(wired, upstream.script(answering(head + b"\r\n", BODY[:7], BODY[7:], close=True)), line)
    assert (answer.status, answer.body, answer.whole) == (200, BODY, True)
    event = wired.event(label)
    assert (event["end_reason"], event["response_bytes"]) == ("complete", len(BODY))


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        ("HEAD", OK + LENGTH + b"\r\n"),
        ("HEAD", OK + CHUNKED + b"\r\n"),
        ("HEAD", OK + b"\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n" + CHUNKED + b"\r\n"),
        ("GET", OK + b"Content-Length: 0\r\n\r\n"),
    ],
    ids=[
        "head with a length",
        "head with chunked",
        "head without",
        "204 with a length",
        "204 without",
        "304 with a length",
        "304 with chunked",
        "no bytes",
    ],
)  # fmt: skip
def test_a_response_without_a_body(method: str, wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    """Nobody waits for one, and the next request on the connection has an answer of its own."""
    script = upstream.script(answering(wire))
    label, line = labelled()
    with connected(wired.port) as client:
        client.send(request(wired, script, line, method=method))
        answer = client.read(method)
        assert (answer.status, answer.body, answer.whole) == (int(wire[9:12]), b"", True)
        client.send(request(wired, upstream.script(answering(OK + LENGTH + b"\r\n" + BODY)), method="GET"))
        assert client.read("GET").body == BODY
    assert wired.event(label)["end_reason"] == "complete"


@pytest.mark.parametrize(
    "stray",
    [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray", b"\r\n\r\nHTTP/1.1 500 Stray\r\n\r\n"],
    ids=["a byte", "a response", "another response"],
)
@pytest.mark.parametrize(
    "first", [OK + LENGTH + b"\r\n" + BODY, b"HTTP/1.1 204 No Content\r\n\r\n"], ids=["200", "204"]
)
def test_what_comes_after_the_end_of_a_response(first: bytes, stray: bytes, wired: Proxy, upstream: Upstream) -> None:
    """It is nobody's answer: the connection is given up, and the next request goes on another."""
    script = upstream.script(answering(first + stray))
    clean = upstream.script(answering(OK + LENGTH + b"\r\n" + BODY))
    with connected(wired.port) as client:
        client.send(request(wired, script, "Content-Length: 2") + b"{}")
        answer = client.read()
        assert (answer.status, answer.body) == (int(first[9:12]), BODY if first.endswith(BODY) else b"")
        for _ in range(3):
            client.send(request(wired, clean, "Content-Length: 2") + b"{}")
            answer = client.read()
            assert (answer.status, answer.body) == (200, BODY)
    (strayed,) = upstream.asked(script)
    assert strayed.connection not in {asked.connection for asked in upstream.asked(clean, 3)}


def test_a_provider_that_closes_a_pooled_connection(wired: Proxy, upstream: Upstream) -> None:
    """After its answer, without saying so: the next request goes on another connection."""
    once = upstream.script(answering(OK + LENGTH + b"\r\n" + BODY, close=True))
    with connected(wired.port) as client:
        for number in range(5):
            client.send(request(wired, once, "Content-Length: 2") + b"{}")
            assert client.read().body == BODY
            # Its end has to be there first: a request that goes out before it is not sent again.
            assert upstream.asked(once, number + 1)[number].gone.wait(10)
    assert len(upstream.asked(once)) == 5


def test_a_request_that_was_sent_whole_is_not_sent_again(wired: Proxy, upstream: Upstream) -> None:
    """A provider that closes on the second request of a connection may have begun to bill it."""
    label, line = labelled()
    first = upstream.script(answering(OK + LENGTH + b"\r\n" + BODY))
    second = upstream.script(answering(close=True))
    with connected(wired.port) as client:
        client.send(request(wired, first, "Content-Length: 2") + b"{}")
        assert client.read().body == BODY
        client.send(request(wired, second, line, "Content-Length: 2") + b"{}")
        answer = client.read()
    assert (answer.status, answer.headers.get(b"x-should-retry")) == (502, b"false")
    assert wired.event(label)["end_reason"] == "upstream_error"
    assert len(upstream.asked(second)) == 1


@pytest.mark.parametrize(
    "wire",
    [
        OK + LENGTH + b"\r\n" + BODY,
        OK + CHUNKED + b"\r\n" + CHUNKS,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ],
    ids=["length", "chunked", "204", "307", "413"],
)
@pytest.mark.parametrize("then", ["rest", "leave"])
def test_an_answer_before_the_body_comes_once(then: str, wire: bytes, wired: Proxy, upstream: Upstream) -> None:
    """While the rest of the body is still to come; whether it comes or not, the request has one row."""

    def answer_early(asked: Asked) -> None:
        asked.send(wire)
        asked.wait_until_gone() if then == "leave" else asked.read()

    label, line = labelled()
    with connected(wired.port) as client:
        client.send(request(wired, upstream.script(answer_early), line, "Content-Length: 100000"), b"x" * 10)
        answer = client.read()
        assert (answer.status, answer.whole) == (int(wire[9:12]), True)
        assert answer.body == (BODY if answer.status == 200 else b"")
        if then == "rest":
            client.send(b"x" * 99990)
        client.half_close()
        assert client.rest() == b""
    assert (wired.event(label)["status"], wired.event(label)["end_reason"]) == (answer.status, "complete")
