"""Anthropic's legacy completions."""

from __future__ import annotations

from metrion.dialects.anthropic.completions import DIALECT
from tests.dialects.read import drafted


def test_model_id_and_end_are_known_and_no_usage() -> None:
    event = {"type": "completion", "id": "compl_1", "completion": " Hi", "stop_reason": None, "model": "claude-2.1"}
    draft = drafted(DIALECT, event, {"type": "ping"}, {**event, "stop_reason": "max_tokens"})
    assert (draft.model, draft.generation_id, draft.finish_reason, draft.usage) == (
        "claude-2.1", "compl_1", "max_tokens", None,
    )  # fmt: skip
