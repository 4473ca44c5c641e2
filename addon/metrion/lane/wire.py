"""Heads as they go onto the wire, and the framing of what follows them. Pure."""

from __future__ import annotations

from metrion.lane.http1 import MalformedError, ResponseHead, length_of_response, transfer_codings
from metrion.model import Headers

LAST_CHUNK = b"0\r\n\r\n"


def request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """Return a request's head."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields(headers))


def response_head(status: int, reason: bytes, headers: Headers) -> bytes:
    """Return a response's head."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, fields(headers))


def fields(headers: Headers) -> bytes:
    """Return header fields, or trailers, one to a line."""
    return b"".join([b"%b: %b\r\n" % field for field in headers])


def chunk(data: bytes) -> bytes:
    """Frame a piece of a body, which is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Headers) -> bytes:
    """Frame the end of a body."""
    return b"0\r\n%b\r\n" % fields(trailers) if trailers else LAST_CHUNK


def is_chunked(headers: Headers) -> bool:
    """Whether the body behind a head of ours, or behind one that :func:`unambiguous` returned, goes out in chunks."""
    return any(
        len(name) == 17 and name.lower() == b"transfer-encoding" and value[-7:].lower() == b"chunked"
        for name, value in headers
    )


def has_length(headers: Headers) -> bool:
    """Whether a head says how long its body is."""
    return any(len(name) == 14 and name.lower() == b"content-length" for name, _ in headers)


def is_packed(headers: Headers) -> bool:
    """Whether a head says that its body has a content coding."""
    return any(len(name) == 16 and name.lower() == b"content-encoding" for name, _ in headers)


def says_close(headers: Headers) -> bool:
    """Whether the sender of this head closes the connection after the message, or wants it closed."""
    return any(
        len(name) == 10 and name.lower() == b"connection" and b"close" in value.lower() for name, value in headers
    )


def unambiguous(head: ResponseHead) -> Headers:
    """Return the fields of a provider's head with its framing said once, as RFC 9112, 6.3 has a proxy send it on.

    A transfer coding wins over a length, several equal lengths are one, and so is ``chunked`` several times. What
    nobody can read is left out, and so is ``identity``, which says nothing.
    """
    framing = [(lower, value) for name, value in head.headers if (lower := name.lower()) in _FRAMING]
    if not framing or (len(framing) == 1 and _is_plain(*framing[0])):
        return head.headers
    codings = transfer_codings([value for name, value in framing if name == b"transfer-encoding"])
    if codings:
        said, value = b"transfer-encoding", b", ".join(codings)
    else:
        said, value = b"content-length", _length_once([value for name, value in framing if name == b"content-length"])
    headers = []
    for field in head.headers:
        if (lower := field[0].lower()) not in _FRAMING:
            headers.append(field)
        elif lower == said and value:
            headers.append((field[0], value))
            value = b""
    return tuple(headers)


def _is_plain(name: bytes, value: bytes) -> bool:
    return value.isdigit() if name == b"content-length" else value.lower() == b"chunked"


def _length_once(values: list[bytes]) -> bytes:
    """Return a length, and nothing where there is none: a response without a body may say anything of its length."""
    try:
        return b"%d" % length_of_response(values) if values else b""
    except MalformedError:
        return b""


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
