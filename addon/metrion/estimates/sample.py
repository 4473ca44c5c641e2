"""Bodies kept for an estimate, within bounds: decoded bytes in as they pass, a :class:`Kept` out at the end.

Nothing is read here: nearly everything kept is dropped unread, because the provider reports the usage after all. Full
blocks are compressed, which costs less than a microsecond for each event of a stream and keeps ten times as many.
What is kept holds prompts and completions: it is in no ``repr``, and only an estimate may read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import zstandard

MOST_HELD = 1 << 18
"""Bytes that are held of one body."""
MOST_KEPT = 1 << 22
"""Bytes of one body that they stand for: as much text as the largest context window holds."""
BLOCK = 1 << 16
"""Bytes that are compressed together."""
_LEVEL = -3
"""Zstandard's: a third faster than its level 1, and for streams of events as small."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The beginning of a body, or of what came of it after :meth:`Sample.restart`."""

    passed: int = 0
    """Bytes that passed, kept or not."""
    kept: int = 0
    restarts: int = 0
    """How often a usage was reported that covers what passed before."""
    blocks: tuple[bytes, ...] = field(default=(), repr=False)
    """Compressed."""
    rest: bytes = field(default=b"", repr=False)

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return self.kept == self.passed and not self.restarts

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes that were kept."""
        decompressor = zstandard.ZstdDecompressor()
        for block in self.blocks:
            yield decompressor.decompress(block)
        yield self.rest


class Sample:
    """Keeps one body. Once it is spoilt it keeps nothing and returns nothing."""

    def __init__(self) -> None:
        self._restarts = 0
        self._full = self._spoilt = False
        self._passed = 0
        self._kept = 0
        self._held = 0
        self._blocks: list[bytes] = []
        self._open = bytearray()

    def add(self, data: bytes) -> None:
        """Keep what has passed."""
        if len(data) > BLOCK:
            for start in range(0, len(data), BLOCK):
                self.add(data[start : start + BLOCK])
            return
        self._passed += len(data)
        if not self._full:
            self._open += data
            if len(self._open) >= BLOCK:
                self._close_block()

    def restart(self) -> None:
        """Drop what is kept: a usage has been reported that covers it."""
        self._restarts += 1
        self._passed = self._kept = self._held = 0
        self._blocks.clear()
        self._open.clear()
        self._full = self._spoilt

    def spoil(self) -> None:
        """Keep nothing, neither of what has passed nor of what follows: the body cannot be decoded."""
        self._spoilt = True
        self.restart()

    def taken(self) -> Kept | None:
        """Return what is kept; ``None`` where the body could not be decoded."""
        if self._spoilt:
            return None
        kept = self._kept + len(self._open)
        return Kept(self._passed, kept, self._restarts, tuple(self._blocks), bytes(self._open))

    def _close_block(self) -> None:
        compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(self._open)
        # A copy, because what the compressor returns goes on holding the memory of the whole block.
        self._blocks.append(bytes(memoryview(compressed)))
        self._kept += len(self._open)
        self._held += len(self._blocks[-1])
        self._open.clear()
        self._full = self._held > MOST_HELD - BLOCK or self._kept > MOST_KEPT - BLOCK
