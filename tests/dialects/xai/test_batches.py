"""xAI's batches, and the pages of their results."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.batches import DIALECT
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.dialects.xai.batches import RESULTS
from metrion.metering.tap import Tap
from metrion.model import Reading
from tests.dialects.read import drafted

BATCH = {
    "batch_id": "batch_1934e8b5-f3dc-45f1-8329-9841b0aee9d8",
    "name": "My New Batch",
    "create_time": "2025-11-11",
    "expire_time": "2025-11-12",
    "create_api_key_id": "key",
    "cancel_time": None,
    "cancel_by_xai_message": None,
}
NOTHING = {"num_requests": 0, "num_pending": 0, "num_success": 0, "num_error": 0, "num_cancelled": 0}
NAME = "batch/batch_1934e8b5-f3dc-45f1-8329-9841b0aee9d8"


@pytest.mark.parametrize(
    ("state", "pending", "output"),
    [
        (NOTHING, True, None),
        ({"num_requests": 100, "num_pending": 25, "num_success": 70, "num_error": 5}, True, None),
        (NOTHING | {"num_requests": 100, "num_success": 95, "num_error": 5}, False, NAME),
        (NOTHING | {"num_requests": 100, "num_success": 70, "num_cancelled": 30}, False, NAME),
        (None, True, None),
    ],
    ids=["new", "at work", "done", "cancelled", "not told"],
)
def test_a_batch_names_its_results_when_nothing_is_pending(
    state: dict[str, int] | None, output: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, BATCH | {"state": state})
    assert (draft.generation_id, draft.service_tier) == (BATCH["batch_id"], "batch")
    assert (draft.pending, draft.output, draft.usage) == (pending, output, None)


def completion(model: str = "grok-4.3", **usage: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 14, "cost_in_usd_ticks": 1250,
              "prompt_tokens_details": {"text_tokens": 10, "cached_tokens": 2},
              "completion_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip
    return {
        "id": "e7c2162b-ca73-c181-2364-1feabef778fe_us-east-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"message": {"role": "assistant", "content": "Paris"}, "index": 0, "finish_reason": "stop"}],
        "usage": counts | usage,
        "service_tier": "default",
    }


def succeeded(answer: dict[str, Any]) -> dict[str, Any]:
    result = {"response": {"chat_get_completion": answer}, "error": {"code": 0, "message": ""}}
    return {"batch_request_id": "france", "batch_result": result}


FAILED: list[dict[str, Any]] = [
    {"batch_request_id": "failed", "batch_result": {"error": {"code": 3, "message": "Invalid request."}},
     "error_message": "Invalid request."},
    {"batch_request_id": "cancelled", "batch_result": {"error": {"code": 1, "message": "Cancelled."}}},
    {"batch_request_id": "none"},
]  # fmt: skip
PICTURE = {
    "batch_request_id": "image",
    "batch_result": {"response": {"image_generation": {"data": [{"url": "https://x/y.png"}]}}},
}


def page(*results: dict[str, Any], token: str | None = None) -> Reading:
    tap = Tap("xai_batch_results", content_type="application/json", content_encoding=None, status=200)
    tap.feed(json.dumps({"results": results, "pagination_token": token}).encode())
    tap.finish()
    return tap.reading


@pytest.mark.parametrize(("token", "output"), [("req 9/+=", "?req 9/+="), ("", None), (None, None)])
def test_a_page_adds_up_and_names_the_next(token: str | None, output: str | None) -> None:
    reading = page(succeeded(completion()), *FAILED, succeeded(completion()), token=token)
    usage = reading.usage
    assert usage is not None
    assert (reading.model, reading.service_tier, reading.output, reading.warnings) == ("grok-4.3", "batch", output, ())
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.reasoning_tokens) == (20, 4, 8, 2)
    assert (usage.provider_cost_usd, usage.largest_input_tokens) == (Decimal("2.5E-7"), 10)
    assert (reading.cut_short, reading.doubtful) == (False, False)


def test_several_models_stay_apart_and_are_read_again_from_what_is_stored() -> None:
    usage = page(succeeded(completion()), succeeded(completion("grok-4-fast"))).usage
    assert usage is not None
    assert [(model, share.input_tokens) for model, share in usage.shares or ()] == [
        ("grok-4.3", 10),
        ("grok-4-fast", 10),
    ]
    again = RESULTS.usage(UsageReader(json.loads(usage.raw or "")))
    assert (again.shares, again.provider_cost_usd) == (usage.shares, Decimal("2.5E-7"))


def test_one_without_a_cost_leaves_the_sum_to_be_computed() -> None:
    usage = page(succeeded(completion()), succeeded(completion(cost_in_usd_ticks=None))).usage
    assert usage is not None
    assert (usage.provider_cost_usd, usage.input_tokens) == (None, 20)


@pytest.mark.parametrize("result", [PICTURE, succeeded({"choices": []})])
def test_what_is_not_told_of_a_result_makes_the_cost_unknown(result: dict[str, Any]) -> None:
    reading = page(succeeded(completion()), result)
    assert reading.usage is not None
    assert (reading.cut_short, reading.warnings) == (True, ("a result has no usage",))


def test_a_page_of_a_thousand_is_read() -> None:
    usage = page(*[succeeded(completion(prompt_tokens=12345, total_tokens=12349)) for _ in range(1000)]).usage
    assert usage is not None
    assert (usage.input_tokens, usage.provider_cost_usd) == (12_345_000, Decimal("0.000125"))


@pytest.mark.parametrize("results", [[], FAILED])
def test_a_page_without_an_answer_has_no_usage(results: list[dict[str, Any]]) -> None:
    assert page(*results).usage is None
