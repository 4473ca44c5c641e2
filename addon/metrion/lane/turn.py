"""Bounds how long one turn of the event loop reads what has come: a few milliseconds, and then others go on.

How long a byte takes depends on what it is: a file passes at gigabytes a second, chunks of one byte do not. So pieces
grow while they are read fast, and shrink while they are not. Nothing is ever held here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

TURN_SECONDS = 0.008
_FAST, _SLOW = 0.001, 0.004
_LEAST, _MOST = 64, 256 << 10

type ReadPiece = Callable[[bytes, memoryview], bool]
"""Reads a piece, and gets those bytes that follow it too; returns whether to go on with them."""


class Turn:
    """See the module. ``size``: how many bytes the next piece has at most."""

    __slots__ = ("_began", "_clock", "_last", "size")

    def __init__(self, size: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.size = size
        self._clock = clock
        self._began = self._last = 0.0

    def begin(self) -> None:
        """Begin a turn."""
        self._began = self._last = self._clock()

    def is_over(self) -> bool:
        """Whether the rest has to wait for another turn, now that a piece, or a head, has been read."""
        now = self._clock()
        took, self._last = now - self._last, now
        if took > _SLOW:
            self.size = max(self.size // 2, _LEAST)
        elif took < _FAST:
            self.size = min(self.size * 2, _MOST)
        return now - self._began > TURN_SECONDS

    def read(self, data: bytes, read_piece: ReadPiece) -> bytes:
        """Read these bytes in pieces as far as this turn allows; return what is left for the next."""
        if len(data) <= self.size:
            read_piece(data, _NOTHING)
            return b""
        self.begin()
        at, whole = 0, memoryview(data)
        while True:
            piece = data[at : at + self.size]
            at += len(piece)
            if not read_piece(piece, whole[at:]) or at == len(data):
                return b""
            if self.is_over():
                return data[at:]


_NOTHING = memoryview(b"")
