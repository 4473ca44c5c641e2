"""Forms as SDKs and curl send them, at every cut; and bodies that are none."""

import tracemalloc

import httpx2
import pytest

from metrion.parsing.multipart import FormReader, boundary

WANTED = frozenset({"model", "stream"})


def read(body: bytes, separator: bytes = b"x", size: int = 1 << 16) -> dict[str, str]:
    reader = FormReader(separator, WANTED)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.fields


def field(name: str, value: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FILE = field("file", bytes(range(256)) * 20, '; filename="model"\r\nContent-Type: audio/wav')
END = b"--x--\r\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (field("model", b"whisper-1") + FILE + END, {"model": "whisper-1"}),
        (FILE + field("model", b"whisper-1") + field("stream", b"true") + END,
         {"model": "whisper-1", "stream": "true"}),
        (b"preamble\r\n" + field("model", b"m") + END + field("stream", b"true"), {"model": "m"}),
        (field("model", b"") + END, {"model": ""}),
        (field("model", b"a\r\n--b") + END, {"model": "a\r\n--b"}),
        (field("model", b"first") + field("model", b"second") + END, {"model": "first"}),
        (field("language", b'name="model"') + END, {}),
        (b"--x\r\ncontent-type: text/plain\r\nCONTENT-DISPOSITION: form-data;name=model\r\n\r\nm\r\n" + END,
         {"model": "m"}),
        (field("other", b"m", '; filename=";name=stream; name=\\"model"') + END, {}),
        (field("model", b"m" * 2000) + field("stream", b"true") + END, {"stream": "true"}),
        (field("model", b"m")[:-2], {}),
        (field("model", b"\xff") + END, {"model": "\ufffd"}),
        (b"--x\r\n\r\nno name\r\n" + field("model", b"m") + END, {"model": "m"}),
        (b"--x\r\n" + b"h" * 10_000 + b"\r\n\r\n" + field("model", b"m") + END, {}),
        (b'{"model": "m"}', {}),
        (b"", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1 << 16, 7, 1])
def test_fields(body: bytes, expected: dict[str, str], size: int) -> None:
    assert read(body, size=size) == expected


def test_a_form_of_an_sdk() -> None:
    request = httpx2.Request(
        "POST",
        "http://localhost/v1/audio/transcriptions",
        data={"model": "gpt-4o-transcribe", "stream": "true", "response_format": "json"},
        files={"file": ("model.wav", b"RIFF" * 5000, "audio/wav")},
    )
    separator = boundary(request.headers["content-type"])
    assert separator is not None
    assert read(request.read(), separator, size=1000) == {"model": "gpt-4o-transcribe", "stream": "true"}


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', b"a b:c"),
        ("multipart/form-data;boundary=----WebKitFormBoundary7MA4;x=y", b"----WebKitFormBoundary7MA4"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json; boundary=abc", None),
        ("", None),
        (None, None),
    ],
)
def test_boundary(content_type: str | None, expected: bytes | None) -> None:
    assert boundary(content_type) == expected


def test_a_large_file_is_not_held() -> None:
    reader = FormReader(b"x", WANTED)
    piece = b"\r\n--y\r\n\r\n" * 6000
    tracemalloc.start()
    reader.feed(b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n')
    for _ in range(400):
        reader.feed(piece)
    reader.feed(b"\r\n" + field("model", b"whisper-1") + END)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.fields == {"model": "whisper-1"}
    assert peak < 1 << 19
