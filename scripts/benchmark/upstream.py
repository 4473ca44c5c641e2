"""The provider that everything calls: chat completions over TCP and TLS, in a process of its own.

``running_upstream`` starts it. A request's query may ask for ``chunks=N`` and ``pace=MS`` between two of them; without
a pace each event of a stream is written by itself, one at once after the other. ``GET /tally`` says how many requests
came by the name in their mark, and which tokens the answers that were written whole reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import re
import ssl
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import cast, override

from scripts.benchmark.messages import (
    MARK,
    STREAM_CHUNKS,
    VARIANTS,
    PlainAnswers,
    StreamedAnswers,
    Tokens,
    framed,
    tokens,
)
from scripts.benchmark.system import running_program
from tests.tls import self_signed

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_MARK = re.compile(rb"\r\n%b: *([^:\r]+)" % MARK.encode(), re.IGNORECASE)
_ASKED = re.compile(rb"[?&](chunks|pace)=(\d+)")
_SLOTS = 10
"""Paced streams are written in so many turns within a pace."""
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Tally:
    """The requests and the reported tokens under a name."""

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream."""

    clear: int
    tls: int
    certificate: Path

    def tally(self, name: str) -> Tally:
        """Return the tally of this name so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.clear, timeout=20)
        try:
            connection.request("GET", "/tally")
            return Tally(**json.loads(connection.getresponse().read()).get(name, {}))
        finally:
            connection.close()


@contextlib.contextmanager
def running_upstream(folder: Path) -> Iterator[Upstream]:
    """Run the upstream for the length of the block; its certificate is in the folder."""
    folder.mkdir()
    certificate, key = self_signed(folder)
    with running_program("scripts.benchmark.upstream", str(certificate), str(key)) as program:
        ports = json.loads(program.read_line())
        yield Upstream(ports["clear"], ports["tls"], certificate)


# --- the program ------------------------------------------------------------------------------------------------------


class Provider:
    """What all connections share."""

    def __init__(self) -> None:
        self.plain = PlainAnswers()
        self.tallies: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self._streams: dict[int, StreamedAnswers] = {}
        self._paces: dict[int, Pace] = {}
        self._number = 0

    def count(self, name: str) -> int:
        """Count a request; return its number."""
        self._number += 1
        self.tallies[name][0] += 1
        return self._number

    def hand_out(self, name: str, told: Tokens) -> None:
        """Count the tokens of an answer that is written whole."""
        for place, figure in enumerate(astuple(told), 1):
            self.tallies[name][place] += figure

    def streams(self, chunks: int) -> StreamedAnswers:
        """Return the streams of so many chunks."""
        if chunks not in self._streams:
            self._streams[chunks] = StreamedAnswers(chunks)
        return self._streams[chunks]

    def pace(self, milliseconds: int) -> Pace:
        """Return what writes at this pace."""
        if milliseconds not in self._paces:
            self._paces[milliseconds] = Pace(milliseconds / 1000)
        return self._paces[milliseconds]


class Pace:
    """Writes a piece of each of its streams within every interval, the streams in turns. One timer for all of them."""

    def __init__(self, seconds: float) -> None:
        self._turns: list[list[PacedStream]] = [[] for _ in range(_SLOTS)]
        self._seconds = seconds / _SLOTS
        self._loop = asyncio.get_running_loop()
        self._turn = 0
        self._at = self._loop.time()
        self._next()

    def add(self, stream: PacedStream) -> None:
        """Write a stream's first piece now and the others at the pace."""
        if stream.write():
            self._turns[self._turn].append(stream)

    def _next(self) -> None:
        self._turn = (self._turn + 1) % _SLOTS
        self._turns[self._turn] = [stream for stream in self._turns[self._turn] if stream.write()]
        self._at += self._seconds
        self._loop.call_at(self._at, self._next)


class PacedStream:
    """An answer that is written piece by piece."""

    def __init__(self, connection: Connection, pieces: Iterator[bytes], name: str, told: Tokens) -> None:
        self._connection = connection
        self._pieces = pieces
        self._name, self._told = name, told

    def write(self) -> bool:
        """Write a piece; return whether there is more."""
        if self._connection.lost:
            return False
        if (piece := next(self._pieces, None)) is not None:
            self._connection.write(piece)
            return True
        self._connection.provider.hand_out(self._name, self._told)
        self._connection.write(framed(b""))
        return False


class Connection(asyncio.Protocol):
    """A client's connection: a request, its answer, and the next."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.lost = False
        self._received = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast("asyncio.Transport", transport).write

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = self._received[:end], self._received[end + 4 :]
        if length := _LENGTH.search(head):
            is_whole = len(body) >= int(length[1])
        else:
            is_whole = not _CHUNKED.search(head) or body.endswith(b"0\r\n\r\n")
        if is_whole:
            self._received = b""
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /tally "):
            tallies = {name: asdict(Tally(*figures)) for name, figures in self.provider.tallies.items()}
            told = json.dumps(tallies).encode()
            self.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
            return
        mark = _MARK.search(head)
        name = mark[1].decode() if mark else "-"
        number = self.provider.count(name)
        if b'"stream":true' not in body:
            self.provider.hand_out(name, tokens(number % VARIANTS))
            self.write(self.provider.plain.answer(number))
            return
        asked = {key: int(value) for key, value in _ASKED.findall(head.partition(b"\r\n")[0])}
        answers = self.provider.streams(asked.get(b"chunks", STREAM_CHUNKS))
        chunks = map(framed, answers.events(number))
        pieces = itertools.chain([answers.head(number) + next(chunks)], chunks)
        if pace := asked.get(b"pace"):
            self.provider.pace(pace).add(PacedStream(self, pieces, name, tokens(number)))
            return
        self.provider.hand_out(name, tokens(number))
        for piece in pieces:
            self.write(piece)
        self.write(framed(b""))


async def _serve(certificate: str, key: str) -> None:
    loop = asyncio.get_running_loop()
    provider = Provider()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    servers = [
        await loop.create_server(lambda: Connection(provider), "127.0.0.1", 0, ssl=tls, backlog=_BACKLOG)
        for tls in (None, context)
    ]
    clear, tls = (server.sockets[0].getsockname()[1] for server in servers)
    print(json.dumps({"clear": clear, "tls": tls}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # which ends with whoever started this


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
