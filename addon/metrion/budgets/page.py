"""The bytes of one budget's file, as :mod:`metrion.budgets.ledger` shares them between processes. No I/O.

They hold what is held for requests under way, all together; what is spent in each of the last four spans; and a slot
for each process that has used the budget: how much that one holds, and which of its events are counted. All are whole
numbers of 64 bits, read and written at once. What a process has half changed when it is killed is put right from the
slots and the events.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

PAGE_BYTES = 4096
MOST = 2**63 - 1
"""Picodollars: more than any budget. What is spent beyond it is not counted."""

_FORMAT = int.from_bytes(b"budget01", "little")
_HELD, _FREES_AT, _COUNTED_AT = 1, 2, 3
_SPANS = range(8, 8 + 4 * 3, 3)
"""Of each span: whether it is in use (1) and was warned of (2), its key, what is spent in it."""
_SLOTS = range(24, PAGE_BYTES // 8 - 3, 4)
"""Of each process: its number, up to which of its events a count has counted, the last one that it counted itself, what
it holds."""
MOST_PROCESSES = len(_SLOTS)


class Slot(NamedTuple):
    """What one process has in the file."""

    place: int
    process: int
    counted: int
    last: int
    held: int


class Page:
    """See the module. ``data`` is changed in place; where it is no budget's, it becomes an empty one.

    In an empty one nothing is held, and nothing is known of any span.
    """

    __slots__ = ("cells",)

    def __init__(self, data: bytearray | mmap.mmap) -> None:
        self.cells = memoryview(data).cast("q")
        if self.cells[0] != _FORMAT:
            for at in range(len(self.cells)):
                self.cells[at] = 0
            self.cells[0] = _FORMAT

    # --- what is held

    @property
    def held(self) -> int:
        """What is held for all requests under way."""
        return self.cells[_HELD]

    def add_up(self) -> None:
        """Make what is held what the slots say."""
        self.cells[_HELD] = min(MOST, sum(slot.held for slot in self.slots()))

    @property
    def frees_at(self) -> int:
        """When the next amount leaves a span that moves; 0: nothing does, or it is not known."""
        return self.cells[_FREES_AT]

    def note_count(self, frees_at: int, counted_at: int) -> None:
        """Record when the next amount leaves, and when that was counted."""
        self.cells[_FREES_AT], self.cells[_COUNTED_AT] = frees_at, counted_at

    # --- what is spent

    def find(self, key: int) -> int | None:
        """Return where a span is; ``None``: what was spent in it is not known."""
        cells = self.cells
        for at in _SPANS:
            if cells[at + 1] == key and cells[at]:
                return at
        return None

    def turn(self, key: int) -> int | None:
        """Return where a span is, which begins with nothing if it is later than all; ``None`` as for :meth:`find`."""
        at = self.find(key)
        if at is None:
            keys = [self.cells[at + 1] for at in _SPANS if self.cells[at]]
            if keys and key > max(keys):
                return self.make(key)
        return at

    def make(self, key: int) -> int:
        """Return where a span is; a new one takes the place of the oldest."""
        at = self.find(key)
        if at is None:
            free = [at for at in _SPANS if not self.cells[at]]
            at = free[0] if free else min(_SPANS, key=lambda place: self.cells[place + 1])
            self.cells[at], self.cells[at + 1], self.cells[at + 2] = 1, key, 0
        return at

    def spent(self, at: int) -> int:
        """Return what is spent in the span at a place."""
        return self.cells[at + 2]

    def set_spent(self, at: int, amount: int) -> None:
        """Record what is spent in the span at a place."""
        self.cells[at + 2] = min(MOST, amount)

    def warn(self, at: int) -> bool:
        """Record that the span at a place is over its limit; return whether that is new."""
        is_new = self.cells[at] == 1
        self.cells[at] = 2
        return is_new

    def forgive(self, at: int) -> None:
        """Record that the span at a place is within its limit."""
        self.cells[at] = 1

    # --- processes

    def slots(self) -> Iterator[Slot]:
        """Give what each process has in the file."""
        for at in _SLOTS:
            if self.cells[at]:
                yield Slot(at, *self.cells[at : at + 4])

    def slot(self, process: int, place: int = 0) -> int:
        """Return where a process's slot is, which is made where there is none. ``place``: where it was.

        :raises OSError: there are too many processes.
        """
        cells = self.cells
        if place and cells[place] == process:
            return place
        free = 0
        for at in _SLOTS:
            if cells[at] == process:
                return at
            if not cells[at]:
                free = free or at
        if not free:
            raise OSError(f"more than {MOST_PROCESSES} processes use this budget")
        cells[free + 1] = cells[free + 2] = cells[free + 3] = 0
        cells[free] = process
        return free

    def set_counted(self, place: int, event: int) -> None:
        """Record up to which event of a process a count has counted."""
        self.cells[place + 1] = event

    def count(self, place: int, event: int, cost: int, key: int) -> None:
        """Count what an event of a process cost, in a span that is known, unless a count has counted it already."""
        cells = self.cells
        if cost and event > cells[place + 1] and (at := self.turn(key)) is not None:
            cells[at + 2] = min(MOST, cells[at + 2] + cost)
        if event > cells[place + 2]:
            cells[place + 2] = event

    def hold(self, place: int, amount: int) -> None:
        """Record what a process holds now."""
        cells = self.cells
        amount = min(MOST, amount)
        cells[_HELD] = min(MOST, cells[_HELD] + amount - cells[place + 3])
        cells[place + 3] = amount

    def free(self, place: int) -> None:
        """Let go of the slot of a process that is dead. :meth:`add_up` lets go of what it held."""
        self.cells[place] = self.cells[place + 3] = 0
