"""What is asked for now and told later is billed by the first GET that tells it, whatever it is."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal
from typing import Any

import pytest

from tests.processes import Proxy, eventually
from tests.simulated import Simulator

COUNTS = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
ANSWERED = {"response": {"modelVersion": "gemini-2.5-flash",
                         "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50}}}  # fmt: skip


def batch(state: str, **more: Any) -> dict[str, Any]:
    metadata = {"model": "models/gemini-2.5-flash", "state": f"BATCH_STATE_{state}", "name": "batches/b1"}
    return {"name": "batches/b1", "metadata": metadata, **more}


@pytest.mark.parametrize(
    ("asked", "answer", "read_back", "waiting", "done", "billed"),
    [
        pytest.param(
            "grok/v1/chat/completions", {"request_id": "r1"}, "grok/v1/chat/deferred-completion/r1", None,
            {"id": "c1", "object": "chat.completion", "model": "grok-4.3", "choices": [{"finish_reason": "stop"}],
             "usage": COUNTS | {"cost_in_usd_ticks": 2500000}},
            ("unknown", 100, 50, "provider", Decimal("0.00025")),
            id="a deferred completion of xAI's",
        ),
        pytest.param(
            "grok/v1/videos/generations", {"request_id": "v1"}, "grok/v1/videos/v1", {"status": "pending"},
            {"status": "done", "model": "grok-imagine-video", "usage": {"cost_in_usd_ticks": 500000000}},
            ("unknown", None, None, "provider", Decimal("0.05")),
            id="a video of xAI's",
        ),
        pytest.param(
            "gemini/v1beta/models/gemini-2.5-flash:batchGenerateContent", batch("PENDING"),
            "gemini/v1beta/batches/b1", batch("RUNNING"),
            batch("SUCCEEDED", done=True, response={"inlinedResponses": {"inlinedResponses": [ANSWERED]}}),
            ("not_billed", 100, 50, "computed", Decimal("0.0000775")),
            id="a batch of Gemini's",
        ),
        pytest.param(
            "openai/v1/evals/e1/runs", {"id": "run1", "object": "eval.run", "status": "queued"},
            "openai/v1/evals/e1/runs/run1", {"id": "run1", "object": "eval.run", "status": "in_progress"},
            {"id": "run1", "object": "eval.run", "status": "completed",
             "per_model_usage": [COUNTS | {"model_name": "gpt-4o", "invocation_count": 2, "cached_tokens": 0}]},
            ("unknown", 100, 50, "computed", Decimal("0.00075")),
            id="a run of an eval",
        ),
    ],
)  # fmt: skip
def test_read_back(
    serve: Proxy,
    simulator: Simulator,
    asked: str,
    answer: dict[str, Any],
    read_back: str,
    waiting: dict[str, Any] | None,
    done: dict[str, Any],
    billed: tuple[Any, ...],
) -> None:
    label = "read-back-" + read_back.replace("/", "-")
    calls = [("POST", asked, answer), ("GET", read_back, waiting), *[("GET", read_back, done)] * 3]
    for number, (method, path, body) in enumerate(calls):
        name = simulator.register_answer(f"{label}-{number}", pieces=[json.dumps(body).encode() if body else b""])
        own = {"authorization": f"Bearer {serve.token}", "x-metrion-user": f"{label}-{number}"}
        connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=20)
        connection.request(method, f"/{path}", "{}" if method == "POST" else None, simulator.select(name) | own)
        connection.getresponse().read()
        connection.close()

    query = f"SELECT * FROM events WHERE starts_with(user_label, '{label}-') ORDER BY user_label"  # noqa: S608 -- our own
    rows = eventually(lambda: serve.events(query), until=lambda found: len(found) == len(calls))
    when_asked, input_tokens, output_tokens, source, cost = billed
    nothing = (None, None, "not_billed", Decimal(0))
    assert (rows[0]["cost_source"], rows[0]["input_tokens"]) == (when_asked, None)
    assert [
        (row["input_tokens"], row["output_tokens"], row["cost_source"], Decimal(str(row["cost_usd"])))
        for row in rows[1:]
    ] == [nothing, (input_tokens, output_tokens, source, cost), nothing, nothing]
    assert len({row["generation_id"] for row in rows}) == 1
