"""A batch of Anthropic's is billed when its results are first read whole, at the rates for batches, and not again."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal

from metrion.demo.delivery import Delivery
from tests.processes import Proxy, eventually
from tests.simulator import Simulator

CREATED = {"id": "msgbatch_e2e", "type": "message_batch", "processing_status": "in_progress"}
LINES = [
    {
        "custom_id": str(number),
        "result": {
            "type": "succeeded",
            "message": {
                "model": model,
                "usage": {"input_tokens": 1_000_000, "output_tokens": 0, "service_tier": "batch"},
            },
        },
    }
    for number, model in enumerate(["claude-haiku-4-5", "claude-opus-4-8"])
]
JSON, RESULTS = "application/json", "application/x-jsonl"


def call(
    proxy: Proxy, simulator: Simulator, label: str, method: str, content_type: str, body: bytes, cut: bool
) -> None:
    name = simulator.register_answer(label, headers=(("content-type", content_type),), pieces=[body])
    own = {"x-api-key": proxy.token, "x-metrion-user": label}
    delivery = Delivery(cut=len(body) // 2 + 60) if cut else None
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    path = "/v1/messages/batches" if method == "POST" else "/v1/messages/batches/msgbatch_e2e/results"
    connection.request(method, path, "{}" if method == "POST" else None, simulator.select(name, delivery) | own)
    try:
        connection.getresponse().read()
    except http.client.IncompleteRead:
        assert cut
    finally:
        connection.close()


def test_a_batch_is_billed_once(serve: Proxy, simulator: Simulator) -> None:
    results = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
    for number, (method, content_type, body, cut) in enumerate(
        [
            ("POST", JSON, json.dumps(CREATED).encode(), False),
            ("GET", RESULTS, results, True),
            ("GET", RESULTS, results, False),
            ("GET", RESULTS, results, False),
        ]
    ):
        call(serve, simulator, f"batch-{number}", method, content_type, body, cut)

    query = "SELECT * FROM events WHERE starts_with(user_label, 'batch-') ORDER BY user_label"
    rows = eventually(lambda: serve.events(query), until=lambda found: len(found) == 4)
    assert [row["operation"] for row in rows] == ["batch"] * 4
    assert [row["generation_id"] for row in rows] == ["msgbatch_e2e"] * 4
    assert [row["cost_source"] for row in rows] == ["not_billed", "not_billed", "computed", "not_billed"]
    assert [row["input_tokens"] for row in rows] == [None, None, 2_000_000, None]
    billed = rows[2]
    assert (billed["model"], billed["service_tier"]) == (None, "batch")
    assert Decimal(billed["cost_usd"]) == Decimal("0.5") + Decimal("2.5")
    assert set(billed["cost_parts"]) == {"claude-haiku-4-5:input", "claude-opus-4-8:input"}
