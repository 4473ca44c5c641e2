"""Tables of figures in memory that all processes of one proxy share: labels in, rows of figures out.

The owner makes the board before it forks; each process then writes the tables of its own seat and nothing else, so
nobody waits for anybody, and a process that is killed leaves nothing locked. Its figures stay: whoever has the seat
next goes on counting in the same rows. A figure is a 64-bit float, read and written whole. A table has a fixed number
of rows. Never: an exception because one is full.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec import json

KEY_BYTES = 512
"""How long the labels of a row may be, as JSON, with the two bytes of their length."""
OTHER = "other"
"""The label of whatever has no row of its own."""
_RESERVED = 32
"""Rows that are kept free for labels of which only what people choose is :data:`OTHER`."""

type Labels = tuple[str, ...]

_encode = json.Encoder().encode
_decode = json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table holds. Figures from ``first_optional`` to ``last_optional`` are NaN until they are known."""

    rows: int
    labels: int
    """How many labels a row has."""
    figures: int
    first_optional: int = 0
    last_optional: int = 0

    @property
    def size(self) -> int:
        """The bytes of a table."""
        return 8 + self.rows * (8 * self.figures + KEY_BYTES)


class Table:
    """The rows of one seat. ``memory`` is that of the table alone, all zero at first."""

    def __init__(self, memory: memoryview, layout: Layout) -> None:
        self._layout = layout
        end = 8 + layout.rows * 8 * layout.figures
        self._count = memory[:8].cast("d")
        self.figures = memory[8:end].cast("d")
        """The figures of all rows, one row after the other."""
        self._keys = memory[end : end + layout.rows * KEY_BYTES]
        self._places: dict[Labels, int] = {}

    def read_again(self) -> None:
        """Find the rows that another process has left."""
        self._places = dict(self.rows())

    def rows(self) -> Iterator[tuple[Labels, int]]:
        """Return the labels of each row, and where its figures begin."""
        for row in range(int(self._count[0])):
            start = row * KEY_BYTES
            length = int.from_bytes(self._keys[start : start + 2])
            yield _decode(self._keys[start + 2 : start + 2 + length]), row * self._layout.figures

    def read(self, place: int) -> list[float]:
        """Return the figures of the row that begins there."""
        return list(map(float, self.figures[place : place + self._layout.figures]))

    def place(self, labels: Labels, coarse: Labels) -> int:
        """Return where the figures of these labels begin. ``coarse``: whose they are where there is no room."""
        if (place := self._places.get(labels)) is not None:
            return place
        last = (OTHER,) * self._layout.labels
        for candidate, kept_free in ((labels, _RESERVED), (coarse, 1), (last, 0)):
            if (place := self._places.get(candidate)) is not None:
                return place
            if (place := self._added(candidate, kept_free)) is not None:
                return place
        return 0

    def _added(self, labels: Labels, kept_free: int) -> int | None:
        row, key = int(self._count[0]), _encode(labels)
        if row + kept_free >= self._layout.rows or len(key) > KEY_BYTES - 2:
            return None
        start, place = row * KEY_BYTES, row * self._layout.figures
        self._keys[start : start + 2] = len(key).to_bytes(2)
        self._keys[start + 2 : start + 2 + len(key)] = key
        for figure in range(place + self._layout.first_optional, place + self._layout.last_optional):
            self.figures[figure] = math.nan
        self._count[0] = row + 1  # last: whoever reads meanwhile does not see half a row
        self._places[labels] = place
        return place


class Board:
    """The tables of every seat, one of each layout. ``seats``: how many processes may write at the same time."""

    def __init__(self, seats: int, layouts: Sequence[Layout]) -> None:
        size = sum(layout.size for layout in layouts)
        memory = memoryview(mmap.mmap(-1, seats * size))  # the system gives pages only where something is written
        self._seats = [_tables(memory[seat * size : (seat + 1) * size], layouts) for seat in range(seats)]

    def seat(self, number: int) -> Sequence[Table]:
        """Return the tables of a seat, for the one process that has it."""
        for table in self._seats[number]:
            table.read_again()
        return self._seats[number]

    def of(self, layout: int) -> Iterator[Table]:
        """Return one table of every seat, to read."""
        return (tables[layout] for tables in self._seats)


def _tables(memory: memoryview, layouts: Sequence[Layout]) -> list[Table]:
    tables, start = [], 0
    for layout in layouts:
        tables.append(Table(memory[start : start + layout.size], layout))
        start += layout.size
    return tables
