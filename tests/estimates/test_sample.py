"""What is kept of a body: all of a usual one, a bounded beginning of a large one, nothing of one that is spoilt."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from metrion.estimates.sample import BLOCK, MOST_HELD, MOST_KEPT, Kept, Sample


def taken(sample: Sample) -> Kept:
    kept = sample.taken()
    assert kept is not None
    return kept


def bytes_of(sample: Sample) -> bytes:
    return b"".join(taken(sample).pieces())


def filled(*pieces: bytes) -> Sample:
    sample = Sample()
    for piece in pieces:
        sample.add(piece)
    return sample


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("piece", [1000, 70_000, 1 << 20])
def test_a_usual_body_is_kept_whole(size: int, piece: int) -> None:
    body = (b"data: the quick brown fox\n\n" * (size // 20 + 1))[:size]
    sample = filled(*(body[start : start + piece] for start in range(0, size, piece)))
    assert bytes_of(sample) == body
    assert taken(sample).whole
    assert taken(sample).passed == taken(sample).kept == size


@pytest.mark.parametrize("compressible", [True, False])
def test_of_a_large_body_a_bounded_beginning_is_kept_and_all_of_it_counted(compressible: bool) -> None:
    piece = b"again " * 2000 if compressible else random.Random(1).randbytes(12_000)
    pieces = 2000
    sample = Sample()
    tracemalloc.start()
    try:
        for _ in range(pieces):
            sample.add(piece + b"")
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    kept = taken(sample)
    assert kept.passed == pieces * len(piece)
    assert 0 < kept.kept <= MOST_KEPT
    assert held < MOST_HELD + 2 * BLOCK
    assert not kept.whole
    assert bytes_of(sample) == (piece * pieces)[: kept.kept]


def test_after_a_restart_only_what_comes_is_kept() -> None:
    sample = filled(b"x" * (BLOCK + 5), b"before")
    sample.restart()
    sample.add(b"after")
    assert bytes_of(sample) == b"after"
    assert taken(sample).restarts == 1
    assert not taken(sample).whole


def test_what_is_spoilt_stays_so() -> None:
    sample = filled(b"secret")
    sample.spoil()
    sample.restart()
    sample.add(b"secret")
    assert sample.taken() is None


def test_nothing_that_is_kept_shows() -> None:
    sample = filled(b"my secret " * BLOCK, b"my secret")
    assert "secret" not in f"{sample!r} {sample.taken()!r}"


def test_to_keep_an_event_of_a_stream_takes_microseconds() -> None:
    event = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" word"}}],"usage":null}\n\n' * 3
    count = 5000

    def measured() -> float:
        sample = Sample()
        began = time.thread_time()
        for _ in range(count):
            sample.add(event)
        return (time.thread_time() - began) / count

    assert min(measured() for _ in range(5)) < 5e-6
