"""The bytes of one budget's file, as :mod:`metrion.budgets.ledger` shares them between processes. No I/O.

They hold what is held for requests under way, all together; what is spent in each of the last four spans; and a slot
for each process that has used the budget: how much that one holds, and which of its events are counted. All that one
process has half changed when it is killed is put right from the slots and the events.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

PAGE_BYTES = 4096
_FORMAT = b"budget01"
_HEAD = struct.Struct("<8s16sqq")
"""Format, what is held, when the next amount leaves a span that moves, when it was counted last."""
_FREES_AT, _COUNTED_AT = 24, 32
_SPAN = struct.Struct("<BB6xq16s")
"""In use, warned, the span's key, what is spent in it."""
_SLOT = struct.Struct("<QQQ16s")
"""The process, up to which of its events a count has counted, the last one that it counted itself, what it holds."""
_NUMBER = struct.Struct("<q")
_SPANS_AT, _SPANS = 64, 4
_SLOTS_AT = _SPANS_AT + _SPANS * _SPAN.size
_PLACES = range(_SPANS_AT, _SLOTS_AT, _SPAN.size)
_SLOTS = range(_SLOTS_AT, PAGE_BYTES - _SLOT.size + 1, _SLOT.size)
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

    __slots__ = ("data",)

    def __init__(self, data: bytearray | mmap.mmap) -> None:
        self.data = data
        if data[:8] != _FORMAT:
            data[:] = bytes(PAGE_BYTES)
            _HEAD.pack_into(data, 0, _FORMAT, bytes(16), 0, 0)

    # --- what is held

    @property
    def held(self) -> int:
        """What is held for all requests under way."""
        return int.from_bytes(self.data[8:24], "little", signed=True)

    def add_up(self) -> None:
        """Make what is held what the slots say."""
        self.data[8:24] = sum(slot.held for slot in self.slots()).to_bytes(16, "little", signed=True)

    @property
    def frees_at(self) -> int:
        """When the next amount leaves a span that moves; 0: nothing does, or it is not known."""
        return int(_NUMBER.unpack_from(self.data, _FREES_AT)[0])

    def note_count(self, frees_at: int, counted_at: int) -> None:
        """Record when the next amount leaves, and when that was counted."""
        _NUMBER.pack_into(self.data, _FREES_AT, frees_at)
        _NUMBER.pack_into(self.data, _COUNTED_AT, counted_at)

    # --- what is spent

    def find(self, key: int) -> int | None:
        """Return where a span is; ``None``: what was spent in it is not known."""
        data = self.data
        for at in _PLACES:
            if data[at] and _NUMBER.unpack_from(data, at + 8)[0] == key:
                return at
        return None

    def turn(self, key: int) -> int | None:
        """Return where a span is, which begins with nothing if it is later than all; ``None`` as for :meth:`find`."""
        at = self.find(key)
        if at is None:
            keys = [its for _, its in self._spans()]
            if keys and key > max(keys):
                return self.make(key)
        return at

    def make(self, key: int) -> int:
        """Return where a span is; a new one takes the place of the oldest."""
        at = self.find(key)
        if at is None:
            free = [at for at in _PLACES if not self.data[at]]
            at = free[0] if free else min(self._spans(), key=lambda span: span[1])[0]
            _SPAN.pack_into(self.data, at, 1, 0, key, bytes(16))
        return at

    def _spans(self) -> Iterator[tuple[int, int]]:
        for at in _PLACES:
            if self.data[at]:
                yield at, _NUMBER.unpack_from(self.data, at + 8)[0]

    def spent(self, at: int) -> int:
        """Return what is spent in the span at a place."""
        return int.from_bytes(self.data[at + 16 : at + 32], "little", signed=True)

    def set_spent(self, at: int, amount: int) -> None:
        """Record what is spent in the span at a place."""
        self.data[at + 16 : at + 32] = amount.to_bytes(16, "little", signed=True)

    def warn(self, at: int) -> bool:
        """Record that the span at a place is over its limit; return whether that is new."""
        is_new = not self.data[at + 1]
        self.data[at + 1] = 1
        return is_new

    def forgive(self, at: int) -> None:
        """Record that the span at a place is within its limit."""
        self.data[at + 1] = 0

    # --- processes

    def slots(self) -> Iterator[Slot]:
        """Give what each process has in the file."""
        for at in _SLOTS:
            process, counted, last, held = _SLOT.unpack_from(self.data, at)
            if process:
                yield Slot(at, process, counted, last, int.from_bytes(held, "little", signed=True))

    def slot(self, process: int, place: int = 0) -> Slot:
        """Return a process's slot, which is made where there is none. ``place``: where it was.

        :raises OSError: there are too many processes.
        """
        if place:
            its, counted, last, held = _SLOT.unpack_from(self.data, place)
            if its == process:
                return Slot(place, process, counted, last, int.from_bytes(held, "little", signed=True))
        free = 0
        for at in _SLOTS:
            its, counted, last, held = _SLOT.unpack_from(self.data, at)
            if its == process:
                return Slot(at, process, counted, last, int.from_bytes(held, "little", signed=True))
            if not its:
                free = free or at
        if not free:
            raise OSError(f"more than {MOST_PROCESSES} processes use this budget")
        _SLOT.pack_into(self.data, free, process, 0, 0, bytes(16))
        return Slot(free, process, 0, 0, 0)

    def put(self, slot: Slot, held: int, counted: int, last: int) -> None:
        """Record what a process holds now, and which of its events are counted."""
        if held != slot.held:
            self.data[8:24] = (self.held + held - slot.held).to_bytes(16, "little", signed=True)
        its = held.to_bytes(16, "little", signed=True)
        _SLOT.pack_into(self.data, slot.place, slot.process, counted, last, its)

    def free(self, slot: Slot) -> None:
        """Let go of the slot of a process that is dead. :meth:`add_up` lets go of what it held."""
        self.data[slot.place : slot.place + _SLOT.size] = bytes(_SLOT.size)
