"""Content codings undone piece by piece: encoded bytes in, cut anywhere; plain bytes out to a sink.

A decoder hands on what it can as soon as it can, in pieces of bounded size, so that neither a large body nor a bomb
takes memory. It raises :class:`DecodingError`, and nothing else, for bytes that are not of its coding and for a body
that ends too early; the message never contains the bytes. A body of no bytes at all is fine under every coding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli
import zstandard

type Sink = Callable[[bytes], None]

_PIECE = 1 << 16
"""The most plain bytes that are handed on at once."""
HEADROOM = 1 << 24
_MOST_FOLD = 100
"""A body may hold :data:`HEADROOM` plain bytes and so many times its encoded ones; beyond that it is a bomb, and
reading it ends. Streams of near-identical events are packed some fiftyfold, bombs a thousandfold and more."""


class DecodingError(ValueError):
    """The body is not what its ``content-encoding`` says. Its reader catches it; it never reaches a person."""


class Decoder(Protocol):
    """Undoes one coding. ``finish`` says that there are no more bytes."""

    def feed(self, data: bytes) -> None: ...  # noqa: D102  # described by the class
    def finish(self) -> None: ...  # noqa: D102  # described by the class


class Identity:
    """No coding at all."""

    def __init__(self, sink: Sink) -> None:
        self.feed = sink

    def finish(self) -> None:
        """Nothing can be missing."""


class Gzip:
    """RFC 1952: any number of members in a row. Whatever follows the last one is padding, and ignored."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._member = zlib.decompressobj(wbits=31)
        self._started = False
        self._members = 0
        self._between = b""

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        while data:
            if not self._started:
                data, self._between = self._between + data, b""
                if self._members and not data.startswith(b"\x1f\x8b"):
                    if data == b"\x1f":
                        self._between = data
                    return
                self._started = True
            data = _inflate(self._member, data, self._sink, "gzip")
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
                self._started = False
                self._members += 1

    def finish(self) -> None:
        """Raise when a member has begun and not ended."""
        if self._started:
            raise DecodingError("the gzip body ends early")


class Deflate:
    """RFC 1950 (zlib), and the bare RFC 1951 stream that some servers send under the same name."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        if self._stream is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        if not self._stream.eof:
            _inflate(self._stream, data, self._sink, "deflate")

    def finish(self) -> None:
        """Raise when the stream has begun and not ended."""
        if self._head and not (self._stream and self._stream.eof):
            raise DecodingError("the deflate body ends early")


class Brotli:
    """RFC 7932."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._stream = brotli.Decompressor()
        self._started = False

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        if self._stream.is_finished() or not data:
            return
        self._started = True
        try:
            plain = self._stream.process(data, output_buffer_limit=_PIECE)
            while plain:
                self._sink(plain)
                plain = self._stream.process(b"", output_buffer_limit=_PIECE)
        except brotli.error:
            raise DecodingError("the body is not br") from None

    def finish(self) -> None:
        """Raise when the stream has begun and not ended."""
        if self._started and not self._stream.is_finished():
            raise DecodingError("the br body ends early")


class Zstd:
    """RFC 8878: any number of frames in a row, with the window of at most 8 MiB that RFC 9659 allows on the web."""

    SLICE = 8
    """Encoded bytes taken at once: a block of 4 bytes may decode to 128 KiB, so this is what bounds a piece."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 23)
        self._frame = self._decompressor.decompressobj()
        self._started = False

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        for start in range(0, len(data), self.SLICE):
            rest = data[start : start + self.SLICE]
            while rest:
                self._started = True
                try:
                    plain = self._frame.decompress(rest)
                except zstandard.ZstdError:
                    raise DecodingError("the body is not zstd") from None
                if plain:
                    self._sink(plain)
                rest = self._frame.unused_data
                if self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                    self._started = False

    def finish(self) -> None:
        """Raise when a frame has begun and not ended."""
        if self._started:
            raise DecodingError("the zstd body ends early")


class Stack:
    """Undoes one coding after another, in the reverse of the order in which they were applied; no bomb passes."""

    def __init__(self, codings: list[Callable[[Sink], Decoder]], sink: Sink) -> None:
        self._sink = sink
        self._left = HEADROOM
        self._decoders: list[Decoder] = []
        feed: Sink = self._pass_on
        for coding in codings:
            decoder = coding(feed)
            self._decoders.insert(0, decoder)
            feed = decoder.feed

    def feed(self, data: bytes) -> None:
        """Take encoded bytes."""
        self._left += len(data) * _MOST_FOLD
        self._decoders[0].feed(data)

    def finish(self) -> None:
        """Raise when any of them ends early."""
        for decoder in self._decoders:
            decoder.finish()

    def _pass_on(self, plain: bytes) -> None:
        self._left -= len(plain)
        if self._left < 0:
            raise DecodingError(f"the body is more than {_MOST_FOLD} times as large once decoded")
        for start in range(0, len(plain), _PIECE):
            self._sink(plain[start : start + _PIECE])


CODINGS: Mapping[str, Callable[[Sink], Decoder]] = {
    "br": Brotli,
    "deflate": Deflate,
    "gzip": Gzip,
    "x-gzip": Gzip,
    "zstd": Zstd,
}
"""By the token of ``content-encoding``."""


def decoder(content_encoding: str | None, sink: Sink) -> Decoder:
    """Return what undoes this ``content-encoding``.

    :raises DecodingError: it names an unknown coding.
    """
    if not content_encoding:
        return Identity(sink)
    names = [name.strip().lower() for name in content_encoding.split(",")]
    try:
        codings = [CODINGS[name] for name in names if name not in {"", "identity"}]
    except KeyError:
        raise DecodingError("the content-encoding is none of " + ", ".join(CODINGS)) from None
    if not codings:
        return Identity(sink)
    return Stack(codings, sink)


def _inflate(stream: zlib._Decompress, data: bytes, sink: Sink, name: str) -> bytes:
    """Pass on the decoded ``data``; return what follows the end of the stream."""
    try:
        while data and not stream.eof:
            if plain := stream.decompress(data, _PIECE):
                sink(plain)
            data = stream.unconsumed_tail
        while not stream.eof and (plain := stream.decompress(b"", _PIECE)):
            sink(plain)
    except zlib.error:
        raise DecodingError(f"the body is not {name}") from None
    return stream.unused_data
