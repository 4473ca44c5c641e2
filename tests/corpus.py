"""Provider exchanges for tests: the slice in ``tests/slice`` and the recorded corpus in, :class:`Exchange` values out.

The slice is a part of the project. It was written by hand, after the references of the providers: some exchanges of
each wire format, with what they must be read as. The corpus was recorded by others and is not a part of the project.
Tests run over the slice, and also over the corpus where it is at :data:`CORPUS`; :func:`at_least` is for what they
count. Only what needs many recordings, such as an estimate's accuracy, is skipped without it (:data:`needs_corpus`).

Both have one format, which the corpus describes: a row has an id, the provider, the kind of the request, the request,
the response, and under ``expected`` what an independent reader finds in the response. A row of the slice leaves out
what is as in :data:`_ROW` and :data:`_EXPECTED`. Bodies are decompressed; :func:`encode` gives what was on the wire.
WebSocket sessions have frames in place of bodies: they come from :func:`sessions`, and are no exchanges.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import brotli
import pytest
import yaml
import zstandard

from tests.changed import CHANGED, DOUBTFUL

SLICE = Path(__file__).parent / "slice"
CORPUS = Path(__file__).resolve().parents[1].parent / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(),
    reason=f"the corpus of recorded exchanges is not at {CORPUS}; the slice in {SLICE.name}/ still covers every format",
)

_ROW: Mapping[str, Any] = {
    "provenance": "written",
    "method": "POST",
    "request_headers": {"content-type": "application/json"},
    "request_body": "",
    "request_body_base64": False,
    "status": 200,
    "response_body_base64": False,
    "streamed": False,
}
_EXPECTED: Mapping[str, Any] = {
    "has_usage": False,
    "model": None,
    "model_requested": None,
    "service_tier": None,
    "input_tokens_total": None,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
    "cache_write_5m_tokens": None,
    "cache_write_1h_tokens": None,
    "input_audio_tokens": None,
    "input_image_tokens": None,
    "output_tokens_total": None,
    "reasoning_tokens": None,
    "output_audio_tokens": None,
    "output_image_tokens": None,
    "audio_seconds": None,
    "server_tools": {},
    "provider_cost_usd": None,
    "raw_usage": None,
    "stream_terminated": None,
    "cost": None,
    "flags": (),
    "ambiguous": (),
}
"""What a row of the slice is where it does not say otherwise. ``None``: not reported."""


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """One recorded request and its response. Header names are lower case; the corpus keeps only a few of them.

    ``path`` has its query. ``response_body`` is decompressed; ``response_headers["content-encoding"]`` tells what the
    wire had. ``expected`` is the independent reading of the response, ``flags`` what is special about the exchange,
    ``ambiguous`` the fields of ``expected`` that no test should fail on.
    """

    id: str
    file: str
    provider: str
    kind: str
    provenance: str
    method: str
    path: str
    request_headers: dict[str, str]
    request_body: bytes = field(repr=False)
    status: int
    response_headers: dict[str, str]
    response_body: bytes = field(repr=False)
    streamed: bool
    stream_format: str | None
    expected: dict[str, Any] = field(repr=False)
    flags: frozenset[str]
    ambiguous: frozenset[str]
    elided: bool = False
    """Something long is cut out of the request or the response: tokens cannot be counted from them."""


def exchanges(kinds: Collection[str] | None = None, providers: Collection[str] | None = None) -> list[Exchange]:
    """The HTTP exchanges of these kinds and providers (``None``: any), in a stable order; the slice comes last."""
    return [
        exchange
        for exchange in (*_exchanges(CORPUS), *written())
        if (kinds is None or exchange.kind in kinds) and (providers is None or exchange.provider in providers)
    ]


def recorded_expectations(exchange_id: str) -> dict[str, Any]:
    """What the corpus itself has of an exchange under ``expected``."""
    expected: dict[str, Any] = next(row["expected"] for row in _rows(CORPUS) if row["id"] == exchange_id)
    return expected


def written() -> tuple[Exchange, ...]:
    """The exchanges of the slice alone."""
    return _exchanges(SLICE)


def sessions(providers: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The WebSocket sessions with these providers (``None``: any), as rows of the corpus; the slice comes last."""
    rows = (*_rows(CORPUS), *_rows(SLICE))
    return [row for row in rows if "frames" in row and (providers is None or row["provider"] in providers)]


def at_least(with_corpus: int, written: int = 1) -> int:
    """How many a test must have seen: so many where the corpus is present, and so many of the slice alone."""
    return with_corpus if CORPUS.is_dir() else written


@cache
def _exchanges(folder: Path) -> tuple[Exchange, ...]:
    return tuple(_exchange(row) for row in _rows(folder) if "frames" not in row)


@cache
def _rows(folder: Path) -> tuple[dict[str, Any], ...]:
    return (*_recorded_rows(folder), *map(_whole, _written_rows(folder)))


def _recorded_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            yield from (row | {"file": path.name} for row in map(json.loads, lines))


def _written_rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.yaml")):
        yield from (row | {"file": path.name} for row in yaml.safe_load(path.read_text("utf-8")))


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the slice with what it leaves out."""
    if "frames" in row:
        return row
    streamed = row.get("streamed", False)
    content_type = "text/event-stream; charset=utf-8" if streamed else "application/json"
    answer = {"response_headers": {"content-type": content_type}, "stream_format": "sse" if streamed else None}
    return {**_ROW, **answer, **row, "expected": {**_EXPECTED, **row["expected"]}}


def _exchange(row: Mapping[str, Any]) -> Exchange:
    return Exchange(
        id=row["id"],
        file=row["file"],
        provider=row["provider"],
        kind=row["kind"],
        provenance=row["provenance"],
        method=row["method"],
        path=row["path"],
        request_headers=row["request_headers"],
        request_body=_body(row["request_body"], is_base64=row["request_body_base64"]),
        status=row["status"],
        response_headers=row["response_headers"],
        response_body=_body(row["response_body"], is_base64=row["response_body_base64"]),
        streamed=row["streamed"],
        stream_format=row["stream_format"],
        expected=row["expected"] | {name: new for name, (_, new) in CHANGED.get(row["id"], {}).items()},
        flags=frozenset(row["expected"]["flags"]) | ({"contradicted"} if row["id"] in DOUBTFUL else set()),
        ambiguous=frozenset(row["expected"]["ambiguous"]),
        elided=bool(row.get("request_elided") or row.get("response_elided")),
    )


def _body(text: str, *, is_base64: bool) -> bytes:
    return base64.b64decode(text) if is_base64 else text.encode()


ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": partial(gzip.compress, mtime=0),
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor(write_content_size=False).compress,
}
"""By the token of ``content-encoding``. ``deflate`` is the zlib format, as RFC 9110 has it."""


def encode(body: bytes, content_encoding: str | None, *, members: int = 1) -> bytes:
    """The body as it was on the wire.

    ``members`` cuts it into so many gzip members or zstd frames in a row (both formats allow it; other encodings have
    no such thing and raise ``ValueError``). Several encodings (``"gzip, br"``) are applied in the order written.
    """
    for name in (content_encoding or "identity").replace(" ", "").lower().split(","):
        if members > 1 and name not in {"gzip", "zstd"}:
            raise ValueError(f"{name} has no members: only gzip and zstd bodies can be cut into several")
        size = max(1, -(-len(body) // members))
        body = b"".join(ENCODERS[name](body[start : start + size]) for start in range(0, max(1, len(body)), size))
    return body


def encode_pieces(pieces: Sequence[bytes], content_encoding: str | None) -> tuple[bytes, ...]:
    """The body as a server sends it that flushes its encoder after each piece, as providers do for each event.

    What ends the encoding (a gzip trailer, say) is a last piece of its own.
    """
    encoder = _FLUSHING_ENCODERS[(content_encoding or "identity").strip().lower()]()
    return (*map(encoder.flushed, pieces), encoder.end())


class _FlushingEncoder(Protocol):
    def flushed(self, piece: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class _Identity:
    def flushed(self, piece: bytes) -> bytes:
        return piece

    def end(self) -> bytes:
        return b""


class _Zlib:
    def __init__(self, window_bits: int) -> None:
        self._compressor = zlib.compressobj(wbits=window_bits)

    def flushed(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._compressor.flush()


class _Brotli:
    def __init__(self) -> None:
        self._compressor = brotli.Compressor(quality=5)

    def flushed(self, piece: bytes) -> bytes:
        compressed: bytes = self._compressor.process(piece) + self._compressor.flush()
        return compressed

    def end(self) -> bytes:
        compressed: bytes = self._compressor.finish()
        return compressed


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()

    def flushed(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece) + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._compressor.flush()


_FLUSHING_ENCODERS: Mapping[str, Callable[[], _FlushingEncoder]] = {
    "identity": _Identity,
    "gzip": partial(_Zlib, 16 + zlib.MAX_WBITS),
    "deflate": partial(_Zlib, zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}
