"""Requests as a fuzzer sends them: from a grammar, then bent, cut and run together; pure, and the same for a seed.

Each request is either somebody's with a token (its target then says ``mine-N``) or a stranger's, without a byte of the
token (``void-N``); N is the number of its connection. So whatever is done to the bytes, a target with ``void-`` must
reach no provider.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

UNKNOWN = b"sk-metrion-" + b"u" * 43
OWN_KEY = b"sk-proj-somebodys-own-key-0123456789"
MOST_REQUESTS = 8
"""On one connection."""

TARGETS: Sequence[bytes] = (
    b"/openai/v1/models/%s",
    b"/openai/v1/chat/completions?who=%s",
    b"/openai/chat/completions/%s",
    b"/api/proxy/openai/v1/files/%s",
    b"/v1/messages?who=%s",
    b"/anthropic/v1/models/%s",
    b"/mistral/v1/models/%s",
    b"/grok/v1/models/%s",
    b"/gemini/v1beta/models/%s:generateContent",
    b"/google/v1beta/models/%s?alt=sse",
)
ODD_TARGETS: Sequence[bytes] = (
    b"/openai/v1/%s/../x",
    b"/openai/%%2e%%2e/%s",
    b"/openai//v1/%s/",
    b"//openai/v1/%s",
    b"/openai/v1/%s#part",
    b"/openai/v1/%s\\x",
    b"/nowhere/%s",
    b"/%s",
    b"*%s",
    b"",
    b"http://127.0.0.2/v1/%s",
    b"http://api.openai.com.evil.test/v1/%s",
    b"https://[::1/v1/%s",
    b"/openai/v1/%s/" + b"a" * 5000,
    b"/openai/v1/%s?key=" + UNKNOWN,
    b"/health?%s",
)
METHODS = (b"GET", b"POST", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH")
ODD_METHODS = (b"get", b"BREW", b"M-SEARCH", b"PRI", b"", b"GE T", b"POST\t", b"TRACE")
ODD_VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"http/1.1", b"HTTP/1.1 ", b"", b"HTTP/1.1 x")
ODD_HEADERS: Sequence[bytes] = (
    b"Host: other",
    b"Host:",
    b"Connection: close",
    b"Connection: keep-alive, Authorization",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Expect: 100-continue",
    b"Expect: 200-maybe",
    b"X-Folded: one\r\n two",
    b"X-Cr: a\rb",
    b"X-Nul: a\x00b",
    b"X-Latin: caf\xe9",
    b"X-Empty:",
    b"X-Space : a",
    b" X-Lead: a",
    b": no name",
    b"no colon",
    b"Bad Name: a",
    b"X-Long: " + b"a" * 20_000,
    b"X-Metrion-User: somebody",
    b"x-metrion-tag-team: a-team",
    b"X-METRION-ODD: 1",
    b"Proxy-Authorization: Basic dTpw",
    b"Proxy-Connection: keep-alive",
    b"Via: 1.1 somebody",
    b"Accept-Encoding: gzip, br",
    b"Content-Length: 2",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"TE: trailers",
)
ODD_FRAMINGS: Sequence[bytes] = (
    b"Content-Length: +5",
    b"Content-Length: -1",
    b"Content-Length: 0x5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: 100",
    b"Content-Length: 1",
    b"Content-Length : 5",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
)
ODD_CHUNKS: Sequence[bytes] = (
    b"x\r\n{}\r\n",
    b"-2\r\n{}\r\n",
    b"0x2\r\n{}\r\n",
    b"+2\r\n{}\r\n",
    b" 2\r\n{}\r\n",
    b"2 \r\n{}\r\n",
    b"2\n{}\n",
    b"2\r\n{}",
    b"\r\n",
    b"2;a=b;c\r\n{}\r\n",
    b'2;a="\r\n"\r\n{}\r\n',
    b"fffffffffffffffff\r\n{}\r\n",
    b"2;" + b"e" * 5000 + b"\r\n{}\r\n",
    b"0" * 5000 + b"2\r\n{}\r\n",
)
TRAILERS: Sequence[bytes] = (
    b"",
    b"",
    b"X-Sum: 1\r\n",
    b"X-Metrion-User: somebody\r\n",
    b"Authorization: Bearer " + OWN_KEY + b"\r\n",
    b"x-metrion-token: " + UNKNOWN + b"\r\n",
    b"Content-Length: 5\r\n",
    b"no colon\r\n",
    b"X-Long: " + b"a" * 20_000 + b"\r\n",
)
STRANGE_CREDENTIALS: Sequence[bytes] = (
    b"",
    b"Authorization: Bearer " + OWN_KEY,
    b"Authorization: Bearer " + UNKNOWN,
    b"x-api-key: " + UNKNOWN,
    b"x-goog-api-key: " + OWN_KEY,
    b"x-metrion-token: " + UNKNOWN,
    b"x-metrion-token: sk-metrion-short",
    b"Authorization: Basic c2stbWV0cmlvbg==",
    b"Authorization:",
)
GOOD_CREDENTIALS: Sequence[bytes] = (
    b"Authorization: Bearer %s",
    b"x-api-key: %s",
    b"api-key: %s",
    b"x-goog-api-key: %s",
    b"x-metrion-token: %s",
    b"x-metrion-token: %s\r\nAuthorization: Bearer " + OWN_KEY,
    b"x-metrion-token: %s\r\nAuthorization: Bearer " + UNKNOWN,
    b"Authorization: Bearer %s\r\nX-Note: %s",
    b"AUTHORIZATION:bearer  %s  ",
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STRANGE_BYTES = (b"\r", b"\n", b"\x00", b" ", b"\t", b":", b"\r\n", b"\x0b", b"\xff", b"0", b";", b",", b"\r\n\r\n")


class End(Enum):
    """What a connection does when all is sent."""

    READ = "read"
    HALF_CLOSE = "half-close"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one connection sends, piece by piece."""

    number: int
    pieces: tuple[bytes, ...]
    requests: int
    end: End


def conversation(number: int, seed: int, token: bytes) -> Conversation:
    """Make up the connection of this number; some are of strangers alone."""
    chance = random.Random(f"{seed}-{number}")
    strangers = chance.random() < 0.25
    requests = list[bytes]()
    for _ in range(chance.randint(1, MOST_REQUESTS)):
        stranger = strangers or chance.random() < 0.3
        wire, bent = _request(chance, number, b"" if stranger else token)
        requests.append(wire)
        # The lines of a head that was cut may go on in the next request: that must not be one with a token.
        strangers = strangers or (stranger and bent)
    if chance.random() < 0.02:
        requests.append(PREFACE + chance.randbytes(chance.choice((0, 9, 100))))
    end = chance.choices((End.READ, End.HALF_CLOSE, End.LEAVE), (6, 3, 1))[0]
    return Conversation(number, _cut(chance, b"".join(requests)), len(requests), end)


def _request(chance: random.Random, number: int, token: bytes) -> tuple[bytes, bool]:
    """Return a request, and whether it was bent."""
    marker = b"%s-%d-" % (b"mine" if token else b"void", number)
    odd = chance.random() < 0.4
    method = chance.choice(ODD_METHODS if odd and chance.random() < 0.1 else METHODS)
    target = chance.choice(ODD_TARGETS if odd and chance.random() < 0.3 else TARGETS)
    version = chance.choice(ODD_VERSIONS) if odd and chance.random() < 0.1 else b"HTTP/1.1"
    headers = [b"Host: proxy"] if not odd or chance.random() < 0.95 else []
    headers += [_credential(chance, token), b"X-Who: " + marker]
    if odd:
        headers += chance.choices(ODD_HEADERS, k=chance.randint(0, 2))
    framing, body = _body(chance, number, token, odd=odd)
    headers.append(framing)
    chance.shuffle(headers)
    lines = [b" ".join((method, target.replace(b"%s", marker).replace(b"%%", b"%"), version)), *filter(None, headers)]
    wire = b"\r\n".join([*lines, b"", b""]) + body
    bent = odd and chance.random() < 0.5
    if bent:
        for _ in range(chance.choice((1, 1, 2, 5))):
            wire = chance.choice(BENDS)(chance, wire)
    return wire, bent


def _credential(chance: random.Random, token: bytes) -> bytes:
    if not token:
        return chance.choice(STRANGE_CREDENTIALS)
    return chance.choice(GOOD_CREDENTIALS).replace(b"%s", token)


def _body(chance: random.Random, number: int, token: bytes, *, odd: bool) -> tuple[bytes, bytes]:
    """Return the header lines that frame a body, and the body."""
    smuggled = b"GET /openai/v1/models/void-%d- HTTP/1.1\r\nHost: proxy\r\n\r\n" % number
    body = chance.choice((b"", b"{}", b'{"model": "gpt-4o", "messages": []}', smuggled, b"x" * 3000))
    if odd and chance.random() < 0.25:
        return chance.choice(ODD_FRAMINGS), chance.choice((body, b"5\r\nhello\r\n0\r\n\r\n", b"hello"))
    if chance.random() < 0.6:
        return (b"Content-Length: %d" % len(body) if body or chance.random() < 0.5 else b""), body
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:]) if piece]
    if odd and chance.random() < 0.3:
        chunks.insert(chance.randint(0, len(chunks)), chance.choice(ODD_CHUNKS))
    trailer = chance.choice(TRAILERS)
    if token and chance.random() < 0.2:
        trailer += b"%s: %s\r\n" % (chance.choice((b"Authorization", b"x-metrion-token", b"X-Note")), token)
    return b"Transfer-Encoding: chunked", b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"


# --- bends ------------------------------------------------------------------------------------------------------------


def _insert(chance: random.Random, wire: bytes) -> bytes:
    at = chance.randint(0, len(wire))
    return wire[:at] + chance.choice(STRANGE_BYTES) + wire[at:]


def _flip(chance: random.Random, wire: bytes) -> bytes:
    at = chance.randrange(len(wire)) if wire else 0
    return wire[:at] + bytes([chance.randrange(256)]) + wire[at + 1 :]


def _delete(chance: random.Random, wire: bytes) -> bytes:
    at = chance.randint(0, len(wire))
    return wire[:at] + wire[at + chance.choice((1, 2, 10)) :]


def _repeat(chance: random.Random, wire: bytes) -> bytes:
    lines = wire.split(b"\r\n")
    at = chance.randrange(len(lines))
    return b"\r\n".join([*lines[:at], lines[at], *lines[at:]])


def _lines_end_otherwise(chance: random.Random, wire: bytes) -> bytes:
    return wire.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), chance.choice((-1, 1, 2)))


def _truncate(chance: random.Random, wire: bytes) -> bytes:
    return wire[: chance.randint(0, len(wire))]


def _blank_first(chance: random.Random, wire: bytes) -> bytes:
    return chance.choice((b"\r\n", b"\n", b" ")) * chance.choice((1, 8, 9, 100)) + wire


BENDS: Sequence[Callable[[random.Random, bytes], bytes]] = (
    _insert,
    _flip,
    _delete,
    _repeat,
    _lines_end_otherwise,
    _truncate,
    _blank_first,
)


def _cut(chance: random.Random, wire: bytes) -> tuple[bytes, ...]:
    """Cut the bytes of a connection anywhere: mostly into few pieces, now and then into single bytes."""
    if len(wire) < 2000 and chance.random() < 0.05:
        return tuple(wire[at : at + 1] for at in range(len(wire)))
    ends = sorted({chance.randint(0, len(wire)) for _ in range(chance.choice((0, 0, 1, 3, 10)))} | {len(wire)})
    return tuple(wire[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start)
