"""What only reads: embeddings, moderations, rankings; and how little of a large answer is held."""

import random
import tracemalloc
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from metrion.dialects.openai.embeddings import DIALECT
from metrion.metering.tap import Tap
from tests.corpus import encode
from tests.dialects.read import drafted, read_documents

MISTRAL = {
    "completion_tokens": 0,
    "completion_tokens_details": None,
    "prompt_audio_seconds": None,
    "prompt_token_details": None,
    "prompt_tokens": 13,
    "prompt_tokens_details": None,
    "service_tier": None,
}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, {"input_tokens": 8}),
        (MISTRAL | {"total_tokens": 13, "request_count": None}, {"input_tokens": 13, "output_tokens": 0}),
        (MISTRAL | {"total_tokens": 74, "request_count": 1},
         {"input_tokens": 13, "output_tokens": 0, "server_tools": {"request_count": 1}}),
        ({"prompt_tokens": 3, "total_tokens": 3, "cost": 6e-08},
         {"input_tokens": 3, "provider_cost_usd": Decimal("6e-08")}),
        ({"total_tokens": 17, "cost": 3.4e-07}, {"provider_cost_usd": Decimal("3.4e-07")}),
        ({"total_tokens": 17}, {"input_tokens": 17}),
        ({"prompt_tokens": 0, "total_tokens": 0}, {"input_tokens": 0}),
    ],
    ids=["OpenAI", "Mistral", "Mistral's moderation: its instructions are no output", "OpenRouter", "a ranking",
         "Voyage", "0"],
)  # fmt: skip
def test_usage(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, {"object": "list", "data": [], "model": "m", "usage": raw}) == expected


@pytest.mark.parametrize(
    ("billed", "expected"),
    [
        ({"search_units": 1}, {"server_tools": {"search_units": 1}}),
        ({"search_units": 0}, {"server_tools": {}}),
        ({"input_tokens": 12}, {"input_tokens": 12}),
        ({}, {}),
    ],
)
def test_cohere_says_beside_a_ranking_what_it_is_billed_for(billed: dict[str, Any], expected: dict[str, Any]) -> None:
    meta = {"api_version": {"version": "2"}, "billed_units": billed}
    ranking = {"id": "84277d75", "results": [{"index": 1, "relevance_score": 0.97}], "meta": meta}
    assert read_documents(DIALECT, ranking) == expected
    assert drafted(DIALECT, ranking).generation_id == "84277d75"


def test_a_moderation_of_openais_has_no_usage() -> None:
    draft = drafted(DIALECT, {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]})
    assert (draft.model, draft.generation_id, draft.usage) == ("omni-moderation-latest", "modr-1", None)


@cache
def large_answer(spacing: bytes) -> bytes:
    rng = random.Random(1)
    vectors = (spacing.join(b"%.8f" % rng.uniform(-1, 1) for _ in range(3072)) for _ in range(300))
    items = b", ".join(b'{"object": "embedding", "index": 0, "embedding": [' + vector + b"]}" for vector in vectors)
    return (
        b'{"object": "list", "data": [' + items + b'], "model": "text-embedding-3-large", '
        b'"usage": {"prompt_tokens": 8191, "total_tokens": 8191}}\n'
    )


@pytest.mark.parametrize("content_encoding", ["identity", "zstd"])
@pytest.mark.parametrize("spacing", [b", ", b",\n        "], ids=["one line", "a line per number"])
def test_of_ten_megabytes_less_than_one_is_held(content_encoding: str, spacing: bytes) -> None:
    body = large_answer(spacing)
    assert len(body) > 10_000_000
    wire = encode(body, content_encoding)
    tap = Tap("openai_embeddings", content_type="application/json", content_encoding=content_encoding, status=200)
    tracemalloc.start()
    for at in range(0, len(wire), 65536):
        tap.feed(wire[at : at + 65536])
    tap.finish()
    reading = tap.reading
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.usage is not None
    assert (reading.model, reading.usage.input_tokens, reading.warnings) == ("text-embedding-3-large", 8191, ())
    assert peak < 1 << 20
