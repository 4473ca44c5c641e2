"""Bodies of many JSON documents, cut anywhere: the documents that come out, and whether each is whole."""

import json
import tracemalloc
from typing import Any

import pytest

from metrion.parsing.json_sequence import Elements, Lines
from metrion.parsing.json_values import tree


def documents_of(reader: Elements | Lines, *pieces: bytes) -> list[tuple[Any, bool]]:
    """The documents that a reader gives, and whether they are complete."""
    return [(each.document, each.complete) for piece in pieces for each in reader.feed(piece)]


@pytest.mark.parametrize(
    ("text", "documents", "complete"),
    [
        (b"[]", [], True),
        (b"[ \n ]\n", [], True),
        (b'[{"a": 1}]', [{"a": 1}], True),
        (b'[{"a": [1, "]"]}\n,\r\n{"b": {}, "a": "},{"}\n]\n', [{"a": [1, "]"]}, {"a": "},{"}], True),
        (b'[{"a": 1}, 5, "x", null, [1], {"a": 2}] [{"a": 3}]', [{"a": 1}, None, None, None, None, {"a": 2}], True),
        (b'[[{"a": 1}]]', [None], True),
        (b'[{"a": 1}, {"a": 2', [{"a": 1}], False),
        (b'[{"a": 1},', [{"a": 1}], False),
        (b'[{"a": 1}, {]}, {"a": 2}]', [{"a": 1}], False),
        (b"[", [], False),
    ],
)
def test_elements_at_every_cut(text: bytes, documents: list[Any], *, complete: bool) -> None:
    for at in range(1, len(text) + 1):
        reader = Elements(tree([("a",)]))
        assert documents_of(reader, text[:at], text[at:]) == [(document, True) for document in documents]
        assert reader.complete is complete
    reader = Elements(tree([("a",)]))
    assert documents_of(reader, *(text[at : at + 1] for at in range(len(text)))) == [(each, True) for each in documents]


@pytest.mark.parametrize(
    ("text", "documents", "complete"),
    [
        (b"", [], True),
        (b"\r\n\n", [], True),
        (b'{"a": 1}\n{"a": 2}\n', [({"a": 1}, True), ({"a": 2}, True)], True),
        (b'{"a": 1}\r\n\r\n{"a": 2}', [({"a": 1}, True), ({"a": 2}, True)], True),
        (b'{"a": 1,\n{"a": 2}\n', [({"a": 1}, False), ({"a": 2}, True)], True),
        (b'}{\n{"a": 2}', [(None, False), ({"a": 2}, True)], True),
        (b'{"a": 1} {"a": 3}\n{"a": 2}', [({"a": 1}, True), ({"a": 2}, True)], True),
        (b'{"a": 1}\n{"a": ', [({"a": 1}, True)], False),
    ],
)
def test_lines_at_every_cut(text: bytes, documents: list[Any], *, complete: bool) -> None:
    for at in range(len(text) + 1):
        reader = Lines(tree([("a",)]))
        assert documents_of(reader, text[:at], text[at:]) == documents
        assert reader.complete is complete


def test_an_array_of_any_length_is_not_held() -> None:
    element = json.dumps({"usage": {"n": 7, "x": "y" * 400}, "text": "z" * 2000}).encode()
    reader, count = Elements(tree([("usage", "n")])), 0
    tracemalloc.start()
    for piece in (b"[", *([element + b","] * 5000), element, b"]"):
        count += len(documents_of(reader, piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, reader.complete) == (5001, True)
    assert peak < 1 << 18
