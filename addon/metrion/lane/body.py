"""A bounded reader of bodies of HTTP/1.1: bytes in, payload out, up to the end of one message. No I/O.

Where the bytes were cut makes no difference. Chunks and trailers of a request are read strictly. Those of a response
are read as the providers' SDKs read them: spaces may follow the size of a chunk, and trailers are read as the header
fields of a response are. Bounds count bytes on the wire: a line with a chunk's size 4 KB, trailers 16 KB.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from metrion.lane.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    MalformedError,
    end_of_lines,
    read_response_fields,
    read_strict_fields,
)
from metrion.model import Headers

MAX_SIZE_LINE, MAX_TRAILERS = 4 << 10, 16 << 10


class _Grammar(NamedTuple):
    """How one direction is read."""

    size_line: re.Pattern[bytes]
    """What is between two chunks."""
    size_start: re.Pattern[bytes]
    """All that may become it."""
    trailers: Callable[[bytes], Headers]


def _grammar(spaces: bytes, trailers: Callable[[bytes], Headers]) -> _Grammar:
    size = rb"([0-9A-Fa-f]{1,16})%b(?:;[\t -~\x80-\xff]*+)?" % spaces
    return _Grammar(re.compile(rb"\r\n%b\r\n" % size), re.compile(rb"(?:\r(?:\n(?:%b\r?)?)?)?" % size), trailers)


_OF_REQUEST = _grammar(b"", read_strict_fields)
_OF_RESPONSE = _grammar(rb"[ \t]*+", read_response_fields)
_KNOWN_SIZES = {b"\r\n%x\r\n" % size: size for size in range(1, 1024)}
"""What precedes most chunks of a stream: looking it up is faster than reading it."""
_NO_SIZE = "Where the size of a chunk should stand, there is something else."


class BodyReader(ABC):
    """Reads one body. After a fault it is of no more use."""

    __slots__ = ("over", "trailers")

    def __init__(self) -> None:
        self.over = False
        """The body is whole."""
        self.trailers: Headers = ()
        """What followed a chunked body, once it is over."""

    @abstractmethod
    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload that these bytes hold, and what follows the end of the message.

        :raises MalformedError: they are not a body; its ``payload`` is what had been read of them.
        """

    def finish(self) -> None:
        """Take the end of the connection.

        :raises MalformedError: something of the body is missing.
        """
        if not self.over:
            raise MalformedError("The body ended before it was whole.")


def body_reader(body: int, *, of_response: bool = False) -> BodyReader:
    """Return a reader for what a head says of its body: a length, ``CHUNKED`` or ``UNTIL_CLOSE``."""
    if body == CHUNKED:
        return _ChunkedReader(_OF_RESPONSE if of_response else _OF_REQUEST)
    return _CloseReader() if body == UNTIL_CLOSE else _LengthReader(body)


class _LengthReader(BodyReader):
    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.over = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data, b""
        self._left = 0
        self.over = True
        return data[:left], data[left:]


class _CloseReader(BodyReader):
    __slots__ = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return (b"", data) if self.over else (data, b"")

    def finish(self) -> None:
        self.over = True


class _ChunkedReader(BodyReader):
    """Reads from the end of one chunk to the end of the next: CRLF, size, CRLF, payload."""

    __slots__ = ("_at_trailers", "_grammar", "_held", "_left")

    def __init__(self, grammar: _Grammar) -> None:
        super().__init__()
        self._grammar = grammar
        self._held = b"\r\n"
        """What was fed and is not read; it starts with a chunk's end. The first has none, so it is made up."""
        self._left = 0
        """How much of a chunk is to come; nothing is held then."""
        self._at_trailers = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self.over:
            return b"", data
        if len(data) <= self._left:
            self._left -= len(data)
            return data, b""
        parts: list[bytes] = []
        try:
            rest = self._read(self._held + data, parts)
        except MalformedError as error:
            error.payload = b"".join(parts)
            raise
        return b"".join(parts), rest

    def _read(self, data: bytes, parts: list[bytes]) -> bytes:
        if self._at_trailers:
            return self._read_trailers(data, 0)
        size, pos, width = len(data), self._left, 6
        self._left, self._held = 0, b""
        if pos:
            parts.append(data[:pos])
        while pos < size:
            begin = pos + width
            chunk = _KNOWN_SIZES.get(data[pos:begin])  # a guess: the line is as long as the one before
            if chunk is None or begin > size:
                begin = data.find(b"\r\n", pos + 2, pos + 2 + MAX_SIZE_LINE) + 2
                if begin < 2:
                    self._hold_size_line(data[pos:])
                    return b""
                width = begin - pos
                chunk = _KNOWN_SIZES.get(line := data[pos:begin]) or self._size(line)
                if chunk == 0:
                    return self._read_trailers(data, begin - 2)
            pos = begin + chunk
            parts.append(data[begin:pos])
        self._left = pos - size
        return b""

    def _hold_size_line(self, line: bytes) -> None:
        if len(line) >= MAX_SIZE_LINE + 2:
            raise MalformedError("A line with the size of a chunk is longer than 4 KB.")
        if line != b"\r\n" and not self._grammar.size_start.fullmatch(line):
            raise MalformedError(_NO_SIZE)
        self._held = line

    def _read_trailers(self, data: bytes, start: int) -> bytes:
        """Read what starts with the end of the last chunk's line."""
        end = end_of_lines(data, start, start + 2 + MAX_TRAILERS)
        if end is None:
            self._at_trailers, self._held = True, data[start:]
            return b""
        self.trailers = self._grammar.trailers(data[start + 2 : end])
        self.over = True
        return data[end:]

    def _size(self, line: bytes) -> int:
        found = self._grammar.size_line.fullmatch(line)
        if found is None:
            raise MalformedError(_NO_SIZE)
        return int(found[1], 16)
