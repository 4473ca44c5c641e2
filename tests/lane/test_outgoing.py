"""What goes onto the wire for an effect, on both sides."""

from __future__ import annotations

import pytest

from metrion.lane.http1 import read_response_head
from metrion.lane.outgoing import REPEATABLE_BYTES, RequestWriter, ResponseWriter
from metrion.lane.wire import unambiguous
from metrion.model import Head, Headers
from metrion.relay.effects import (
    EndRequest,
    EndResponse,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
)

CHUNKED: Headers = ((b"Transfer-Encoding", b"chunked"),)
LENGTH: Headers = ((b"Content-Length", b"2"),)
TRAILERS: Headers = ((b"X-Sum", b"1"),)


def written(
    headers: Headers, *, minor: int = 1, ends: bool = False, trailers: Headers = ()
) -> tuple[bytes, bool, bool]:
    """What a client gets of a response with two bytes; whether its connection ends then, and whether by a reset."""
    writer = ResponseWriter()
    writer.begin(minor=minor, keep_alive=True)
    writer.interim(SendInterim(103, b"Early Hints", ()))
    writer.head(SendResponse(200, b"OK", headers, ends))
    if not ends:
        writer.data(SendResponseData(b"{}"))
    cut_by_reset = writer.cut_by_reset
    writer.end(EndResponse(trailers))
    return writer.take(), writer.closes, cut_by_reset


EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


@pytest.mark.parametrize(
    ("headers", "minor", "trailers", "wire", "closes", "by_reset"),
    [
        (LENGTH, 1, (), EARLY + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", False, False),
        (CHUNKED, 1, (), EARLY + IN_CHUNKS + b"\r\n", False, False),
        (
            CHUNKED, 1, TRAILERS,
            EARLY + IN_CHUNKS + b"X-Sum: 1\r\n\r\n", False, False,
        ),
        (CHUNKED, 0, (), b"HTTP/1.1 200 OK\r\n\r\n{}", True, True),
        ((), 1, (), EARLY + b"HTTP/1.1 200 OK\r\n\r\n{}", True, True),
        (
            (*LENGTH, (b"Connection", b"Close")), 1, (),
            EARLY + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}", True, False,
        ),
    ],
    ids=["length", "chunked", "trailers", "HTTP/1.0", "until close", "close"],
)  # fmt: skip
def test_responses(headers: Headers, minor: int, trailers: Headers, wire: bytes, closes: bool, by_reset: bool) -> None:
    assert written(headers, minor=minor, trailers=trailers) == (wire, closes, by_reset)


def test_a_response_without_a_body_has_no_last_chunk() -> None:
    assert written(CHUNKED, ends=True)[0] == EARLY + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(headers: Headers = CHUNKED) -> RequestWriter:
    writer = RequestWriter()
    writer.keep()
    writer.head(SendRequest(b"POST", Head(b"/v1", headers), ends=False))
    writer.data(SendRequestData(b"{}"))
    return writer


def test_a_request_goes_out_in_one_piece_and_once_more_where_it_is_kept() -> None:
    writer = request()
    writer.end(EndRequest(TRAILERS))
    whole = b"POST /v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert (writer.take(), writer.take(), writer.ended) == (whole, b"", True)
    assert writer.again()
    assert writer.take() == whole
    assert not writer.again()


@pytest.mark.parametrize("why", ["forgotten", "dropped", "too long"])
def test_a_request_is_not_sent_again(why: str) -> None:
    writer = request(LENGTH)
    writer.take()
    match why:
        case "forgotten":
            writer.forget()
        case "dropped":
            writer.drop()
        case _:
            writer.data(SendRequestData(b"x" * REPEATABLE_BYTES))
            writer.take()
    assert not writer.again()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"Content-Length: 5\r\n", [(b"Content-Length", b"5")]),
        (b"Content-Length: 5\r\nX-A: 1\r\nContent-Length: 5\r\n", [(b"Content-Length", b"5"), (b"X-A", b"1")]),
        (b"Content-Length: 5, 5\r\n", [(b"Content-Length", b"5")]),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", [(b"Transfer-Encoding", b"chunked")]),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", [(b"Transfer-Encoding", b"chunked")]),
        (b"Transfer-Encoding: gzip\r\n", [(b"Transfer-Encoding", b"gzip")]),
        (b"X-A : 1\r\n", [(b"X-A", b"1")]),
        (b"Content-Length: 5, ,5,\r\n", [(b"Content-Length", b"5")]),
        (b"Transfer-Encoding: Chunked;q=1\r\n", [(b"Transfer-Encoding", b"chunked")]),
        (b"Transfer-Encoding: gzip, chunked\r\n", [(b"Transfer-Encoding", b"gzip, chunked")]),
        (
            b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked, chunked\r\n",
            [(b"Transfer-Encoding", b"gzip, chunked")],
        ),
        (b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", [(b"Transfer-Encoding", b"gzip")]),
        (b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n", [(b"Content-Length", b"5")]),
        (b"Transfer-Encoding: identity\r\n", []),
        (b"Transfer-Encoding:\r\nContent-Length: 5\r\n", [(b"Content-Length", b"5")]),
    ],
)
def test_framing_is_said_once(sent: bytes, said: list[tuple[bytes, bytes]]) -> None:
    found = read_response_head(b"HTTP/1.1 200 OK\r\n" + sent + b"\r\n", method=b"GET")
    assert found is not None
    assert list(unambiguous(found[0])) == said


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"Content-Length: 5\r\n", [(b"Content-Length", b"5")]),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", [(b"Content-Length", b"5")]),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", []),
        (b"Content-Length: five\r\n", []),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", [(b"Transfer-Encoding", b"chunked")]),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", [(b"Transfer-Encoding", b"chunked")]),
    ],
)
@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304), (b"POST", 204), (b"POST", 103)])
def test_framing_of_a_response_without_a_body_is_said_once_too(
    method: bytes, status: int, sent: bytes, said: list[tuple[bytes, bytes]]
) -> None:
    found = read_response_head(b"HTTP/1.1 %d x\r\n%b\r\n" % (status, sent), method=method)
    assert found is not None
    assert list(unambiguous(found[0])) == said


def test_a_body_in_another_coding_ends_with_the_connection() -> None:
    """Chunks would be a framing that the head does not name."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"
    assert written(((b"Transfer-Encoding", b"gzip"),)) == (EARLY + head + b"{}", True, True)
