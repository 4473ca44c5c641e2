"""Batches, as they are asked for and as they are read back."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.dialects.openai.batches import DIALECT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.pricing import PriceBook
from tests.dialects.read import drafted, read_documents

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
    "request_counts": {"total": 4, "completed": 3, "failed": 1},
    "usage": USAGE,
}
READ = {"input_tokens": 2000, "cache_read_tokens": 1024, "output_tokens": 300, "reasoning_tokens": 200,
        "largest_input_tokens": 667, "averaged": True}  # fmt: skip
DRAWN = READ | {"output_image_tokens": 300}
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
UNCOUNTED = {name: count for name, count in READ.items() if name != "largest_input_tokens"}


@pytest.mark.parametrize(
    ("batch", "usage", "pending", "finish_reason"),
    [
        (BATCH, READ, False, "completed"),
        (BATCH | {"status": "expired"}, READ, False, "expired"),
        (BATCH | {"request_counts": None}, UNCOUNTED, False, "completed"),
        (BATCH | {"request_counts": {"total": 4, "completed": 0, "failed": 4}}, UNCOUNTED, False, "completed"),
        (BATCH | {"status": "cancelled"}, READ, False, "cancelled"),
        (BATCH | {"endpoint": "/v1/images/generations"}, DRAWN, False, "completed"),
        (BATCH | {"endpoint": "/v1/images/edits"}, DRAWN, False, "completed"),
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
    assert bool(draft.faults) is (batch["endpoint"] == "/v1/images/edits")


def test_a_batch_of_short_requests_is_not_billed_as_one_long_context() -> None:
    prices = PriceBook.load([Path(__file__).parents[3] / "pricing.yaml"])
    usage = Usage(input_tokens=3_000_000, output_tokens=30_000)
    batch = BATCH | {"request_counts": {"total": 1000, "completed": 1000, "failed": 0}}
    batch["usage"] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": 3_030_000,
    }
    read = DIALECT.usage(UsageReader(drafted(DIALECT, batch).usage or {}))
    assert read.largest_input_tokens == 3000
    short, long = (
        prices.cost(provider="openai", model="gpt-5.5", model_requested=None, usage=each, when=NOVEMBER,
                    service_tier="batch")
        for each in (read, usage)
    )  # fmt: skip
    assert short.usd == Decimal("7.95")
    assert long.usd is not None
    assert long.usd > short.usd


def test_a_list_of_batches_is_none() -> None:
    draft = drafted(DIALECT, {"object": "list", "data": [BATCH], "usage": USAGE})
    assert (draft.generation_id, draft.usage, draft.pending) == (None, None, False)
