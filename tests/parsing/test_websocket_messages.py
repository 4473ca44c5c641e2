"""Frames of every kind, cut anywhere; compressed with and without context takeover; malformed, and made to kill."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import pytest

from metrion.parsing import websocket_messages
from metrion.parsing.websocket_messages import (
    MOST_HELD,
    Close,
    Deflate,
    Event,
    Held,
    Message,
    MessageReader,
    Skipped,
    UnreadableError,
)

MASK = b"\x01\xfe\x00\x7f"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    size = len(payload)
    lengths = [(126, bytes([size & 127]))] if size < 126 else []
    lengths += [(1 << 16, b"\x7e" + size.to_bytes(2))] if size < 1 << 16 else [(1 << 63, b"\x7f" + size.to_bytes(8))]
    length = bytearray(lengths[0][1])
    if mask:
        length[0] |= 0x80
        payload = bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(mask), strict=False))
    return bytes([(0x80 if fin else 0) | rsv | opcode]) + bytes(length) + mask + payload


class Packer:
    """Compresses messages as RFC 7692 has it."""

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def __call__(self, message: bytes) -> bytes:
        packed = (self._packer.compress(message) + self._packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if not self._takeover:
            self._packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packed


def read(pieces: Iterable[bytes], *, takeover: bool | None = None) -> list[Event]:
    held = Held()
    reader = MessageReader(takeover, held)
    found = [event for piece in pieces for event in reader.feed(piece)]
    reader.close()
    assert held.left == Held().left
    return found


def cuts(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(0, len(data) + 1, 1 + len(data) // 200):
        yield [data[:at], b"", data[at:]]


LONG, VERY_LONG = b"x" * 300, random.Random(1).randbytes(70_000)

PLAIN = [
    pytest.param(frame(1, b"hello"), [Message(b"hello", is_text=True)], id="text"),
    pytest.param(frame(2, b"hello"), [Message(b"hello", is_text=False)], id="binary"),
    pytest.param(frame(1), [Message(b"", is_text=True)], id="empty"),
    pytest.param(frame(1, b"hello", mask=MASK), [Message(b"hello", is_text=True)], id="masked"),
    pytest.param(frame(1, LONG, mask=MASK), [Message(LONG, is_text=True)], id="two bytes of length"),
    pytest.param(frame(2, VERY_LONG, mask=MASK), [Message(VERY_LONG, is_text=False)], id="eight bytes of length"),
    pytest.param(frame(1, b"one") + frame(2, b"two"),
                 [Message(b"one", is_text=True), Message(b"two", is_text=False)], id="two"),
    pytest.param(frame(1, b"a", fin=False) + frame(9, b"ping") + frame(0, b"b", fin=False) + frame(10) + frame(0, b"c"),
                 [Message(b"abc", is_text=True)], id="fragments with pings between"),
    pytest.param(frame(1, fin=False) + frame(0, fin=False) * 50 + frame(0, b"x"),
                 [Message(b"x", is_text=True)], id="empty fragments"),
    pytest.param(frame(8), [Close(None, "")], id="close"),
    pytest.param(frame(8, b"\x03\xe8bye", mask=MASK), [Close(1000, "bye")], id="close with a reason"),
    pytest.param(frame(8, b"\x03\xe8\xff"), [Close(1000, "�")], id="close with no text"),
    pytest.param(frame(1, b"a", fin=False) + frame(8, b"\x03\xe9"), [Close(1001, "")], id="close within a message"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "events"), PLAIN)
def test_cut_anywhere(data: bytes, events: list[Event]) -> None:
    for pieces in cuts(data):
        assert read(pieces) == events


@pytest.mark.parametrize("mask", [b"", MASK], ids=["provider", "client"])
@pytest.mark.parametrize("takeover", [True, False], ids=["takeover", "no takeover"])
def test_compressed(*, takeover: bool, mask: bytes) -> None:
    """Fragments are of the compressed bytes; a message in between may be as it is."""
    pack = Packer(takeover=takeover)
    said = [b'{"type": "response.done", "n": 1}', b"", b'{"type": "response.done", "n": 2}' * 30, VERY_LONG[:3000]]
    data = b""
    for message in said:
        packed = pack(message)
        third = len(packed) // 3
        data += frame(1, packed[:third], fin=False, rsv=0x40, mask=mask)
        data += frame(9, b"?", mask=mask) + frame(0, packed[third : 2 * third], fin=False, mask=mask)
        data += frame(0, packed[2 * third :], mask=mask) + frame(1, b"as it is", mask=mask)
    expected = [Message(each, is_text=True) for message in said for each in (message, b"as it is")]
    for pieces in cuts(data):
        assert read(pieces, takeover=takeover) == expected


def test_a_compressed_stream_may_end_within_a_message() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(b"hello") + packer.flush() + b"\x00"  # RFC 7692, section 7.2.3.4
    data = frame(1, packed, rsv=0x40) * 2
    assert read([data], takeover=True) == [Message(b"hello", is_text=True)] * 2


@pytest.mark.parametrize(
    "data",
    [
        frame(3),
        frame(11),
        frame(0, b"x"),
        frame(1, fin=False) + frame(1),
        frame(9, fin=False),
        frame(9, b"x" * 126),
        frame(1, b"x", rsv=0x40),
        frame(1, b"x", rsv=0x20),
        frame(1, b"x", rsv=0x10),
        frame(9, rsv=0x40),
    ],
    ids=["opcode 3", "opcode 11", "nothing to go on", "a new one within", "ping in fragments", "long ping",
         "packed unasked", "rsv2", "rsv3", "packed ping"],
)  # fmt: skip
def test_malformed(data: bytes) -> None:
    for pieces in cuts(data):
        with pytest.raises(UnreadableError):
            read(pieces)


def test_what_is_not_compressed_as_agreed() -> None:
    with pytest.raises(UnreadableError, match="not compressed as agreed"):
        read([frame(1, b"\xff\xff\xff hello", rsv=0x40)], takeover=True)
    with pytest.raises(UnreadableError, match="not agreed on"):
        read([frame(1, b"x", fin=False, rsv=0x40) + frame(0, b"x", rsv=0x40)], takeover=True)


@pytest.mark.parametrize("takeover", [None, True, False], ids=["plain", "takeover", "no takeover"])
def test_a_message_that_is_too_large_is_skipped(takeover: bool | None) -> None:
    """Those after it are read, also where they refer to it."""
    pack = Packer(takeover=takeover) if takeover is not None else None
    rsv = 0x40 if pack else 0
    half = random.Random(2).randbytes(MOST_HELD // 2 + 1)
    tail = half[-20_000:]
    messages = [half + half, tail, b"next"]
    data = b"".join(frame(2, pack(each) if pack else each, rsv=rsv) for each in messages)
    pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
    assert read(pieces, takeover=takeover) == [
        Skipped(),
        Message(tail, is_text=False),
        Message(b"next", is_text=False),
    ]


def test_readers_share_what_they_hold() -> None:
    held = Held(1000)
    one, other = MessageReader(None, held), MessageReader(None, held)
    begun, rest = frame(1, b"x" * 600, fin=False), frame(0, b"x" * 100)
    assert list(one.feed(begun)) == []
    assert list(other.feed(begun + rest)) == [Skipped()]
    assert list(one.feed(rest)) == [Message(b"x" * 700, is_text=True)]
    assert list(other.feed(begun + rest)) == [Message(b"x" * 700, is_text=True)]
    list(one.feed(begun))
    one.close()
    assert held.left == 1000


def repeated(piece: bytes, size: int = 1 << 16) -> bytes:
    return piece * (size // len(piece))


@functools.cache
def bomb() -> bytes:
    """Return the little that is 400 MB once decompressed."""
    zeros = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return zeros.compress(bytes(400 << 20)) + zeros.flush(zlib.Z_SYNC_FLUSH)[:-4]


HOSTILE: dict[str, Callable[[], list[bytes]]] = {
    "bomb": lambda: [frame(2, bomb(), rsv=0x40)],
    "bombs": lambda: [frame(2, bomb()[:50_000], fin=False, rsv=0x40), *[frame(0, bomb()[50_000:], fin=False)] * 20],
    "a message without end": lambda: [frame(2, fin=False), *[frame(0, bytes(65_000), fin=False)] * 3300],
    "a frame without end": lambda: [b"\x82\x7f" + b"\xff" * 8, *[bytes(65_536)] * 3300],
    "empty fragments": lambda: [frame(2, fin=False), *[repeated(frame(0, fin=False))] * 20],
    "fragments of a byte": lambda: [frame(2, fin=False), *[repeated(frame(0, b"x", fin=False, mask=MASK))] * 20],
    "pings": lambda: [repeated(frame(9))] * 20,
    "pongs with a payload": lambda: [repeated(frame(10, b"x" * 125, mask=MASK))] * 20,
    "empty messages": lambda: [repeated(frame(1))] * 20,
    "empty streams": lambda: [frame(2, repeated(b"\x03\x00"), rsv=0x40)] * 20,
}


def longest_turn(name: str, *, takeover: bool) -> float:
    """Read what arrives at once, again and again; return the most seconds that this took."""
    reader, longest = MessageReader(takeover, Held()), 0.0
    for data in HOSTILE[name]():
        for at in range(0, len(data), 1 << 16):
            began = time.thread_time()
            with contextlib.suppress(UnreadableError):
                for _ in reader.feed(data[at : at + (1 << 16)]):
                    pass
            longest = max(longest, time.thread_time() - began)
    return longest


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("takeover", [True, False], ids=["takeover", "no takeover"])
def test_memory_and_work_are_bounded(name: str, *, takeover: bool) -> None:
    assert longest_turn(name, takeover=takeover) < 0.25
    if name == "fragments of a byte":
        return  # a hundred seconds under tracing
    tracemalloc.start()
    try:
        longest_turn(name, takeover=takeover)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MOST_HELD


@pytest.mark.parametrize(
    ("extensions", "agreed"),
    [
        ("", None),
        ("x-webkit-deflate-frame", None),
        ("permessage-deflate", Deflate()),
        ("permessage-deflate; client_max_window_bits=15; server_max_window_bits=10", Deflate()),
        ("Permessage-Deflate;server_no_context_takeover", Deflate(server_takeover=False)),
        ("permessage-deflate; client_no_context_takeover", Deflate(client_takeover=False)),
        ("foo, permessage-deflate;client_no_context_takeover;  SERVER_no_context_takeover",
         Deflate(client_takeover=False, server_takeover=False)),
    ],
)  # fmt: skip
def test_what_was_agreed_on(extensions: str, agreed: Deflate | None) -> None:
    assert Deflate.agreed(extensions) == agreed


def test_held_is_bounded_for_a_process() -> None:
    assert Held().left == websocket_messages.MOST_HELD_TOGETHER
