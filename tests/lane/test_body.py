"""Bodies as tables of bytes, at every cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrion.lane.body import MAX_SIZE_LINE, MAX_TRAILERS, body_reader
from metrion.lane.http1 import CHUNKED, UNTIL_CLOSE, MalformedError
from metrion.model import Headers

type Body = tuple[bytes, bytes, Headers]
"""Payload, what follows, trailers."""


def read_body(body: int, pieces: Sequence[bytes], *, ends: bool = False, of_response: bool = False) -> Body:
    """Raise what is malformed, with all of the payload before the fault."""
    reader, payload, rest = body_reader(body, of_response=of_response), b"", b""
    try:
        for piece in pieces:
            found, after = reader.feed(piece)
            payload, rest = payload + found, rest + after
            assert reader.over or not after
        if ends:
            reader.finish()
    except MalformedError as error:
        error.payload = payload + error.payload
        raise
    assert reader.over
    return payload, rest, reader.trailers


BODIES: list[tuple[int, bytes, Body]] = [
    (0, b"", (b"", b"", ())),
    (0, b"GET", (b"", b"GET", ())),
    (3, b"abc", (b"abc", b"", ())),
    (3, b"abcGET", (b"abc", b"GET", ())),
    (CHUNKED, b"0\r\n\r\n", (b"", b"", ())),
    (CHUNKED, b"3\r\nabc\r\n0\r\n\r\nGET", (b"abc", b"GET", ())),
    (CHUNKED, b"0003\r\nabc\r\n1\r\nd\r\n00\r\n\r\n", (b"abcd", b"", ())),
    (CHUNKED, b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", (b"01234567890123456789", b"", ())),
    (CHUNKED, b'3;a=b\r\nabc\r\n0;x="\t\xff"\r\n\r\n', (b"abc", b"", ())),
    (CHUNKED, b"2\r\n\r\n\r\n0\r\n\r\n", (b"\r\n", b"", ())),
    (CHUNKED, b"0\r\nA: b \r\na:c\r\n\r\nGET", (b"", b"GET", ((b"A", b"b"), (b"a", b"c")))),
    (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (5000, b"a" * 5000), (b"a" * 5000, b"", ())),
    (CHUNKED, b"1;%b\r\na\r\n0\r\n\r\n" % (b"x" * (MAX_SIZE_LINE - 4)), (b"a", b"", ())),
    (CHUNKED, b"0\r\na:%b\r\n\r\n" % (b"x" * (MAX_TRAILERS - 6)), (b"", b"", ((b"a", b"x" * (16384 - 6)),))),
]


@pytest.mark.parametrize(("body", "data", "expected"), BODIES)
def test_bodies(body: int, data: bytes, expected: Body) -> None:
    assert read_body(body, [data], ends=True) == expected
    assert read_body(body, [data[at : at + 1] for at in range(len(data))]) == expected
    for cut in range(min(len(data), 200)):
        assert read_body(body, [data[:cut], data[cut:]]) == expected
        if body != 0 and cut < len(data) - len(expected[1]):
            with pytest.raises(MalformedError, match="before it was whole") as caught:
                read_body(body, [data[:cut]], ends=True)
            assert expected[0].startswith(caught.value.payload)


def test_body_until_the_connection_ends() -> None:
    reader = body_reader(UNTIL_CLOSE)
    assert [reader.feed(b"ab"), reader.feed(b"0\r\n\r\n")] == [(b"ab", b""), (b"0\r\n\r\n", b"")]
    assert not reader.over
    reader.finish()
    assert reader.over
    assert reader.feed(b"late") == (b"", b"late")


def test_payload_is_not_copied() -> None:
    data = bytes(1000)
    for body, opening in ((3000, b""), (1000, b""), (UNTIL_CLOSE, b""), (CHUNKED, b"bb8\r\n")):
        reader = body_reader(body)
        reader.feed(opening)
        assert reader.feed(data)[0] is data


@pytest.mark.parametrize(
    ("data", "payload", "message"),
    [
        (b"\r\n", b"", "size of a chunk"),
        (b"x\r\n", b"", "size of a chunk"),
        (b"-1\r\n", b"", "size of a chunk"),
        (b"+1\r\n", b"", "size of a chunk"),
        (b"0x1\r\n", b"", "size of a chunk"),
        (b"1_0\r\n", b"", "size of a chunk"),
        (b" 1\r\n", b"", "size of a chunk"),
        (b"1 \r\n", b"", "size of a chunk"),
        (b"1 ;a\r\n", b"", "size of a chunk"),
        (b";a\r\n", b"", "size of a chunk"),
        (b"1;a\0\r\n", b"", "size of a chunk"),
        (b"1;a\nb\r\n", b"", "size of a chunk"),
        (b"1;a\rb\r\n", b"", "size of a chunk"),
        (b"1\na\n0\n\n", b"", "size of a chunk"),
        (b"12345678901234567\r\n", b"", "size of a chunk"),
        (b"0" * 17, b"", "size of a chunk"),
        (b"3\r\nabcd\r\n", b"abc", "size of a chunk"),
        (b"3\r\nabc\n0\r\n\r\n", b"abc", "size of a chunk"),
        (b"3\r\nabc\r\r\n", b"abc", "size of a chunk"),
        (b"3\r\nabc\r\nGET / HTTP/1.1\r\n", b"abc", "size of a chunk"),
        (b"1\r\na\r\n1;" + b"x" * (MAX_SIZE_LINE - 2), b"a", "longer than 4 KB"),
        (b"1\r\na\r\n1;" + b"x" * (MAX_SIZE_LINE - 3) + b"\r\n", b"a", "longer than 4 KB"),
        (b"1\r\na\r\n0\r\na b: c\r\n\r\n", b"a", "what no name may"),
        (b"1\r\na\r\n0\r\na: b\r\n c\r\n\r\n", b"a", "goes on over several lines"),
        (b"1\r\na\r\n0\r\na: b\n\n", b"a", "does not end with CRLF"),
        (b"1\r\na\r\n0\r\n\n", b"a", "does not end with CRLF"),
        (b"1\r\na\r\n0\r\na: " + b"x" * MAX_TRAILERS, b"a", "larger than is accepted"),
        (b"1\r\na\r\n0\r\n" + b"a:\r\n" * MAX_TRAILERS, b"a", "larger than is accepted"),
    ],
)
def test_chunks_that_are_malformed(data: bytes, payload: bytes, message: str) -> None:
    """What came before the fault is payload, however the bytes were cut."""
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))], [data[:4], data[4:]]):
        with pytest.raises(MalformedError, match=message) as caught:
            read_body(CHUNKED, pieces)
        assert caught.value.payload == payload


@pytest.mark.parametrize(
    ("data", "trailers"),
    [
        (b"3 \r\nabc\r\n0\t \r\n\r\n", ()),
        (b"3 ;a=b\r\nabc\r\n0  ;x\r\n\r\n", ()),
        (b"3\r\nabc\r\n0\r\nA : b\r\nc\t:d\r\n\r\n", ((b"A", b"b"), (b"c", b"d"))),
        (b"3\r\nabc\r\n0\r\na: b\r\n c\r\n\r\n", ((b"a", b"b c"),)),
        (b"3\r\nabc\r\n0\r\na: b\nc: d\n\n", ((b"a", b"b"), (b"c", b"d"))),
    ],
    ids=["spaces", "spaces before an extension", "spaces before colons", "fold", "lone LF"],
)
def test_chunks_that_only_a_response_may_have(data: bytes, trailers: Headers) -> None:
    """The providers' SDKs read them."""
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        assert read_body(CHUNKED, pieces, ends=True, of_response=True) == (b"abc", b"", trailers)
        with pytest.raises(MalformedError):
            read_body(CHUNKED, pieces)


@pytest.mark.parametrize(
    "data",
    [
        b" 3\r\nabc\r\n",
        b"3 3\r\nabc\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"1" + b" " * MAX_SIZE_LINE,
        b"0\r\n" + b"a: \n" * MAX_TRAILERS,
        b"0\r\na b: c\r\n\r\n",
        b"0\r\na: b\rc\r\n\r\n",
    ],
)
def test_chunks_that_no_response_may_have(data: bytes) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(MalformedError):
            read_body(CHUNKED, pieces, of_response=True)


CHUNKS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\r\n", b"3\r\nabc\r\n", b" ", b"1;a=b\r\nx\r\n", b"0\r\n", b"a: b\r\n", b"\n", b"1", b"g", b"\r", b"0"]
        ),
        st.binary(max_size=2),
    ),
    max_size=10,
).map(b"".join)


@given(CHUNKS, st.lists(st.integers(0, 60), max_size=6).map(sorted), st.booleans())
@settings(max_examples=600)
def test_chunks_are_the_same_wherever_they_are_cut(data: bytes, cuts: list[int], of_response: bool) -> None:
    def result(pieces: list[bytes]) -> tuple[str, bytes, object]:
        try:
            return "whole", *read_body(CHUNKED, pieces, ends=True, of_response=of_response)[:2]
        except MalformedError as error:
            return "malformed", error.payload, None

    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert result(pieces) == result([data])
