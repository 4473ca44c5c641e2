"""Heads as tables of bytes, at every cut, and beside another reader."""

from __future__ import annotations

from collections.abc import Iterable

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.lane import http1
from metrion.lane.body import body_reader
from metrion.lane.http1 import CHUNKED, UNTIL_CLOSE, MalformedError, RequestHead, ResponseHead
from metrion.model import Headers

HOST = b"Host: h\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def request(fields: bytes = HOST, line: bytes = b"POST /v1 HTTP/1.1") -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def read_request(data: bytes) -> RequestHead:
    found = http1.read_request_head(data)
    assert found is not None
    head, end = found
    assert end == len(data)
    return head


def read_response(data: bytes, method: bytes = b"POST") -> ResponseHead:
    found = http1.read_response_head(data, method=method)
    assert found is not None
    head, end = found
    assert end == len(data)
    return head


# --- request heads ----------------------------------------------------------------------------------------------------


def test_request_head() -> None:
    data = request(b"hOsT: h\r\nx:a\r\nX:  b c\t\r\ny:\r\nz: \t \r\nq: \xc3\xa9\tu\r\n", b"GET /v1?a=%20&b=[] HTTP/1.1")
    headers = ((b"hOsT", b"h"), (b"x", b"a"), (b"X", b"b c"), (b"y", b""), (b"z", b""), (b"q", b"\xc3\xa9\tu"))
    assert read_request(data) == (b"GET", b"/v1?a=%20&b=[]", headers, 1, True, 0)


def test_head_stands_between_other_bytes() -> None:
    head = request()
    found = http1.read_request_head(bytearray(b"before" + head + b"GET / HTTP/1.1"), len(b"before"))
    assert found is not None
    assert found[0] == read_request(head)
    assert isinstance(found[0].method, bytes)
    assert found[1] == len(b"before" + head)


@pytest.mark.parametrize("target", [b"/", b"*", b"http://h/x", b"h:443", b"//", b"/~!\"$&'()*+,;=:@{}|\\^`<>"])
def test_targets_that_are_read(target: bytes) -> None:
    assert read_request(request(line=b"GET " + target + b" HTTP/1.1")).target == target


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"content-length: 17\r\n", 17),
        (b"Content-Length: 007\r\n", 7),
        (b"Content-Length: 5\r\ncontent-length: 5\r\n", 5),
        (b"Content-Length: 5, 5\r\n", 5),
        (b"Content-Length: 999999999999999999\r\n", 999999999999999999),
        (TE, CHUNKED),
        (b"transfer-encoding:CHUNKED\t\r\n", CHUNKED),
        (b"Host: other\r\n", 0),
        (b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", 0),
    ],
)
def test_body_of_a_request(fields: bytes, body: int) -> None:
    assert read_request(request(HOST + fields)).body == body


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", None, True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"Close", False),
        (b"1.1", b"x , close,keep-alive", False),
        (b"1.1", b"closed", True),
        (b"1.0", None, False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"x", False),
        (b"1.9", None, True),
    ],
)
def test_whether_the_client_stays(version: bytes, connection: bytes | None, keep_alive: bool) -> None:
    fields = HOST if connection is None else HOST + b"Connection: %b\r\n" % connection
    head = read_request(request(fields, b"GET / HTTP/" + version))
    assert (head.keep_alive, head.minor) == (keep_alive, 0 if version == b"1.0" else 1)


def test_http_1_0_needs_no_host() -> None:
    assert read_request(request(b"", b"GET / HTTP/1.0")).headers == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (request(line=b"GET  / HTTP/1.1"), "The request line is not"),
        (request(line=b"GET /"), "The request line is not"),
        (request(line=b"GET / HTTP/1.1 "), "The request line is not"),
        (request(line=b"GET / HTTP/2.0"), "The request line is not"),
        (request(line=b"GET / HTTP/1.10"), "The request line is not"),
        (request(line=b"GET / http/1.1"), "The request line is not"),
        (request(line=b"GET /a b HTTP/1.1"), "The request line is not"),
        (request(line=b"GET /a\tb HTTP/1.1"), "The request line is not"),
        (request(line=b"GET /# HTTP/1.1"), "The request line is not"),
        (request(line=b"GET /\xc3\xa9 HTTP/1.1"), "The request line is not"),
        (request(line=b"GET /\x7f HTTP/1.1"), "The request line is not"),
        (request(line=b"GET / HTTP/1.1\r"), "The request line is not"),
        (request(line=b" GET / HTTP/1.1"), "does not start with a method"),
        (request(line=b"G(T / HTTP/1.1"), "does not start with a method"),
        (request(line=b": / HTTP/1.1"), "does not start with a method"),
        (b"\x16\x03\x01\x02\x00\x01", "does not start with a method"),
        (b"\r\rGET / HTTP/1.1\r\n", "does not start with a method"),
        (request(b""), "no Host"),
        (request(HOST + b" more\r\n"), "goes on over several lines"),
        (request(HOST + b"x: a\r\n\tb\r\n"), "goes on over several lines"),
        (request(b" x\r\n" + HOST), "goes on over several lines"),
        (request(HOST + b"x: a\rb\r\n"), "carriage return"),
        (request(HOST + b"x: a\r\r\n"), "carriage return"),
        (request(HOST + b"x: a\0b\r\n"), "control character"),
        (request(HOST + b"x: a\x0bb\r\n"), "control character"),
        (request(HOST + b"x: a\x7f\r\n"), "control character"),
        (request(HOST + b"x\0: a\r\n"), "control character"),
        (request(HOST + b"x\r\n"), "no colon"),
        (request(HOST + b": a\r\n"), "has no name"),
        (request(HOST + b"x : a\r\n"), "a space between the name"),
        (request(HOST + b"x y: a\r\n"), "what no name may"),
        (request(HOST + b"x(y): a\r\n"), "what no name may"),
        (request(HOST + b"\xc3\xa9: a\r\n"), "what no name may"),
        (request(HOST + b"x: a\n"), "does not end with CRLF"),
        (b"GET / HTTP/1.1\r\nHost: h\n\n", "does not end with CRLF"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\n", "does not end with CRLF"),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", "The request line is not"),
        (request(HOST + TE + TE), "can only be chunked"),
        (request(HOST + b"Transfer-Encoding: chunked, chunked\r\n"), "can only be chunked"),
        (request(HOST + b"Transfer-Encoding: gzip, chunked\r\n"), "can only be chunked"),
        (request(HOST + b"Transfer-Encoding: identity\r\n"), "can only be chunked"),
        (request(HOST + b"Transfer-Encoding:\r\n"), "can only be chunked"),
        (request(HOST + b"Transfer-Encoding: \x0bchunked\r\n"), "control character"),
        (request(HOST + b"Transfer-Encoding: chunked\xa0\r\n"), "can only be chunked"),
        (request(HOST + TE, b"POST / HTTP/1.0"), "HTTP/1.0 has no"),
        (request(HOST + TE + b"Content-Length: 3\r\n"), "both"),
        (request(HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n"), "they differ"),
        (request(HOST + b"Content-Length: 3, 4\r\n"), "they differ"),
        (request(HOST + b"Content-Length: 3,\r\n"), "not a number"),
        (request(HOST + b"Content-Length:\r\n"), "not a number"),
        (request(HOST + b"Content-Length: -1\r\n"), "not a number"),
        (request(HOST + b"Content-Length: +1\r\n"), "not a number"),
        (request(HOST + b"Content-Length: 1_0\r\n"), "not a number"),
        (request(HOST + b"Content-Length: 0x1\r\n"), "not a number"),
        (request(HOST + b"Content-Length: 1 0\r\n"), "not a number"),
        (request(HOST + b"Content-Length: \xb2\r\n"), "not a number"),
        (request(HOST + b"Content-Length: 1000000000000000000\r\n"), "not a number"),
    ],
)
def test_requests_that_are_malformed(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message) as caught:
        http1.read_request_head(data)
    assert caught.value.status == 400


@pytest.mark.parametrize("blank", [b"", b"\r\n", b"\n", b"\n\r\n", b"\r\n" * 8, b"\n" * 16])
def test_blank_lines_before_a_request(blank: bytes) -> None:
    assert read_request(blank + request()).method == b"POST"
    assert http1.read_request_head(blank) is None
    assert http1.read_request_head(blank[:-1]) is None


@pytest.mark.parametrize("blank", [b"\r\n" * 9, b"\n" * 17, b"\r\n" * 8 + b"\n", b"\r\n" * 9999])
def test_too_many_blank_lines(blank: bytes) -> None:
    for data in (blank, blank + request()):
        with pytest.raises(MalformedError, match="blank lines"):
            http1.read_request_head(data)


@pytest.mark.parametrize("blank", [b"", b"\r\n" * 8])
def test_largest_request_head(blank: bytes) -> None:
    room = http1.MAX_REQUEST_HEAD - len(blank) - len(request(HOST + b"x: \r\n"))
    assert read_request(blank + request(HOST + b"x: %b\r\n" % (b"a" * room))).headers[1] == (b"x", b"a" * room)
    larger = blank + request(HOST + b"x: %b\r\n" % (b"a" * (room + 1)))
    assert http1.read_request_head(larger[: http1.MAX_REQUEST_HEAD - 1]) is None
    for size in (http1.MAX_REQUEST_HEAD, len(larger)):
        with pytest.raises(MalformedError, match="larger than is accepted") as caught:
            http1.read_request_head(larger[:size])
        assert caught.value.status == 431


@pytest.mark.parametrize("endless", [b"", b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\nx: a\r\n"])
def test_request_head_without_end(endless: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        http1.read_request_head(endless + b"a" * http1.MAX_REQUEST_HEAD)
    assert caught.value.status == 431


def test_what_is_shown_of_a_head_is_no_secret() -> None:
    head = read_request(request(HOST + b"Authorization: Bearer secret\r\n", b"GET /?key=secret HTTP/1.1"))
    answer = read_response(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n\r\n")
    assert "secret" not in repr(head) + repr(answer)


# --- response heads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "reason", "minor"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK", 1),
        (b"HTTP/1.0 404 Not Found", 404, b"Not Found", 0),
        (b"HTTP/1.1 200 ", 200, b"", 1),
        (b"HTTP/1.1 200", 200, b"", 1),
        (b"HTTP/1.1  200  \xc3\xa9\t!", 200, b"\xc3\xa9\t!", 1),
        (b"HTTP/1.1 529 Overloaded", 529, b"Overloaded", 1),
        (b"HTTP/1.1 999", 999, b"", 1),
    ],
)
def test_status_line(line: bytes, status: int, reason: bytes, minor: int) -> None:
    head = read_response(line + b"\r\n\r\n")
    assert (head.status, head.reason, head.minor) == (status, reason, minor)


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        (b"A: b\r\na:  c \t\r\n", ((b"A", b"b"), (b"a", b"c"))),
        (b"a : b\r\nc\t:d\r\n", ((b"a", b"b"), (b"c", b"d"))),
        (b"a: b\nc: d\r\n", ((b"a", b"b"), (b"c", b"d"))),
        (b"a: b\r\n c\r\n\td\r\ne: f\r\n", ((b"a", b"b c d"), (b"e", b"f"))),
        (b"a: b\n c\n", ((b"a", b"b c"),)),
        (b"a:\r\n \r\nb: c\r\n", ((b"a", b""), (b"b", b"c"))),
        (b"a: \x01\x7f\xff\r\n", ((b"a", b"\x01\x7f\xff"),)),
    ],
)
def test_response_fields_that_are_read(fields: bytes, headers: Headers) -> None:
    assert read_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n").headers == headers
    assert read_response(b"HTTP/1.1 200 OK\n" + fields + b"\n").headers == headers


KEPT, CLOSED = True, False


@pytest.mark.parametrize(
    ("fields", "body", "keep_alive"),
    [
        (b"Content-Length: 3\r\n", 3, KEPT),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", 3, KEPT),
        (b"Content-Length: 3, 3\r\n", 3, KEPT),
        (b"content-length : 3\r\n", 3, KEPT),
        (b"Content-Length: 3\r\nConnection: close\r\n", 3, CLOSED),
        (TE, CHUNKED, KEPT),
        (TE + TE, CHUNKED, KEPT),
        (b"Transfer-Encoding: chunked, Chunked\r\n", CHUNKED, KEPT),
        (b"Transfer-Encoding: gzip, chunked,\r\n", CHUNKED, KEPT),
        (TE + b"Content-Length: 3\r\n", CHUNKED, CLOSED),
        (TE + b"Content-Length: 3, 4\r\n", CHUNKED, CLOSED),
        (b"Transfer-Encoding: gzip\r\n", UNTIL_CLOSE, CLOSED),
        (b"Transfer-Encoding: chunked, gzip\r\nContent-Length: 3\r\n", UNTIL_CLOSE, CLOSED),
        (b"Transfer-Encoding:\r\n", UNTIL_CLOSE, CLOSED),
        (b"Connection: keep-alive\r\n", UNTIL_CLOSE, CLOSED),
    ],
)
def test_body_of_a_response(fields: bytes, body: int, keep_alive: bool) -> None:
    head = read_response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    assert (head.body, head.keep_alive) == (body, keep_alive)


@pytest.mark.parametrize(
    ("fields", "body", "keep_alive"),
    [
        (b"Content-Length: 3\r\n", 3, CLOSED),
        (b"Content-Length: 3\r\nConnection: keep-alive\r\n", 3, KEPT),
        (TE + b"Connection: keep-alive\r\n", CHUNKED, CLOSED),
    ],
)
def test_body_of_an_old_response(fields: bytes, body: int, keep_alive: bool) -> None:
    head = read_response(b"HTTP/1.0 200 OK\r\n" + fields + b"\r\n")
    assert (head.body, head.keep_alive) == (body, keep_alive)


@pytest.mark.parametrize("fields", [b"Content-Length: 3\r\n", TE, b"", b"Content-Length: x\r\n"])
@pytest.mark.parametrize(
    ("method", "status"),
    [(b"HEAD", 200), (b"POST", 100), (b"POST", 101), (b"GET", 103), (b"POST", 204), (b"GET", 304), (b"CONNECT", 200)],
)
def test_responses_without_a_body(fields: bytes, method: bytes, status: int) -> None:
    head = read_response(b"HTTP/1.1 %d x\r\n%b\r\n" % (status, fields), method)
    assert (head.body, head.keep_alive) == (0, True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"h", "does not start with HTTP/1."),
        (b"HTTP/2", "does not start with HTTP/1."),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "does not start with HTTP/1."),
        (b"HTTP/1.x 200 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1200 OK\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 OK\r\n a: b\r\n\r\n", "goes on over several lines"),
        (b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", "carriage return"),
        (b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", "control character"),
        (b"HTTP/1.1 200 OK\r\na\r\n\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "no name"),
        (b"HTTP/1.1 200 OK\r\na b: c\n\n", "what no name may"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "they differ"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "not a number"),
    ],
)
def test_responses_that_are_malformed(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        http1.read_response_head(data, method=b"POST")


def test_largest_response_head() -> None:
    line = b"HTTP/1.1 200 OK\r\nx: "
    room = http1.MAX_RESPONSE_HEAD - len(line) - 4
    assert len(read_response(line + b"a" * room + b"\r\n\r\n").headers[0][1]) == room
    with pytest.raises(MalformedError, match="larger than is accepted"):
        http1.read_response_head(line + b"a" * (room + 1) + b"\r\n\r\n", method=b"GET")


# --- any bytes --------------------------------------------------------------------------------------------------------

WORDS = [
    b"GET ", b"HEAD ", b"/v1", b" HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 204\r\n", b"Host: h\r\n", TE, b"\r",
    b"Content-Length: 3\r\n", b"content-length:4", b"Connection: close\r\n", b"x: y\r\n", b"\r\n", b"\n", b" ", b":",
    b"\0", b"#", b"\xff", b"chunked", b",", b"a", b"\t",
]  # fmt: skip
SOUP = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=3)), max_size=14).map(b"".join)
FIELD = st.tuples(
    st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,8}", fullmatch=True),
    st.sampled_from([b":", b": ", b":\t ", b" :"]),
    st.from_regex(
        rb"([\x21-\x7e\x80-\xff]([ \t\x21-\x7e\x80-\xff]{0,8}[\x21-\x7e\x80-\xff])?)?[ \t]{0,2}", fullmatch=True
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]),
).map(b"".join)
FRAMING = st.sampled_from(
    [TE, b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"]
)
FIELDS = st.lists(st.one_of(FIELD, FIELD, FRAMING), max_size=5).map(b"".join)
REQUESTS = st.builds(
    lambda line, fields: line + fields + b"\r\n",
    st.sampled_from(
        [b"GET / HTTP/1.1\r\nHost: h\r\n", b"POST /v1?x HTTP/1.1\r\nHost: h\r\n", b"POST /v1 HTTP/1.0\r\n"]
    ),
    FIELDS,
)
RESPONSES = st.builds(
    lambda line, fields: line + fields + b"\r\n",
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 \r\n", b"HTTP/1.0 500 no\r\n", b"HTTP/1.1 304 x\n"]),
    FIELDS,
)


def outcome(data: bytes, *, of_request: bool, seen: int = 0) -> object:
    """What a head is read as, ``None`` where it is not whole, the status where it is malformed."""
    try:
        if of_request:
            return http1.read_request_head(data, seen=seen)
        return http1.read_response_head(data, method=b"GET", seen=seen)
    except MalformedError as error:
        return error.status


@given(st.one_of(SOUP, REQUESTS, RESPONSES), st.booleans())
@settings(max_examples=600)
def test_heads_are_the_same_wherever_they_are_cut(data: bytes, of_request: bool) -> None:
    """What is made out from fewer bytes is what is made out from all, and nothing else is ever raised."""
    whole = outcome(data, of_request=of_request)
    for cut in range(len(data)):
        early = outcome(data[:cut], of_request=of_request)
        assert early is None or early == whole
        if early is None:
            assert outcome(data, of_request=of_request, seen=cut) == whole


# --- beside h11 -------------------------------------------------------------------------------------------------------


TAIL = b"3\r\nabc\r\n0\r\n\r\n"
type Message = tuple[object, bytes]
"""What the first line says and the headers, and the payload."""


def without_lengths(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """h11 makes one of equal ones."""
    return [field for field in headers if field[0].lower() != b"content-length"]


def ours(data: bytes, *, of_request: bool) -> Message | None:
    try:
        found = http1.read_request_head(data) if of_request else http1.read_response_head(data, method=b"GET")
        assert found is not None
        head, end = found
        reader = body_reader(head.body)
        payload, _ = reader.feed(data[end:])
        reader.finish()
    except MalformedError:
        return None
    return (*head[:2], without_lengths(head.headers)), payload


def of_h11(data: bytes, *, of_request: bool) -> Message | None:
    connection = h11.Connection(h11.SERVER if of_request else h11.CLIENT)
    if not of_request:
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
        connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(data)
        head = connection.next_event()
        connection.receive_data(b"")
        payload = b""
        while isinstance(event := connection.next_event(), h11.Data):
            payload += event.data
    except h11.RemoteProtocolError:
        return None
    assert isinstance(event, h11.EndOfMessage)
    if isinstance(head, h11.Request):
        return (head.method, head.target, without_lengths(head.headers.raw_items())), payload
    assert isinstance(head, h11.Response)
    return (head.status_code, head.reason, without_lengths(head.headers.raw_items())), payload


@pytest.mark.parametrize(("heads", "of_request"), [(REQUESTS, True), (RESPONSES, False)])
def test_what_h11_reads_too(heads: st.SearchStrategy[bytes], of_request: bool) -> None:
    """Both read the same of what both accept: h11 is often stricter with responses, and laxer with requests."""
    both = 0

    @given(heads)
    @settings(max_examples=500, deadline=None)
    def compare(head: bytes) -> None:
        nonlocal both
        mine, theirs = ours(head + TAIL, of_request=of_request), of_h11(head + TAIL, of_request=of_request)
        if mine is not None and theirs is not None:
            both += 1
            assert mine == theirs

    compare()
    assert both > 100
