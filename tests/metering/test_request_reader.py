"""What is read of requests: JSON and forms, cut anywhere, and bodies that are neither."""

from __future__ import annotations

import gzip
import json

import pytest

from metrion.metering.request_reader import RequestReader
from tests.corpus import at_least, encode, exchanges


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model": "gpt-5", "messages": [{"model": "not this"}], "stream": true}', "gpt-5", True),
        (b'{"stream": false, "tools": [{"model": "x"}], "model": "m"}', "m", False),
        (b'{"model": "a", "model": "b"}', "b", None),
        (b'{"messages": "' + b"\\u0041\\\"" * 20_000 + b'", "model": "m"}', "m", None),
        (b'{"model": "half', None, None),
        (b'{"model": 5, "stream": "true"}', None, None),
        (b'{"model": ""}', None, None),
        (b'[{"model": "m"}]', None, None),
        (b"--boundary\r\n", None, None),
        (b"", None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("content_encoding", ["identity", "gzip", "zstd"])
def test_requests(body: bytes, model: str | None, stream: bool | None, content_encoding: str) -> None:
    wire = encode(body, content_encoding)
    for size in (1 << 16, 1000, 1):
        reader = RequestReader(content_type="application/json", content_encoding=content_encoding)
        for at in range(0, len(wire), size):
            reader.feed(wire[at : at + size])
        reader.finish()
        assert (reader.model, reader.stream) == (model, stream)


@pytest.mark.parametrize(("stream", "expected"), [(b"true", True), (b"false", False), (b"yes", None)])
@pytest.mark.parametrize("content_encoding", [None, "gzip"])
def test_requests_that_are_forms(stream: bytes, content_encoding: str | None, *, expected: bool | None) -> None:
    fields = [(b'file"; filename="a.wav', b"RIFF" * 1000), (b"model", b"whisper-1"), (b"stream", stream)]
    parts = [b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % field for field in fields]
    body = encode(b"".join(parts) + b"--x--\r\n", content_encoding)
    reader = RequestReader(content_type="multipart/form-data; boundary=x", content_encoding=content_encoding)
    for at in range(0, len(body), 100):
        reader.feed(body[at : at + 100])
    reader.finish()
    assert (reader.model, reader.stream) == ("whisper-1", expected)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "audio/wav"])
def test_requests_that_are_no_json(content_type: str) -> None:
    reader = RequestReader(content_type=content_type, content_encoding="gzip")
    reader.feed(b'{"model": "m"}')
    reader.finish()
    assert (reader.model, reader.stream) == (None, None)


@pytest.mark.parametrize(
    ("body", "content_encoding", "model", "warnings"),
    [
        (b'{"model": "m"}', None, "m", ()),
        (b"", None, None, ()),
        (b'{"model": "m", "messages": [', None, "m", ("the JSON body ends early, or is broken",)),
        (b'{"model" "m"}', None, None, ("the JSON body ends early, or is broken",)),
        (b"[" * 100_000, None, None, ("the JSON body ends early, or is broken",)),
        (b'{"model": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", None, None, ()),
        (b'{"model": "m"}', "br", None, ("the body is not br",)),
        (b'{"model": "m"}', "zebra", None, ("the content-encoding is none of br, deflate, gzip, x-gzip, zstd",)),
        (gzip.compress(b'{"model": "m"}', mtime=0)[:-4], "gzip", "m", ("the gzip body ends early",)),
    ],
)
def test_what_cannot_be_read_of_a_request(
    body: bytes, content_encoding: str | None, model: str | None, warnings: tuple[str, ...]
) -> None:
    for size in (1 << 16, 7):
        reader = RequestReader(content_type="application/json", content_encoding=content_encoding)
        for at in range(0, len(body), size):
            reader.feed(body[at : at + size])
        reader.finish()
        assert (reader.model, reader.warnings) == (model, warnings)


def test_recorded_requests_ask_for_what_their_json_says() -> None:
    asked = 0
    for exchange in exchanges({"chat", "messages"}):
        try:
            document = json.loads(exchange.request_body)
        except ValueError:
            continue
        reader = RequestReader(content_type="application/json", content_encoding=None)
        for at in range(0, len(exchange.request_body), 1400):
            reader.feed(exchange.request_body[at : at + 1400])
        reader.finish()
        assert (reader.model, reader.stream) == (document.get("model"), document.get("stream")), exchange.id
        asked += 1
    assert asked > at_least(1000, 20)
