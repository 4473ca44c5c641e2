"""Every recorded body, cut anywhere, under every content coding: its reading is that of the uncut body.

The cuts are of what was on the wire, codings included. The suite takes the smallest bodies of each wire format;
``METRION_TEST_CUTS=all`` takes all bodies: small ones in two at every byte, large ones at 200 places (two hours).
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise

import pytest

from metrion.dialects import DIALECTS
from tests.corpus import Exchange, at_least, encode, exchanges
from tests.recordings import read, route

ALL = os.environ.get("METRION_TEST_CUTS") == "all"
SMALL = 8192
PLACES = 200 if ALL else 3
"""Where a large body is cut in two."""

pytestmark = pytest.mark.timeout(0 if ALL else 300)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


CODINGS: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("identity", bytes),
    "gzip": ("gzip", partial(encode, content_encoding="gzip")),
    "gzip, three members": ("gzip", partial(encode, content_encoding="gzip", members=3)),
    "zlib": ("deflate", partial(encode, content_encoding="deflate")),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", partial(encode, content_encoding="br")),
    "zstd": ("zstd", partial(encode, content_encoding="zstd")),
    "zstd, three frames": ("zstd", partial(encode, content_encoding="zstd", members=3)),
    "zstd in gzip": ("zstd, gzip", partial(encode, content_encoding="zstd, gzip")),
}
"""The header, and what makes a body fit it."""

every_coding = pytest.mark.parametrize("coding", CODINGS)


@cache
def recorded() -> list[tuple[Exchange, str | None]]:
    """Recorded bodies, and their wire formats."""
    return [(each, route(each).dialect) for each in exchanges() if each.response_body]


def small() -> list[Exchange]:
    """In the suite: of each wire format, whole and streamed, the smallest, with usage where one has it."""
    found = [(each, name) for each, name in recorded() if len(each.response_body) < SMALL]
    if ALL:
        return [each for each, _ in found]
    chosen = dict[tuple[object, ...], Exchange]()
    for each, name in sorted(found, key=lambda pair: (not pair[0].expected["has_usage"], len(pair[0].response_body))):
        chosen.setdefault((name, each.streamed, each.stream_format), each)
    return list(chosen.values())


def large() -> list[Exchange]:
    found = [each for each, _ in recorded() if len(each.response_body) >= SMALL]
    return found if ALL else found[::17]


def test_the_bodies_are_of_every_wire_format_that_is_recorded() -> None:
    names = {route(each).dialect for each in small()}
    assert names == {name for _, name in recorded()}
    assert len(names & DIALECTS.keys()) > 15
    assert len(large()) >= at_least(16, 0)


@every_coding
def test_cut_in_two_at_every_byte(coding: str) -> None:
    header, pack = CODINGS[coding]
    for exchange in small():
        whole = read(exchange)
        body = pack(exchange.response_body)
        for at in range(len(body) + 1):
            assert read(exchange, body[:at], body[at:], content_encoding=header) == whole, (exchange.id, at)


@every_coding
def test_byte_by_byte(coding: str) -> None:
    header, pack = CODINGS[coding]
    for exchange in small():
        whole = read(exchange)
        body = pack(exchange.response_body)
        pieces = [body[at : at + 1] for at in range(len(body))]
        assert read(exchange, *pieces, content_encoding=header) == whole, exchange.id


@every_coding
def test_large_bodies_cut_at_random(coding: str) -> None:
    rng = random.Random(7)
    header, pack = CODINGS[coding]
    for exchange in large():
        whole = read(exchange)
        body = pack(exchange.response_body)
        for _ in range(PLACES):
            at = rng.randrange(len(body) + 1)
            assert read(exchange, body[:at], body[at:], content_encoding=header) == whole, (exchange.id, at)
        for count in (10, 200):
            cuts = sorted(rng.randrange(len(body) + 1) for _ in range(count))
            pieces = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
            assert read(exchange, *pieces, content_encoding=header) == whole, (exchange.id, cuts)
