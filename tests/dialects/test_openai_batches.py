"""Batches, as they are asked for and as they are read back."""

from typing import Any

import pytest

from metrion.dialects.openai_batches import DIALECT
from tests.dialects.reading import drafted, read_documents

USAGE = {
    "input_tokens": 2000,
    "input_tokens_details": {"cached_tokens": 1024},
    "output_tokens": 300,
    "output_tokens_details": {"reasoning_tokens": 200},
    "total_tokens": 2300,
}
BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/responses",
    "model": "gpt-5-mini-2025-08-07",
    "status": "completed",
    "usage": USAGE,
}
READ = {"input_tokens": 2000, "cache_read_tokens": 1024, "output_tokens": 300, "reasoning_tokens": 200}


@pytest.mark.parametrize(
    ("batch", "usage", "pending", "finish_reason"),
    [
        (BATCH, READ, False, "completed"),
        (BATCH | {"status": "expired"}, READ, False, "expired"),
        (BATCH | {"status": "cancelled"}, READ, False, "cancelled"),
        (BATCH | {"status": "failed", "usage": None, "model": None}, {}, False, "failed"),
        (BATCH | {"status": "validating", "usage": None, "model": None}, {}, True, None),
        (BATCH | {"status": "in_progress"}, {}, True, None),
        (BATCH | {"status": "finalizing"}, {}, True, None),
        (BATCH | {"status": "cancelling"}, {}, True, None),
    ],
)
def test_a_batch_is_billed_when_it_is_over(
    batch: dict[str, Any], usage: dict[str, Any], finish_reason: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, batch)
    assert (draft.generation_id, draft.service_tier) == ("batch_1", "batch")
    assert (draft.pending, draft.finish_reason) == (pending, finish_reason)
    assert read_documents(DIALECT, batch) == usage


def test_a_list_of_batches_is_none() -> None:
    draft = drafted(DIALECT, {"object": "list", "data": [BATCH], "usage": USAGE})
    assert (draft.generation_id, draft.usage, draft.pending) == (None, None, False)
