"""``serve --env mistral-proxy``: the paths, errors and metrics of the guide, each request with a Metrion token.

The assertions about bodies are those of the guide's own tests.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from tests.processes import Proxy, free_port, running_serve
from tests.simulated import Simulator

KEY = "key-of-the-environment-0123456789"


@pytest.fixture(scope="module")
def proxy(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    port = free_port()
    variables = {
        "MISTRAL_KEY": KEY,
        "MISTRAL_URL": f"{simulator.upstream('mistral')}/v1",
        "PRIMARY_MODEL": "mistral-small-latest",
        "PORT": str(port),
        "MAX_TOKENS": "4096",
        "TIMEOUT": "20000",
        "SAFE_MODE": "true",
        "RANDOM_SEED": "null",
    }
    home = tmp_path_factory.mktemp("guide") / "home"
    with running_serve(home, {}, arguments=["--env", "mistral-proxy"], environment=variables, keys=False) as running:
        yield running


def call(
    proxy: Proxy,
    path: str,
    body: Mapping[str, Any] | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)) as connection:
        own = {"authorization": f"Bearer {token or proxy.token}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, {**own, **(headers or {})})
        response = connection.getresponse()
        return response, response.read()


MESSAGES = [{"role": "user", "content": "Test"}]


def test_chat_requests(proxy: Proxy, simulator: Simulator) -> None:
    response, answer = call(proxy, "/v1/chat/completions", {"model": "mistral-large-latest", "messages": MESSAGES})
    assert response.status == 200
    assert json.loads(answer)["model"] == "mistral-large-latest"
    (received,) = simulator.received(1)
    assert received.header("authorization") == [f"Bearer {KEY}".encode()]
    assert json.loads(received.body or b"") == {
        "model": "mistral-large-latest", "messages": MESSAGES, "max_tokens": 4096, "safe_prompt": True,
    }  # fmt: skip


def test_a_request_without_a_model_gets_the_primary_one(proxy: Proxy, simulator: Simulator) -> None:
    response, _ = call(proxy, "/v1/chat/completions", {"messages": MESSAGES})
    assert response.status == 200
    (received,) = simulator.received(1)
    assert json.loads(received.body or b"")["model"] == "mistral-small-latest"


def test_embedding_requests(proxy: Proxy, simulator: Simulator) -> None:
    given = {"object": "list", "data": [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}]}
    name = simulator.register_answer("embeddings", pieces=[json.dumps(given).encode()])
    asked = {"model": "mistral-embedding", "input": "Test text"}
    response, answer = call(proxy, "/v1/embeddings", asked, headers=simulator.select(name))
    assert response.status == 200
    assert json.loads(answer)["data"][0]["embedding"]
    (received,) = simulator.received(1)
    assert json.loads(received.body or b"") == {"model": "mistral-embed", "input": "Test text"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/mistral-large-latest"])
def test_models(proxy: Proxy, simulator: Simulator, path: str) -> None:
    call(proxy, path)
    (received,) = simulator.received(1)
    assert received.target == b"/mistral" + path.encode()


@pytest.mark.parametrize(
    ("name", "model"),
    [("large", "mistral-large-latest"), ("code", "codestral-latest"), ("mistral-medium", "mistral-medium")],
)
def test_a_model_by_path(proxy: Proxy, simulator: Simulator, name: str, model: str) -> None:
    response, _ = call(proxy, f"/mistral/{name}/chat", {"messages": MESSAGES})
    assert response.status == 200
    (received,) = simulator.received(1)
    sent = json.loads(received.body or b"")
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == (model, 4096, 0.7)


def test_a_stream(proxy: Proxy, simulator: Simulator) -> None:
    response, answer = call(proxy, "/stream", {"model": "small", "messages": MESSAGES})
    assert response.status == 200
    assert (response.getheader("content-type") or "").startswith("text/event-stream")
    assert answer.endswith(b"data: [DONE]\n\n")
    events = [line for line in answer.split(b"\n") if line]
    assert all(line.startswith(b"data: ") and not line.startswith(b"data: data:") for line in events)
    (received,) = simulator.received(1)
    sent = json.loads(received.body or b"")
    assert (sent["model"], sent["stream"]) == ("mistral-small-latest", True)


@pytest.mark.parametrize(
    ("path", "token", "status", "kind"),
    [
        ("/v1/chat/../completions", None, 400, "BadRequestError"),
        ("/v1/chat/completions", "sk-metrion-" + "x" * 43, 401, "AuthenticationError"),
        ("/mistral/v1/v1/files", None, 404, "NotFoundError"),
    ],
)
def test_refusals(proxy: Proxy, path: str, token: str | None, status: int, kind: str) -> None:
    response, answer = call(proxy, path, {"messages": MESSAGES}, token)
    error = json.loads(answer)
    assert response.status == status
    assert (error["object"], error["type"], error["param"], error["code"]) == ("error", kind, None, None)
    assert error["message"]


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        (("--allow-model", "mistral-small-*"), [(403, "PermissionError")]),
        (("--rate", "1"), [(200, None), (429, "RateLimitError")]),
    ],
)
def test_what_a_token_may_not_do(
    rule: tuple[str, str], answers: list[tuple[int, str | None]], proxy: Proxy, simulator: Simulator
) -> None:
    token = proxy.metrion("token", "create", f"with{rule[0]}", *rule).strip()
    asked = {"model": "large", "messages": MESSAGES}
    found = [call(proxy, "/v1/chat/completions", asked, token) for _ in answers]
    assert [(response.status, json.loads(body).get("type")) for response, body in found] == answers
    simulator.received(sum(status == 200 for status, _ in answers))


def test_health_and_metrics(proxy: Proxy, simulator: Simulator) -> None:
    call(proxy, "/v1/chat/completions", {"model": "mistral-large-latest", "messages": MESSAGES})
    simulator.received(1)
    assert call(proxy, "/health")[0].status == 200
    text = call(proxy, "/metrics")[1].decode()
    assert 'mistral_tokens_total{model="mistral-large-latest",endpoint="chat",type="input"}' in text
    assert 'mistral_request_latency_seconds_count{model="mistral-large-latest",endpoint="chat"}' in text
    assert "mistral_active_requests " in text


def test_what_applied_is_in_the_row(proxy: Proxy, simulator: Simulator) -> None:
    call(proxy, "/mistral/tiny/chat", {"messages": MESSAGES, "max_tokens": 5})
    simulator.received(1)
    (event,) = proxy.events("SELECT * FROM events ORDER BY event_id DESC LIMIT 1")
    assert event["model_requested"] == "tiny"
    assert event["policy"] == {
        "mistral-proxy": "alias: tiny → mistral-tiny; default: temperature 0.7",
        "SAFE_MODE": "default: safe_prompt true",
    }
