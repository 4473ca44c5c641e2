"""Which documents a body holds, and how much of a large one is read."""

from __future__ import annotations

import base64
import json

import pytest

from metrion.conversations.bodies import base64_size, documents

_LONG = base64.b64encode(b"\xff\xd8" * 60_000).decode()


@pytest.mark.parametrize(
    ("body", "values", "is_stream"),
    [
        (b'{"a": 1}', ({"a": 1},), False),
        (b' \n[{"a": 1}, {"a": 2}]', ({"a": 1}, {"a": 2}), True),
        (b'{"a": 1}\n{"a": 2}\n', ({"a": 1}, {"a": 2}), False),
        (b'{"a": 1}\nbroken\n{"a": 2}', ({"a": 1}, {"a": 2}), False),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', ({"a": 1},), True),
        (b': a comment\n\nevent: x\r\ndata: {"a": 1}\r\n\r\n', ({"a": 1},), True),
        (b'data: {"a": 1}\n\ndata: {"a": 2}', ({"a": 1}, {"a": 2}), True),
    ],
)
def test_the_documents_of_a_body(body: bytes, values: tuple[object, ...], is_stream: bool) -> None:
    found = documents(body)
    assert found is not None
    assert (found.values, found.is_stream, found.cut) == (values, is_stream, 0)


@pytest.mark.parametrize(
    "body", [b"", b"words", b"data: words\n\n", b"--form\r\n", b"\x1f\x8b\x08", b"{" * 5000, b"[" * 99]
)
def test_what_holds_none(body: bytes) -> None:
    assert documents(body) is None


def test_long_base64_is_cut_out_before_parsing_and_its_size_is_known() -> None:
    found = documents(json.dumps({"url": f"data:image/png;base64,{_LONG}", "words": "a " * 4000}).encode())
    assert found is not None
    (value,) = found.values
    assert len(value["url"]) < 100
    assert value["words"] == "a " * 4000
    assert base64_size(value["url"].partition("base64,")[2]) == 120_000 == base64_size(_LONG)


def test_a_long_body_is_read_as_far_as_there_is_time_for() -> None:
    line = json.dumps({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "word " * 200}]}}).encode()
    found = documents((line + b"\n") * 8000)
    assert found is not None
    assert found.cut > 4_000_000
    assert len(found.values) > 3000
