"""Runs of evals and of graders."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metrion.dialects.openai.evals import DIALECT
from metrion.dialects.reading.usage_reader import UsageReader
from tests.dialects.read import drafted, read_documents

RUN = {"object": "eval.run", "id": "evalrun_1", "eval_id": "eval_1", "model": "gpt-4o-mini", "name": "mine"}
ANSWERED = {"model_name": "gpt-4o-mini-2024-07-18", "invocation_count": 6, "prompt_tokens": 3_090,
            "completion_tokens": 20, "total_tokens": 3_110, "cached_tokens": 1_024}  # fmt: skip
JUDGED = {"model_name": "gpt-4.1-2025-04-14", "invocation_count": 3, "prompt_tokens": 900, "completion_tokens": 30,
          "total_tokens": 930, "cached_tokens": 0}  # fmt: skip
GRADED = {"prompt_tokens": 190, "total_tokens": 324, "completion_tokens": 134, "cached_tokens": 0}
GRADER = {
    "reward": 1.0,
    "metadata": {
        "name": "mine",
        "type": "score_model",
        "token_usage": GRADED,
        "sampled_model_name": "gpt-4o-2024-08-06",
    },
    "sub_rewards": {},
}


@pytest.mark.parametrize(
    ("document", "model", "expected"),
    [
        (RUN | {"status": "completed", "per_model_usage": [ANSWERED]}, "gpt-4o-mini-2024-07-18",
         {"input_tokens": 3090, "cache_read_tokens": 1024, "output_tokens": 20, "largest_input_tokens": 515,
          "averaged": True}),
        (RUN | {"status": "queued", "per_model_usage": None}, None, {}),
        (RUN | {"status": "in_progress", "per_model_usage": [ANSWERED]}, None, {}),
        (RUN | {"status": "failed", "per_model_usage": []}, None, {}),
        (GRADER | {"model_grader_token_usage_per_model": {"gpt-4o-2024-08-06": GRADED}}, "gpt-4o-2024-08-06",
         {"input_tokens": 190, "cache_read_tokens": 0, "output_tokens": 134, "averaged": True}),
        (GRADER | {"model_grader_token_usage_per_model": {}}, None, {}),
    ],
    ids=["a run", "queued", "not over", "failed", "a grader", "a grader without a model"],
)  # fmt: skip
def test_usage(document: dict[str, Any], model: str | None, expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, document) == expected
    assert drafted(DIALECT, document).model == model


@pytest.mark.parametrize(
    ("status", "pending"),
    [("queued", True), ("in_progress", True), ("completed", False), ("failed", False), ("canceled", False)],
)
def test_a_run_is_waited_for_until_it_is_over(status: str, *, pending: bool) -> None:
    draft = drafted(DIALECT, RUN | {"status": status, "per_model_usage": None})
    assert (draft.generation_id, draft.pending) == ("evalrun_1", pending)


def test_who_answers_and_who_judges_is_billed_apart() -> None:
    draft = drafted(DIALECT, RUN | {"status": "completed", "per_model_usage": [ANSWERED, JUDGED]})
    again = UsageReader(json.loads(draft.usage_source or ""))
    for reader in (UsageReader(draft.usage or {}), again):
        shares = DIALECT.usage(reader).shares or ()
        assert [
            (model, share.input_tokens, share.output_tokens, share.largest_input_tokens) for model, share in shares
        ] == [
            ("gpt-4o-mini-2024-07-18", 3090, 20, 515),
            ("gpt-4.1-2025-04-14", 900, 30, 300),
        ]
    assert draft.model is None
