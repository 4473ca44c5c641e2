"""What is generated in the background is billed once, however often it is read back, and by whomever."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.processes import Proxy, eventually
from tests.simulated import Simulator

QUEUED = {"id": "resp_b1", "object": "response", "status": "queued", "background": True, "model": "gpt-4o"}
USAGE = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
DONE = QUEUED | {"status": "completed", "usage": USAGE}


def call(proxy: Proxy, simulator: Simulator, label: str, method: str, path: str, answer: dict[str, Any]) -> None:
    name = simulator.register_answer(label, pieces=[json.dumps(answer).encode()])
    own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label}
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    body = json.dumps({"model": "gpt-4o", "background": True}) if method == "POST" else None
    connection.request(method, f"/openai/v1/{path}", body, simulator.select(name) | own)
    assert json.loads(connection.getresponse().read()) == answer
    connection.close()


@pytest.mark.parametrize("fixture", ["serve_lane", "serve_mitmproxy", "serve2"])
def test_background_response(fixture: str, request: pytest.FixtureRequest, simulator: Simulator) -> None:
    proxy: Proxy = request.getfixturevalue(fixture)
    generation = f"resp_{fixture}"
    queued, done = QUEUED | {"id": generation}, DONE | {"id": generation}
    path = f"responses/{generation}"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "responses", queued),
        ("GET", path, queued),
        *[("GET", path, done)] * 4,
    ]
    for number, (method, where, answer) in enumerate(calls):
        call(proxy, simulator, f"{fixture}-background-{number}", method, where, answer)

    query = f"SELECT * FROM events WHERE starts_with(user_label, '{fixture}-background') ORDER BY user_label"  # noqa: S608 -- our own
    rows = eventually(lambda: proxy.events(query), until=lambda found: len(found) == len(calls))
    assert [row["generation_id"] for row in rows] == [generation] * 6
    assert [row["input_tokens"] for row in rows] == [None, None, 100, None, None, None]
    billed = ["unknown", "not_billed", "computed", "not_billed", "not_billed", "not_billed"]
    assert [row["cost_source"] for row in rows] == billed


def test_a_run_that_ends_in_the_answer_to_a_tools_output_is_billed_there(serve: Proxy, simulator: Simulator) -> None:
    run = {"id": "run_b1", "object": "thread.run", "status": "requires_action", "model": "gpt-4o", "usage": None}
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    done = run | {"status": "completed", "usage": usage}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "threads/t/runs", run),
        ("POST", "threads/t/runs/run_b1/submit_tool_outputs", done),
    ]
    for number, (method, where, answer) in enumerate([*calls, ("GET", "threads/t/runs/run_b1", done)]):
        call(serve, simulator, f"waiting-run-{number}", method, where, answer)

    query = "SELECT * FROM events WHERE starts_with(user_label, 'waiting-run') ORDER BY user_label"
    rows = eventually(lambda: serve.events(query), until=lambda found: len(found) == 3)
    assert [(row["input_tokens"], row["cost_source"]) for row in rows] == [
        (None, "unknown"), (100, "computed"), (None, "not_billed"),
    ]  # fmt: skip
