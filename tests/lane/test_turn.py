"""How much is read in a turn, by a clock that a test sets."""

from __future__ import annotations

import pytest

from metrion.lane.turn import TURN_SECONDS, Turn


class Reader:
    """Reads pieces, each byte in the same time, up to a byte that ends it."""

    def __init__(self, seconds: float, end: bytes = b"") -> None:
        self.now = 0.0
        self.pieces: list[bytes] = []
        self._seconds = seconds
        self._end = end

    def __call__(self, piece: bytes, more: memoryview) -> bool:
        self.pieces.append(piece)
        self.now += self._seconds * len(piece)
        self.more = bytes(more)
        return not self._end or self._end not in piece


def test_what_is_fast_is_read_at_once() -> None:
    reader = Reader(1e-9)
    turn = Turn(8192, clock=lambda: reader.now)
    assert turn.read(b"x" * 1_000_000, reader) == b""
    assert b"".join(reader.pieces) == b"x" * 1_000_000
    assert len(reader.pieces) < 12


@pytest.mark.parametrize("microseconds", [1, 10, 100])
def test_what_is_slow_is_read_in_several_turns(microseconds: int) -> None:
    """None takes longer than a piece beyond its time, once it is known how slow a byte is."""
    data = bytes(range(256)) * 1024
    reader = Reader(microseconds * 1e-6)
    turn = Turn(8192, clock=lambda: reader.now)
    left, turns = data, 0
    while left:
        began = reader.now
        left = turn.read(left, reader)
        turns += 1
        if turns > 5:
            assert reader.now - began < 2 * TURN_SECONDS + 512 * microseconds * 1e-6
    assert b"".join(reader.pieces) == data
    assert turns > 5


def test_nothing_is_read_behind_the_end() -> None:
    reader = Reader(1e-9, b"e")
    turn = Turn(10, clock=lambda: reader.now)
    assert turn.read(b"0123456789abcdefghijklmnopqrstuvwxyz", reader) == b""
    assert b"".join(reader.pieces) == b"0123456789abcdefghijklmnopqrst"
    assert reader.more == b"uvwxyz"
