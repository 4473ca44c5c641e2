"""Bodies of requests that are held before they go out: of each at most :data:`MOST_HELD`, together as much as is room.

No I/O. Whoever holds a body takes room as it comes, and gives it back with the body.
"""

from __future__ import annotations

MOST_HELD = 32 << 20
"""How many bytes of a body are held."""
MOST_HELD_TOGETHER = 512 << 20
"""How many bytes of bodies a process holds."""


class Room:
    """What bodies may still be held in a process. ``left``: in bytes."""

    __slots__ = ("left",)

    def __init__(self, left: int = MOST_HELD_TOGETHER) -> None:
        self.left = left


class HeldBody:
    """The pieces of one body that cannot go out yet."""

    __slots__ = ("_pieces", "_room", "_size", "_taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pieces: list[bytes] = []
        self._size = 0
        self._taken = 0

    def add(self, data: bytes) -> None:
        """Keep a piece, whether there is room for it or not."""
        self._pieces.append(data)
        self._size += len(data)

    def fits(self, size: int = 0) -> bool:
        """Take room for what is kept, or for so many bytes; return whether there is."""
        size = max(size, self._size)
        more = size - self._taken
        if more > 0:
            if size > MOST_HELD or more > self._room.left:
                return False
            self._room.left -= more
            self._taken = size
        return True

    @property
    def whole(self) -> bytes:
        """What is kept, in one piece."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def replace(self, body: bytes) -> None:
        """Keep another body in its place."""
        self._pieces = [body]

    def take(self) -> bytes:
        """Return what is kept, and keep nothing of it."""
        body = self.whole if self._pieces else b""
        self._pieces, self._size = [], 0
        self._room.left += self._taken
        self._taken = 0
        return body
