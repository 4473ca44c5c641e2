from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard

from tests import corpus
from tests.corpus import at_least, encode, exchanges, needs_corpus, written

BODY = b'data: {"id":"chatcmpl-1","choices":[]}\n\n' * 20


def _decode_zstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()


DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": _decode_zstd,
    "gzip, br": lambda body: gzip.decompress(brotli.decompress(body)),
}


@pytest.mark.parametrize("body", [BODY, b"", b"x"])
@pytest.mark.parametrize("encoding", DECODERS)
def test_encode_is_undone_by_the_usual_decoders(encoding: str | None, body: bytes) -> None:
    assert DECODERS[encoding](encode(body, encoding)) == body


@pytest.mark.parametrize(("encoding", "magic"), [("gzip", b"\x1f\x8b\x08"), ("zstd", b"\x28\xb5\x2f\xfd")])
def test_a_body_can_be_several_members(encoding: str, magic: bytes) -> None:
    wire = encode(BODY, encoding, members=3)
    assert wire.count(magic) == 3
    assert DECODERS[encoding](wire) == BODY


@pytest.mark.parametrize("encoding", ["br", "deflate"])
def test_only_gzip_and_zstd_have_members(encoding: str) -> None:
    with pytest.raises(ValueError, match="no members"):
        encode(BODY, encoding, members=2)


@needs_corpus
def test_the_corpus_is_read_whole_and_in_a_stable_order() -> None:
    everything = exchanges()
    assert len(everything) == 2973 + len(written())
    assert len({exchange.id for exchange in everything}) == len(everything)
    assert [exchange.id for exchange in everything] == [exchange.id for exchange in exchanges()]
    recorded = everything[: -len(written())]
    assert [exchange.file for exchange in recorded] == sorted(exchange.file for exchange in recorded)
    assert not any(exchange.file == "realtime-ws.jsonl.gz" for exchange in everything)


def test_exchanges_are_filtered_by_kind_and_provider() -> None:
    found = exchanges(kinds={"messages"}, providers={"anthropic"})
    assert found
    assert {(exchange.kind, exchange.provider) for exchange in found} == {("messages", "anthropic")}
    assert not exchanges(kinds=())


def test_bodies_are_bytes_and_header_names_lower_case() -> None:
    for exchange in exchanges():
        assert exchange.path.startswith("/")
        assert all(name == name.lower() for name in exchange.response_headers)
    speech = [exchange for exchange in exchanges(kinds={"audio"}) if "binary_body" in exchange.flags]
    assert any(not exchange.response_body.isascii() for exchange in speech)


def test_without_a_corpus_there_is_the_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path / "absent")
    assert exchanges() == list(written())
    assert at_least(1_000, 10) == 10
