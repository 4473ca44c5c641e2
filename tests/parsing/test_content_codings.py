"""Bodies under every content coding: whole, cut anywhere, stacked, cut off, mislabelled and packed to kill."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from metrion.parsing import content_codings as encodings
from metrion.parsing.content_codings import DecodingError, decoder

PLAIN = b'data: {"usage": null}\n\n' * 40 + random.Random(1).randbytes(500)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def unpacked(content_encoding: str | None, pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    reader = decoder(content_encoding, out.append)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return b"".join(out)


ENCODED = [
    (None, PLAIN),
    ("", PLAIN),
    ("identity", PLAIN),
    ("gzip", gzip.compress(PLAIN)),
    ("GZip", gzip.compress(PLAIN)),
    ("x-gzip", gzip.compress(PLAIN)),
    ("gzip", gzip.compress(PLAIN[:300]) + gzip.compress(PLAIN[300:])),
    ("gzip", gzip.compress(PLAIN[:300]) + gzip.compress(b"") + gzip.compress(PLAIN[300:])),
    ("gzip", gzip.compress(PLAIN) + bytes(8)),
    ("gzip", gzip.compress(PLAIN) + b"\x1f"),
    ("deflate", zlib.compress(PLAIN)),
    ("deflate", raw_deflate(PLAIN)),
    ("deflate", zlib.compress(PLAIN) + b"more"),
    ("br", brotli.compress(PLAIN)),
    ("zstd", zstandard.compress(PLAIN)),
    ("zstd", zstandard.compress(PLAIN[:300]) + zstandard.compress(PLAIN[300:])),
    ("gzip, br", brotli.compress(gzip.compress(PLAIN))),
    ("zstd,identity , deflate", zlib.compress(zstandard.compress(PLAIN))),
]


@pytest.mark.parametrize(("content_encoding", "body"), ENCODED)
def test_cut_anywhere(content_encoding: str | None, body: bytes) -> None:
    assert unpacked(content_encoding, [body]) == PLAIN
    assert unpacked(content_encoding, [body[at : at + 1] for at in range(len(body))]) == PLAIN
    for at in range(len(body) + 1):
        assert unpacked(content_encoding, [body[:at], b"", body[at:]]) == PLAIN


@pytest.mark.parametrize("content_encoding", ["identity", *encodings.CODINGS])
def test_no_bytes_are_a_body_too(content_encoding: str) -> None:
    assert unpacked(content_encoding, []) == b""
    assert unpacked(content_encoding, [b""]) == b""


@pytest.mark.parametrize(
    ("content_encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate), ("br", brotli.compress),
     ("zstd", zstandard.compress)],
)  # fmt: skip
def test_what_is_cut_off_is_told_after_what_there_was(content_encoding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(PLAIN)
    for end in range(1, len(body), 7):
        out: list[bytes] = []
        reader = decoder(content_encoding, out.append)
        reader.feed(body[:end])
        with pytest.raises(DecodingError, match=f"the {content_encoding} body ends early"):
            reader.finish()
        assert PLAIN.startswith(b"".join(out))


@pytest.mark.parametrize("content_encoding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_of_another_coding_is_told_without_quoting_it(content_encoding: str) -> None:
    with pytest.raises(DecodingError, match=f"^the body is not {content_encoding}$"):
        unpacked(content_encoding, [b'{"secret": "body"}' * 50])


def test_a_gzip_header_before_plain_bytes() -> None:
    with pytest.raises(DecodingError, match="the body is not gzip"):
        unpacked("gzip", [gzip.compress(b"")[:10] + PLAIN])


@pytest.mark.parametrize("content_encoding", ["compress", "gzip, dcb", "secret"])
def test_an_unknown_coding_is_told_with_the_known_ones(content_encoding: str) -> None:
    with pytest.raises(DecodingError, match="none of br, deflate, gzip, x-gzip, zstd"):
        decoder(content_encoding, lambda _: None)


@pytest.mark.parametrize(
    ("content_encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstandard.compress),
     ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body)))],
)  # fmt: skip
def test_a_bomb_takes_no_memory_and_is_left_at_the_limit(content_encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(1 << 26))
    assert len(bomb) < (1 << 26) / 900
    handed_on = 0

    def count(plain: bytes) -> None:
        nonlocal handed_on
        handed_on += len(plain)

    reader = decoder(content_encoding, count)
    tracemalloc.start()
    with pytest.raises(DecodingError, match="more than 100 times as large"):
        reader.feed(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert handed_on <= encodings.HEADROOM + 100 * len(bomb)
    assert peak < 1 << 20
