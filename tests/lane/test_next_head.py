"""What a client has sent of its next request: a head, or a connection that others serve."""

from __future__ import annotations

import pytest

from metrion.lane.http1 import MalformedError, RequestHead
from metrion.lane.next_head import Foreign, NextHead

PLAIN = b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\n"


def read(data: bytes, size: int) -> tuple[RequestHead | Foreign | None, bytes]:
    """What comes of bytes that arrive in pieces of this size, and what is left of them at the end."""
    following, found = NextHead(), None
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        following.data += piece
        if found is None:
            found = following.read(piece)
    return found, following.take()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_plain_head_leaves_what_follows_it(before: bytes, size: int) -> None:
    head, rest = read(before + PLAIN + b"{}GET", size)
    assert isinstance(head, RequestHead)
    assert (head.method, head.target, head.body) == (b"POST", b"/openai/v1/chat/completions", 2)
    assert rest == b"{}GET"


def test_one_head_after_the_other() -> None:
    following = NextHead()
    following.data += PLAIN + PLAIN[:-2]
    assert isinstance(following.read(following.data), RequestHead)
    assert following.read(following.data) is None
    following.data += b"\r\n"
    assert isinstance(following.read(b"\r\n"), RequestHead)
    assert following.take() == b""


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("data", "alpn"),
    [
        (b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", None),
        (b"POST http://api.openai.com/v1 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"h2"),
        (b"BREW /pot HTTP/1.1\r\nHost: proxy\r\n\r\n", None),
        (b"GET / HTTP/2.0\r\nHost: proxy\r\n\r\n", None),
        (b"\r\nGET * HTTP/1.1\r\n", None),
        (b"hello\n", None),
        (b"GET /v1/realtime HTTP/1.1\r\nHost: proxy\r\nUpgrade: WebSocket\r\n\r\nmore", None),
    ],
    ids=["tunnel", "absolute form", "HTTP/2", "method", "version", "asterisk", "anything", "WebSocket"],
)
def test_what_others_serve_is_handed_over_whole(data: bytes, alpn: bytes | None, size: int) -> None:
    assert read(data, size) == (Foreign(alpn), data)


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0"])
def test_another_upgrade_is_a_plain_request(upgrade: bytes) -> None:
    head, _ = read(b"GET /v1 HTTP/1.1\r\nHost: proxy\r\nUpgrade: %b\r\n\r\n" % upgrade, 1000)
    assert isinstance(head, RequestHead)


def test_a_plain_request_line_before_something_else_is_refused() -> None:
    following = NextHead()
    following.data += b"GET /v1 HTTP/1.1\r\nno colon\r\n\r\n"
    with pytest.raises(MalformedError):
        following.read(following.data)
