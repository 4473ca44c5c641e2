"""A bounded reader of the heads of HTTP/1.1: bytes in, one head at a time out. No I/O, no clock.

A head is read when it is whole, never in part. Whatever the bytes are, nothing but :class:`MalformedError` is raised,
and where the bytes were cut makes no difference. Requests are read strictly, because what two readers understand
differently is how requests are smuggled: lines end with CRLF, and a head says in one way how long its body is.
Responses are read as the providers' SDKs read them: a lone LF ends a line (RFC 9112, 2.2), a line may be folded, a
space before a colon is dropped, equal lengths are one, chunked wins over a length, and the coding ``identity`` says
nothing. ``body`` reads what follows a head.

Bounds count bytes on the wire: a request head 128 KB with the blank lines before it, of which 16 bytes may be; a
response head 256 KB. A head, or trailers, may have 1000 lines: reading more would keep others waiting.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from metrion.model import Headers

CHUNKED = -1
UNTIL_CLOSE = -2
"""The two bodies of which no head says the length. All others are a number of bytes, 0 where there is no body."""

MAX_REQUEST_HEAD, MAX_RESPONSE_HEAD, _MAX_BLANK = 128 << 10, 256 << 10, 16
MAX_LINES = 1000


class MalformedError(Exception):
    """This is not HTTP/1.1, or not within the bounds. It never leaves the lane. The message quotes nothing of it.

    ``status`` is the answer to a client that sent it. ``payload`` is what the reader of a body had read of the same
    bytes before the fault.
    """

    def __init__(self, message: str, status: int = 400, payload: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.payload = payload


class RequestHead(NamedTuple):
    """What a client asks for. Values are without the spaces around them."""

    method: bytes
    target: bytes
    headers: Headers
    minor: int
    """0 for HTTP/1.0, else 1."""
    keep_alive: bool
    """Whether the client wants the connection to stay."""
    body: int
    """A length, or ``CHUNKED``."""

    def __repr__(self) -> str:
        """Target and headers hold credentials."""
        return f"RequestHead(method={self.method!r}, minor={self.minor}, body={self.body})"


class ResponseHead(NamedTuple):
    """What a provider answers with. Interim responses are heads of their own, without a body."""

    status: int
    reason: bytes
    headers: Headers
    minor: int
    keep_alive: bool
    """Whether the connection may be used again when the body is over."""
    body: int
    """A length, ``CHUNKED`` or ``UNTIL_CLOSE``."""

    def __repr__(self) -> str:
        """Headers hold cookies."""
        return f"ResponseHead(status={self.status}, minor={self.minor}, body={self.body})"


# --- grammar ----------------------------------------------------------------------------------------------------------

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_REQUEST_LINE = re.compile(rb"(%b) ([!-\"$-~]++) HTTP/1\.([0-9])\r\n" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ++([1-9][0-9][0-9])(?: ++([^\x00\r\n]*+))? *+\r?\n")
# A match is one line: where there are as many matches as lines, every line is a field.
_REQUEST_FIELD = re.compile(
    rb"^(%b):[ \t]*+((?:[^\x00-\x08\n-\x1f\x7f]*[^\x00- \x7f])?+)[ \t]*+\r\n" % _TOKEN, re.MULTILINE
)
_RESPONSE_FIELD = re.compile(
    rb"^(%b)[ \t]*+:[ \t]*+((?:[^\x00\r\n]*[^\x00\t\r\n ])?+)[ \t]*+\r?\n" % _TOKEN, re.MULTILINE
)
_FOLD = re.compile(rb"\r?\n[ \t]++")
_BLANK = re.compile(rb"(?:\r?\n)*+")
_REQUEST_START = re.compile(rb"%b(?: |\Z)|\r?\Z" % _TOKEN)
_RESPONSE_START = b"HTTP/1."
_LENGTH = re.compile(rb"[0-9]{1,18}")

_FAULTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"[ \t]"), "A header field goes on over several lines, which no server has to accept."),
    (re.compile(rb"[^\r]*+\r(?!\n)"), "A line of the head holds a carriage return that does not end it."),
    (re.compile(rb"[^\x00-\x08\v-\f\x0e-\x1f\x7f]*+[^\n]"), "A line of the head holds a control character."),
    (re.compile(rb"[^:\n]++\n"), "A line of the head has no colon."),
    (re.compile(rb":"), "A header field has no name."),
    (re.compile(rb"%b[ \t]++:" % _TOKEN), "There is a space between the name of a header field and its colon."),
    (re.compile(rb"(?!%b:)." % _TOKEN), "The name of a header field holds what no name may."),
    (re.compile(rb""), "A line of the head does not end with CRLF."),
)
"""What may be wrong with a line of a head that is no field; the first that matches is said."""

_FRAMING = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding"})
type _Framing = dict[bytes, list[bytes]]
"""The values of these fields, by lower-case name."""


# --- heads ------------------------------------------------------------------------------------------------------------


def read_request_head(data: bytes | bytearray, start: int = 0, *, seen: int = 0) -> tuple[RequestHead, int] | None:
    """Return a request's head, and where it ends; ``None`` as long as it is not whole.

    Up to ``seen`` the bytes were there before, when it was not: a head in many pieces is not searched anew for each.
    Several Hosts pass: whoever forwards the request writes the one that counts. Several equal lengths are one.

    :raises MalformedError: it is not a head, or not within the bounds.
    """
    blank = _BLANK.match(data, start, start + _MAX_BLANK + 2)
    begin = blank.end() if blank else start
    if begin - start > _MAX_BLANK:
        raise MalformedError("There are too many blank lines before the request.")
    if not _REQUEST_START.match(data, begin):
        raise MalformedError("The request does not start with a method.")
    end = end_of_lines(data, max(begin, seen - 2), start + MAX_REQUEST_HEAD)
    if end is None:
        return None
    head = bytes(data[begin:end])
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise MalformedError("The request line is not a method, a target and HTTP/1.1 with one space between them.")
    method, target, digit = line.groups()
    headers = read_strict_fields(head[line.end() :])
    framing, minor = _framing(headers), min(int(digit), 1)
    if minor and b"host" not in framing:
        raise MalformedError("The request has no Host.")
    return RequestHead(method, target, headers, minor, _keep_alive(framing, minor), _request_body(framing, minor)), end


def read_response_head(
    data: bytes | bytearray, *, method: bytes, start: int = 0, seen: int = 0
) -> tuple[ResponseHead, int] | None:
    """Return the head that answers a request of this method; otherwise as :func:`read_request_head`."""
    if not _RESPONSE_START.startswith(data[start : start + len(_RESPONSE_START)]):
        raise MalformedError("The response does not start with HTTP/1.")
    end = end_of_lines(data, max(start, seen - 2), start + MAX_RESPONSE_HEAD)
    if end is None:
        return None
    head = bytes(data[start:end])
    line = _STATUS_LINE.match(head)
    if line is None:
        raise MalformedError("The status line is not HTTP/1.1 and a status.")
    digit, digits, reason = line.groups(b"")
    headers = read_response_fields(head[line.end() :])
    framing, minor, status = _framing(headers), min(int(digit), 1), int(digits)
    body = _response_body(framing, method, status)
    keep_alive = body != UNTIL_CLOSE and _keep_alive(framing, minor) and not _is_doubtful(framing, minor)
    return ResponseHead(status, reason, headers, minor, keep_alive, body), end


def end_of_lines(data: bytes | bytearray, start: int, limit: int) -> int | None:
    """Find where the first blank line ends, a lone LF included."""
    crlf = data.find(b"\n\r\n", start, limit)
    lf = data.find(b"\n\n", start, limit if crlf < 0 else crlf + 1)
    if lf >= 0:
        return lf + 2
    if crlf >= 0:
        return crlf + 3
    if len(data) >= limit:
        raise MalformedError("The header fields are larger than is accepted.", 431)
    return None


def read_strict_fields(fields: bytes) -> Headers:
    """Read header fields, or trailers, as a client must send them."""
    headers = _read_fields(_REQUEST_FIELD, fields)
    if headers is None or not fields.endswith(b"\r\n"):
        raise MalformedError(_fault(_REQUEST_FIELD, fields))
    return headers


def read_response_fields(fields: bytes) -> Headers:
    """Read header fields, or trailers, as a provider may send them."""
    headers = _read_fields(_RESPONSE_FIELD, fields)
    if headers is None:  # a space in place of each fold is what RFC 9112 has a proxy put there
        headers = _read_fields(_RESPONSE_FIELD, _FOLD.sub(b" ", fields))
    if headers is None:
        raise MalformedError(_fault(_RESPONSE_FIELD, fields))
    return headers


def _read_fields(pattern: re.Pattern[bytes], fields: bytes) -> Headers | None:
    """Read all lines but the last, which is blank; ``None`` where one is no field."""
    lines = fields.count(b"\n") - 1
    if lines > MAX_LINES:
        raise MalformedError("There are more header fields than are accepted.", 431)
    headers = tuple(pattern.findall(fields))
    return headers if len(headers) == lines else None


def _fault(pattern: re.Pattern[bytes], fields: bytes) -> str:
    good = re.match(b"(?:%b)*+" % pattern.pattern, fields, re.MULTILINE)
    start = good.end() if good else 0
    line = fields[start : fields.index(b"\n", start) + 1]
    return next(message for fault, message in _FAULTS if fault.match(line))


# --- framing (RFC 9112, 6.3) ------------------------------------------------------------------------------------------


def _framing(headers: Headers) -> _Framing:
    framing: _Framing = {}
    for name, value in headers:
        if (key := name.lower()) in _FRAMING:
            framing.setdefault(key, []).append(value)
    return framing


def _items(values: list[bytes]) -> list[bytes]:
    return [item.strip(b" \t").lower() for value in values for item in value.split(b",")]


def _keep_alive(framing: _Framing, minor: int) -> bool:
    options = _items(framing.get(b"connection", []))
    return b"close" not in options and (minor > 0 or b"keep-alive" in options)


def _is_doubtful(framing: _Framing, minor: int) -> bool:
    """Whether another reader may see the end of the response elsewhere: nothing is to follow it."""
    return b"transfer-encoding" in framing and (minor == 0 or b"content-length" in framing)


def _request_body(framing: _Framing, minor: int) -> int:
    codings, lengths = framing.get(b"transfer-encoding"), framing.get(b"content-length")
    if codings is None:
        return 0 if lengths is None else _length(lengths)
    if lengths is not None:
        raise MalformedError("The request has both a Content-Length and a Transfer-Encoding.")
    if not minor:
        raise MalformedError("HTTP/1.0 has no Transfer-Encoding.")
    if [coding.lower() for coding in codings] != [b"chunked"]:
        raise MalformedError("The Transfer-Encoding of a request can only be chunked.")
    return CHUNKED


def _response_body(framing: _Framing, method: bytes, status: int) -> int:
    if status < 200 or status in (204, 304) or method == b"HEAD" or (method == b"CONNECT" and status < 300):
        return 0
    if codings := transfer_codings(framing.get(b"transfer-encoding", [])):
        return CHUNKED if codings[-1] == b"chunked" else UNTIL_CLOSE
    lengths = framing.get(b"content-length")
    return UNTIL_CLOSE if lengths is None else length_of_response(lengths)


def transfer_codings(values: list[bytes]) -> list[bytes]:
    """Return what the values of a response's Transfer-Encoding name, in lower case and in order.

    ``chunked`` is what the last one is, with a parameter too, and once however often it is said. ``identity`` is no
    coding: HTTP had it once, and it says nothing.
    """
    codings = [item for item in _items(values) if item not in (b"", b"identity")]
    chunked = False
    while codings and codings[-1].partition(b";")[0].rstrip(b" \t") == b"chunked":
        chunked = True
        codings.pop()
    return [*codings, b"chunked"] if chunked else codings


def length_of_response(values: list[bytes]) -> int:
    """Return the length that the values of a response's Content-Length agree on; empty elements of a list are none.

    :raises MalformedError: there is no such length.
    """
    return _length([item for item in _items(values) if item] or values)


def _length(values: list[bytes]) -> int:
    if len(values) == 1 and _LENGTH.fullmatch(values[0]):
        return int(values[0])
    items = _items(values)
    if not all(map(_LENGTH.fullmatch, items)):
        raise MalformedError("The Content-Length is not a number.")
    lengths = {int(item) for item in items}
    if len(lengths) > 1:
        raise MalformedError("There are several Content-Lengths, and they differ.")
    return lengths.pop()
