"""The rules of https://html.spec.whatwg.org/multipage/server-sent-events.html, at every cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.parsing import sse
from metrion.parsing.sse import EventReader, Part

Event = tuple[bytes, bytes]


def events(pieces: list[bytes]) -> list[Event]:
    """Read events, name and data, with their parts put together."""
    reader = EventReader()
    found: list[Event] = []
    data = b""
    for piece in pieces:
        for part in reader.feed(piece):
            data += part.data
            if part.last:
                found.append((part.name, data))
                data = b""
    return found


STREAMS: list[tuple[bytes, list[Event]]] = [
    (b"", []),
    (b"data: a\n\n", [(b"", b"a")]),
    (b"data: a\r\n\r\n", [(b"", b"a")]),
    (b"data: a\r\r", [(b"", b"a")]),
    (b"data: a\n\r\n", [(b"", b"a")]),
    (b"data: a\r\n\ndata: b\r\r\n", [(b"", b"a"), (b"", b"b")]),
    (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
    (b"event: e\ndata: a\n\ndata: b\n\n", [(b"e", b"a"), (b"", b"b")]),
    (b"data: a\nevent: e\n\n", [(b"e", b"a")]),
    (b"event: d\nevent: e\ndata: a\n\n", [(b"e", b"a")]),
    (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
    (b"data: a\r\ndata\r\ndata: b\r\n\r\n", [(b"", b"a\n\nb")]),
    (b"data\n\n", [(b"", b"")]),
    (b"data:\n\n", [(b"", b"")]),
    (b": comment\n\n", []),
    (b": comment\ndata: a\n: another\n\n", [(b"", b"a")]),
    (b"id: 1\nretry: 10\nunknown: x\nDATA: x\n data: x\ndata: a\n\n", [(b"", b"a")]),
    (b"event: e\n\ndata: a\n\n", [(b"", b"a")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [(b"", b"b")]),
    (b"\xef\xbbdata: a\n\ndata: b\n\n", [(b"", b"b")]),
    (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\n\ndata: half", [(b"", b"a")]),
    (b"data: a\n\ndata: half\n", [(b"", b"a")]),
    (b"data: no end\r\n", []),
    (b"data: \xff\xfe\x00\n\n", [(b"", b"\xff\xfe\x00")]),
    (b'data: {"text": "\xe2\x80\xa8 \\n"}\n\n', [(b"", b'{"text": "\xe2\x80\xa8 \\n"}')]),
    (b"data: longer than can be held: 0123456789\ndata: 0123456789\nevent: e\n\ndata: b\n\n",
     [(b"e", b"longer than can be held: 0123456789\n0123456789"), (b"", b"b")]),
    (b"data: a\n\n\n\n\ndata: longer than can be held: 0123456789\n\n\n\ndata: b\n\n",
     [(b"", b"a"), (b"", b"longer than can be held: 0123456789"), (b"", b"b")]),
    (b": a comment longer than can be held 0123456789\n\ndata: b\n\n", [(b"", b"b")]),
    (b"data: 0123456789 0123456789 0123456789\n: a comment longer than can be held 0123456789\n\n",
     [(b"", b"0123456789 0123456789 0123456789")]),
]  # fmt: skip


@pytest.mark.parametrize("held", [1 << 14, 16, 8], ids=["held", "parts", "crumbs"])
@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_events_at_every_cut(stream: bytes, expected: list[Event], held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HELD", held)
    assert events([stream]) == expected
    assert events([stream[at : at + 1] for at in range(len(stream))]) == expected
    for first in range(len(stream)):
        for second in range(first, len(stream), 5):
            assert events([stream[:first], stream[first:second], stream[second:]]) == expected


LINES = st.sampled_from(
    [b"", b"data: x", b"data:", b"data", b"data: [1,2]", b"event: e", b"event:", b": c", b"id: 1", b"datax: 1", b"junk"]
)


def by_the_book(lines: list[bytes]) -> list[Event]:
    """Follow the steps of the standard, line by line."""
    found: list[Event] = []
    name, data = b"", b""
    for line in lines:
        if not line:
            if data:
                found.append((name, data.removesuffix(b"\n")))
            name, data = b"", b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
    return found


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]))), st.lists(st.integers(1, 9)))
def test_any_lines_are_read_by_the_book(ended: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    # An empty line that ends with LF after one that ends with CR would be one line end to anybody.
    lines = [(line, b"\r\n" if end == b"\n" else end) for line, end in ended]
    stream = b"".join(line + end for line, end in lines)
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(stream[:size])
        stream = stream[size:]
    assert events([*pieces, stream]) == by_the_book([line for line, _ in lines])


def test_what_does_not_matter_is_passed_over_whole_or_event_by_event() -> None:
    asked: list[bytes] = []

    def matters(block: bytes) -> bool:
        asked.append(block)
        return b"usage" in block

    reader = EventReader(matters)
    assert list(reader.feed(b"data: a\n\n")) == []
    assert list(reader.feed(b"data: b\n\ndata: c\n\ndata: d")) == []
    assert list(reader.feed(b"\n\ndata: usage\n\n")) == [Part(b"usage")]
    assert asked == [b"data: a", b"data: b\n\ndata: c", b"data: d\n\ndata: usage\n\n", b"data: d", b"data: usage", b""]


def test_a_large_event_is_handed_on_as_it_comes() -> None:
    reader = EventReader()
    sizes = []
    for chunk in [b"event: big\ndata: ", *[b"x" * 4096] * 1000, b"\n\n"]:
        sizes += [len(part.data) for part in reader.feed(chunk)]
    assert sum(sizes) == 4096 * 1000
    assert max(sizes) <= sse.HELD + 4096


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"data: a\n\ndata: b", [Part(b"b")]),
        (b"data: a\n\nevent: e\ndata: b\n", [Part(b"b", b"e")]),
        (b"data: a\n\nevent: e\r\ndata: b\r\n", [Part(b"b", b"e")]),
        (b"data: a\n\n: bye", []),
        (b"data: a\n\n", []),
        (b"", []),
    ],
)
def test_the_event_that_a_body_ends_with_comes_at_its_end(body: bytes, size: int, parts: list[Part]) -> None:
    reader = EventReader()
    for at in range(0, len(body), size):
        list(reader.feed(body[at : at + size]))
    assert list(reader.finish()) == parts
    assert list(reader.finish()) == []


def test_a_long_event_that_a_body_ends_with_is_finished() -> None:
    reader = EventReader()
    long = b"x" * (sse.HELD + 1)
    found = [*reader.feed(b"event: e\ndata: " + long + b"\n: c"), *reader.finish()]
    assert b"".join(part.data for part in found) == long
    assert [part.last for part in found][-1:] == [True]
