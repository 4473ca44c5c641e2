"""A batch is billed when its results are first read whole, at the rates for batches, and not again."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal
from typing import Any

import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import Proxy, eventually
from tests.simulated import Simulator

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


# --- batches that name what tells their usage -------------------------------------------------------------------------

NOTHING = ("not_billed", None, Decimal(0))
UNKNOWN = ("unknown", None, None)
DOWNLOADED = "binary/octet-stream"


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def job(status: str, file: str | None = None) -> dict[str, Any]:
    return {"object": "batch", "id": "job-1", "model": "mistral-small-latest", "status": status, "output_file": file}


def answered(custom_id: str, model: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    body = {"object": "chat.completion", "model": model, "usage": usage}
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


LIMITED = {"custom_id": "c", "response": {"status_code": 429, "body": None}, "error": "rate limited"}
OF_THE_JOB = jsonl(LIMITED, answered("a", "mistral-small-latest"), answered("b", "mistral-large-2512"), LIMITED)


def operation(state: str, **more: Any) -> dict[str, Any]:
    metadata = {"model": "models/gemini-2.5-flash", "state": f"BATCH_STATE_{state}", "name": "batches/filed"}
    return {"name": "batches/filed", "metadata": metadata, **more}


OF_THE_OPERATION = jsonl(
    {"key": "b", "error": {"code": 8, "message": "Resource has been exhausted."}},
    {"key": "a", "response": {"modelVersion": "gemini-2.5-flash",
                              "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50}}},
)  # fmt: skip


def grok(pending: int, requests: int = 3) -> dict[str, Any]:
    return {"batch_id": "batch_g", "name": "mine", "state": {"num_requests": requests, "num_pending": pending}}


def page(token: str | None, *ticks: int) -> dict[str, Any]:
    results = [
        {
            "batch_request_id": str(number),
            "batch_result": {
                "response": {
                    "chat_get_completion": {
                        "model": "grok-4.3",
                        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                                  "cost_in_usd_ticks": cost},
                    }
                }
            },
        }
        for number, cost in enumerate(ticks)
    ]  # fmt: skip
    return {"results": results, "pagination_token": token}


MISTRAL_FILE = "mistral/v1/files/out-1/content"
GEMINI_FILE = "gemini/download/v1beta/files/batch-filed:download?alt=media"
PAGES = "grok/v1/batches/batch_g/results?limit=2"


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param(
            [
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, False),  # not named yet: of some batch
                ("POST", "mistral/v1/batch/jobs", job("QUEUED"), 200, False),
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, False),
                ("GET", "mistral/v1/batch/jobs/job-1", job("RUNNING"), 200, False),
                ("GET", "mistral/v1/batch/jobs/job-1?inline=false", job("SUCCESS", "out-1"), 200, False),
                ("GET", "mistral/v1/files/other/content", OF_THE_JOB, 200, False),
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, True),
                ("GET", MISTRAL_FILE, OF_THE_JOB[:300], 206, False),
                ("GET", MISTRAL_FILE, {"detail": "Not found"}, 404, False),
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, False),
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, False),
                ("GET", "mistral/v1/batch/jobs/job-1", job("SUCCESS", "out-1"), 200, False),
                ("GET", MISTRAL_FILE, OF_THE_JOB, 200, False),
            ],
            [UNKNOWN, NOTHING, UNKNOWN, NOTHING, NOTHING, UNKNOWN] + [NOTHING] * 3
            + [("computed", 2_000_000, Decimal("0.325"))] + [NOTHING] * 3,
            id="mistral",
        ),
        pytest.param(
            [
                ("POST", "gemini/models/gemini-2.5-flash:batchGenerateContent", operation("PENDING"), 200, False),
                ("GET", "gemini/v1beta/batches/filed", operation("RUNNING"), 200, False),
                ("GET", "gemini/v1beta/batches/filed",
                 operation("SUCCEEDED", done=True, response={"responsesFile": "files/batch-filed"}), 200, False),
                ("GET", GEMINI_FILE, OF_THE_OPERATION, 200, True),
                ("GET", "gemini/v1beta/files/batch-filed:download?alt=media", OF_THE_OPERATION, 200, False),
                ("GET", GEMINI_FILE, OF_THE_OPERATION, 200, False),
            ],
            [NOTHING] * 4 + [("computed", 100, Decimal("0.0000775"))] + [NOTHING],
            id="gemini",
        ),
        pytest.param(
            [
                ("POST", "grok/v1/batches", grok(0, 0), 200, False),
                ("POST", "grok/v1/batches/batch_g/requests", {}, 200, False),
                ("GET", "grok/v1/batches/batch_g", grok(0, 0), 200, False),
                ("GET", "grok/v1/batches/batch_g", grok(1), 200, False),
                ("GET", PAGES, page(None, 7), 200, False),  # what is done so far
                ("GET", "grok/v1/batches/batch_g", grok(0), 200, False),
                ("GET", PAGES + "&pagination_token=a%2Fb", page(None, 30), 200, False),  # the first one comes first
                ("GET", PAGES, page("a/b", 10_000_000, 20_000_000), 200, True),
                ("GET", PAGES, page("a/b", 10_000_000, 20_000_000), 200, False),
                ("GET", PAGES, page("a/b", 10_000_000, 20_000_000), 200, False),
                ("GET", PAGES + "&pagination_token=a%2Fb", page(None, 30_000_000), 200, False),
                ("GET", PAGES + "&pagination_token=a%2Fb", page(None, 30_000_000), 200, False),
                ("GET", "grok/v1/batches/batch_g", grok(0), 200, False),
                ("GET", PAGES, page("a/b", 10_000_000, 20_000_000), 200, False),
            ],
            [NOTHING] * 8 + [("provider", 20, Decimal("0.003")), NOTHING, ("provider", 10, Decimal("0.003"))]
            + [NOTHING] * 3,
            id="xai",
        ),
    ],
)  # fmt: skip
def test_what_a_batch_names_is_billed_once(
    request: pytest.FixtureRequest,
    serve2: Proxy,
    simulator: Simulator,
    calls: list[tuple[str, str, Any, int, bool]],
    expected: list[tuple[str, int | None, Decimal | None]],
) -> None:
    prefix = f"named-{request.node.callspec.id}-"
    for number, (method, path, answer, status, cut) in enumerate(calls):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        name = simulator.register_answer(
            f"{prefix}{number}",
            status=status,
            headers=(("content-type", JSON if isinstance(answer, dict) else DOWNLOADED),),
            pieces=[body],
        )
        own = {"authorization": f"Bearer {serve2.token}", "x-metrion-user": f"{prefix}{number:02}"}
        delivery = Delivery(cut=len(body) - 20) if cut else None
        connection = http.client.HTTPConnection("127.0.0.1", serve2.port, timeout=20)
        connection.request(
            method, f"/{path}", "{}" if method == "POST" else None, simulator.select(name, delivery) | own
        )
        try:
            assert connection.getresponse().read() == body
        except http.client.IncompleteRead:
            assert cut
        finally:
            connection.close()

    query = f"SELECT * FROM events WHERE starts_with(user_label, '{prefix}') ORDER BY user_label"  # noqa: S608 -- our own
    rows = eventually(lambda: serve2.events(query), until=lambda found: len(found) == len(calls))
    costs = [None if row["cost_usd"] is None else Decimal(str(row["cost_usd"])) for row in rows]
    assert [(row["cost_source"], row["input_tokens"], cost) for row, cost in zip(rows, costs, strict=True)] == expected
    assert {row["service_tier"] for row in rows if row["input_tokens"]} == {"batch"}
