"""WebSocket frames read beside the traffic: the bytes of one direction in, cut anywhere; its messages out.

Frames are RFC 6455's, compression is ``permessage-deflate`` (RFC 7692), with and without context takeover. A message
that is larger than :data:`MOST_HELD` is skipped, and so is one for which :class:`Held` has no room left. So memory is
bounded, whatever is sent. Work is bounded by a :class:`~metrion.parsing.work_budget.WorkBudget`.

:meth:`MessageReader.feed` raises :class:`UnreadableError`, and nothing else; what follows cannot be read then. The
error never contains the bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from metrion.parsing.work_budget import WorkBudget, WorkBudgetError

MOST_HELD = 16 << 20
"""Plain bytes of a message that is read. An answer with an image in it has some ten million."""
MOST_HELD_TOGETHER = 128 << 20
"""The same for all messages of a process that are not whole yet."""

_PIECE = 1 << 16
"""The most bytes that are inflated at once."""
_START = 1 << 16
"""Units that each direction has from the start. A session shares its process with others, and may be one of many."""
_FRAME_COST = 24
"""Units for a frame. One of twelve bytes earns them; what is there from the start pays for 3,000 empty pings."""
_STREAM_COST = 32
"""Units for a compressed stream that ends within a message."""
_PLAIN_BYTES_PER_UNIT = 64
"""How many inflated bytes cost a unit: what is packed up to 128-fold earns what it costs, a bomb does not."""

_FIN, _RSV1, _RSV2_AND_3, _OPCODE, _MASK, _LENGTH = 0x80, 0x40, 0x30, 0x0F, 0x80, 0x7F
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_CONTROL = 0x8
_MOST_CONTROL = 125
_SYNC_MARK = b"\x00\x00\xff\xff"
"""What the sender of a compressed message leaves out at its end."""


class UnreadableError(ValueError):
    """The bytes are not WebSocket frames, or too much work to read. Its reader catches it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, inflated."""

    payload: bytes
    is_text: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A message was too large to be read."""


@dataclass(frozen=True, slots=True)
class Close:
    """A Close frame. ``code`` is ``None`` where it names none."""

    code: int | None
    reason: str


type Event = Message | Skipped | Close


class Held:
    """How many bytes may still be held, by all readers that share this."""

    __slots__ = ("left",)

    def __init__(self, left: int = MOST_HELD_TOGETHER) -> None:
        self.left = left


@dataclass(frozen=True, slots=True)
class Deflate:
    """How a session compresses messages. ``*_takeover``: that side refers to what it has sent before."""

    client_takeover: bool = True
    server_takeover: bool = True

    @classmethod
    def agreed(cls, extensions: str) -> Self | None:
        """Read the ``Sec-WebSocket-Extensions`` of a response; ``None``: messages are not compressed."""
        for extension in extensions.split(","):
            name, *parameters = (part.strip().lower() for part in extension.split(";"))
            if name == "permessage-deflate":
                return cls(
                    client_takeover="client_no_context_takeover" not in parameters,
                    server_takeover="server_no_context_takeover" not in parameters,
                )
        return None


class MessageReader:
    """See the module. ``takeover``: whether messages may refer to those before; ``None``: nothing is compressed."""

    def __init__(self, takeover: bool | None, held: Held) -> None:
        self._budget = WorkBudget(_START)
        self._held = held
        self._takeover = takeover
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._head = b""
        """The beginning of a frame's head."""
        # The frame under way.
        self._opcode = _CONTINUATION
        self._is_last = False
        self._left = 0
        """How many bytes of its payload are still to come."""
        self._mask: bytes | None = None
        self._control = b""
        # The message under way, around which control frames may come.
        self._kind: int | None = None
        """Its opcode; ``None``: there is none."""
        self._is_packed = False
        self._is_skipped = False
        self._payload = bytearray()

    def close(self) -> None:
        """Drop what is held."""
        self._held.left += len(self._payload)
        self._payload = bytearray()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Read bytes; yield what ends in them.

        :raises UnreadableError: they cannot be read, nor can what follows.
        """
        self._budget.earn(len(data))
        try:
            yield from self._read(data)
        except WorkBudgetError:
            raise UnreadableError("they take too much work to read") from None
        except zlib.error:
            raise UnreadableError("a message is not compressed as agreed") from None

    def _read(self, data: bytes) -> Iterator[Event]:
        at = 0
        if self._head:
            data, self._head = self._head + data, b""
        while True:
            if not self._left:
                size = self._read_head(data, at)
                if not size:
                    self._head = data[at:]
                    return
                at += size
            piece = data[at : at + self._left]
            at += len(piece)
            self._take(piece)
            if self._left:
                return
            if (event := self._end_frame()) is not None:
                yield event

    def _read_head(self, data: bytes, at: int) -> int:
        """Read the head of a frame; return how long it is, 0 where it is not whole."""
        here = len(data) - at
        if here < 2:
            return 0
        first, second = data[at], data[at + 1]
        length = second & _LENGTH
        size = 2 + {126: 2, 127: 8}.get(length, 0)
        whole = size + (4 if second & _MASK else 0)
        if here < whole:
            return 0
        self._budget.spend(_FRAME_COST)
        if size > 2:
            length = int.from_bytes(data[at + 2 : at + size])
        self._mask = data[at + size : at + whole] if second & _MASK else None
        self._opcode, self._is_last, self._left = first & _OPCODE, bool(first & _FIN), length
        self._begin_frame(first)
        return whole

    def _begin_frame(self, first: int) -> None:
        opcode = self._opcode
        if opcode & _CONTROL:
            if opcode > _PONG or not self._is_last or first & _RSV1 or self._left > _MOST_CONTROL:
                raise UnreadableError("a control frame is malformed")
        elif opcode > _BINARY or (opcode == _CONTINUATION) == (self._kind is None):
            raise UnreadableError("a frame is out of turn")
        elif opcode != _CONTINUATION:
            self._kind, self._is_packed = opcode, bool(first & _RSV1)
        if first & _RSV2_AND_3 or (first & _RSV1 and (self._takeover is None or opcode == _CONTINUATION)):
            raise UnreadableError("a frame has bits set that were not agreed on")

    def _take(self, piece: bytes) -> None:
        """Take payload of the frame under way."""
        if not piece:
            return
        self._left -= len(piece)
        if self._is_skipped and not (self._is_packed and self._takeover) and not self._opcode & _CONTROL:
            return
        if self._mask is not None:
            piece, self._mask = _unmasked(piece, self._mask)
        if self._opcode & _CONTROL:
            self._control += piece
        elif self._is_packed:
            self._inflate(piece)
        else:
            self._add(piece)

    def _inflate(self, data: bytes) -> None:
        plain = b""
        while data or plain:
            plain = self._inflater.decompress(data, _PIECE)
            self._budget.spend(len(plain) // _PLAIN_BYTES_PER_UNIT)
            self._add(plain)
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:  # a sender may end a stream before its message
                self._budget.spend(_STREAM_COST)
                data = self._inflater.unused_data
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def _add(self, plain: bytes) -> None:
        if self._is_skipped or not plain:
            return
        if len(self._payload) + len(plain) > MOST_HELD or len(plain) > self._held.left:
            self._is_skipped = True
            self.close()
            return
        self._held.left -= len(plain)
        self._payload += plain

    def _end_frame(self) -> Event | None:
        if self._opcode & _CONTROL:
            payload, self._control = self._control, b""
            return _close(payload) if self._opcode == _CLOSE else None
        if not self._is_last:
            return None
        if self._is_packed:
            if self._takeover or not self._is_skipped:
                self._inflate(_SYNC_MARK)
            if not self._takeover:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        event = Skipped() if self._is_skipped else Message(bytes(self._payload), self._kind == _TEXT)
        self.close()
        self._kind, self._is_skipped = None, False
        return event


def _unmasked(piece: bytes, mask: bytes) -> tuple[bytes, bytes]:
    """Return the payload without its mask, and the mask as it goes on."""
    size = len(piece)
    repeated = (mask * (size // 4 + 1))[:size]
    plain = (int.from_bytes(piece) ^ int.from_bytes(repeated)).to_bytes(size)
    turn = size % 4
    return plain, mask[turn:] + mask[:turn]


def _close(payload: bytes) -> Close:
    code = int.from_bytes(payload[:2]) if len(payload) >= 2 else None
    return Close(code, payload[2:].decode("utf-8", "replace"))
