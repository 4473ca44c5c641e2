"""What a request cost that went out with the caller's own key, in every format that OpenRouter speaks."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.metering.tap import Tap

CHARGED = {"is_byok": True, "cost": 0, "cost_details": {"upstream_inference_cost": 0.0360795}}
CHAT = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, **CHARGED}
SUM = {"input_tokens": 1, "output_tokens": 2, **CHARGED}
RESPONSE = {"id": "r", "model": "m", "status": "completed", "usage": SUM}
OPENED = {"input_tokens": 1, "output_tokens": 0, "cost": 0}


@pytest.mark.parametrize(
    ("dialect", "documents"),
    [
        ("openai_chat", [{"model": "m", "choices": [], "usage": CHAT}]),
        ("openai_responses", [RESPONSE]),
        ("openai_responses", [{"type": "response.completed", "response": RESPONSE}]),
        ("anthropic_messages", [{"type": "message", "model": "m", "content": [], "usage": SUM}]),
        ("anthropic_messages", [{"type": "message_start", "message": {"model": "m", "usage": OPENED}},
                                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": SUM}]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [True, False])
def test_the_fee_and_the_bill_of_the_provider_add_up(
    dialect: str, documents: list[dict[str, Any]], *, streamed: bool
) -> None:
    if not streamed and len(documents) > 1:
        return
    kind = "text/event-stream" if streamed else "application/json"
    tap = Tap(dialect, content_type=kind, content_encoding=None, status=200)
    for document in documents:
        data = json.dumps(document).encode()
        tap.feed(b"data: " + data + b"\n\n" if streamed else data)
    tap.finish()
    assert tap.reading.usage is not None
    assert tap.reading.usage.provider_cost_usd == Decimal("0.0360795")
