"""What the proxy refuses by itself: the answer, the SDK's exception, the event, and that nothing went out."""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from metrion.relay.relay import UNREAD_BODY_SECONDS
from metrion.simulator.delivery import Delivery
from tests.credentials import OTHER, UNKNOWN
from tests.processes import STORED_KEYS, Proxy, Road, eventually, free_port, running_serve, upstreams
from tests.simulated import Simulator

BODY = json.dumps({"model": "gpt-4o", "messages": []}).encode()


def post(
    url: str, path: str, headers: dict[str, str], body: bytes = BODY, method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    host = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "headers", "status", "code", "says"),
    [
        ("/nowhere", {}, 404, "unknown_route", "/openai"),
        ("/v1/chat/completions", {"x-api-key": "{token}"}, 400, "unknown_route", "/openai"),
        ("/v1/embeddings", {"x-api-key": "{token}"}, 404, "unknown_route", "/openai"),
        ("/openai/v1/chat/completions", {}, 401, "missing_token", "token"),
        ("/openai/v1/chat/completions", {"authorization": "Bearer sk-proj-mine"}, 401, "missing_token", "token"),
        ("/openai/v1/chat/completions", {"authorization": "Bearer sk-metrion-short"}, 401, "invalid_token", ""),
        ("/openai/v1/chat/completions", {"authorization": f"Bearer {UNKNOWN}"}, 401, "invalid_token", ""),
        ("/openai/v1/chat/completions?key={token}", {"x-api-key": OTHER}, 401, "conflicting_tokens", ""),
        ("/openai/%2e%2e/secret", {"authorization": "Bearer {token}"}, 400, "bad_request", "dot"),
    ],
)
def test_refusal(
    path: str,
    headers: dict[str, str],
    status: int,
    code: str,
    says: str,
    serve: Proxy,
    simulator: Simulator,
) -> None:
    label = uuid.uuid4().hex
    filled = {name: value.format(token=serve.token) for name, value in headers.items()} | {"x-metrion-user": label}
    got, answered, body = post(serve.url(), path.format(token=serve.token), filled)

    assert (got, answered["x-metrion-error"], answered["x-should-retry"]) == (status, code, "false")
    assert answered["content-type"] == "application/json"
    assert says in body.decode()
    assert serve.token not in body.decode()
    assert UNKNOWN not in body.decode()
    assert simulator.received() == []
    if code == "unknown_route":
        return
    event = serve.event(label)
    assert (event["status"], event["end_reason"], event["error_type"]) == (status, "refused", code)
    assert (event["provider"], event["cost_source"], event["cost_usd"]) == ("openai", "not_billed", "0.000000000000")
    assert event["model_requested"] is None


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/openai/%2e%2e/secret", {"authorization": "Bearer {token}"}, 400, "bad_request"),
        ("/openai/v1/models", {"authorization": "Bearer {token}", "bad name": "x"}, 400, "bad_request"),
        ("/openai/v1/models", {}, 401, "missing_token"),
        ("/openai/v1/models", {"authorization": f"Bearer {UNKNOWN}"}, 401, "invalid_token"),
        ("/openai/v1/models", {"authorization": "Bearer {token}", "x-api-key": OTHER}, 401, "conflicting_tokens"),
        ("http://127.0.0.2/v1/models", {"authorization": "Bearer {token}"}, 403, "not_a_provider"),
        ("/nowhere", {"authorization": "Bearer {token}"}, 404, "unknown_route"),
        ("/antropic/v1/messages", {"authorization": "Bearer {token}"}, 400, "unknown_route"),
        ("/anthropic/v1/v1/messages", {"authorization": "Bearer {token}"}, 400, "unknown_route"),
    ],
)
def test_what_will_not_pass_by_itself_is_not_to_be_tried_again(
    path: str, headers: dict[str, str], status: int, code: str, serve: Proxy
) -> None:
    filled = {name: value.format(token=serve.token) for name, value in headers.items()}
    got, answered, _ = post(serve.url(), path, filled)
    assert (got, answered["x-metrion-error"]) == (status, code)
    assert answered["x-should-retry"] == "false"


@pytest.mark.parametrize("delivery", [Delivery(cut="head"), Delivery(cut="head", reset=True), Delivery(garbage="?")])
def test_what_the_provider_was_told_whole_is_not_to_be_tried_again(
    delivery: Delivery, serve: Proxy, simulator: Simulator
) -> None:
    """It may have been generated, and would be billed twice."""
    headers = {"authorization": f"Bearer {serve.token}", **simulator.select(delivery=delivery)}
    status, answered, _ = post(serve.url(), "/openai/v1/chat/completions", headers)
    assert (status, answered["x-metrion-error"]) == (502, "upstream_unreachable")
    assert answered["x-should-retry"] == "false"


def test_what_the_provider_has_only_in_part_may_be_tried_again(serve: Proxy, simulator: Simulator) -> None:
    """The provider hangs up while it is being asked; it cannot have generated anything."""
    fields = {"authorization": f"Bearer {serve.token}", **simulator.select(delivery=Delivery(early=True, cut="head"))}
    head = "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", serve.port), timeout=20) as client:
        client.sendall(f"{head}\r\n{{".encode())
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"x-metrion-error: upstream_unreachable" in answer
    assert b"x-should-retry" not in answer


def test_refusals_are_the_sdks_own_exceptions(serve: Proxy) -> None:
    messages: Any = [{"role": "user", "content": "hello"}]
    chat = openai.OpenAI(base_url=serve.url("openai"), api_key=UNKNOWN, max_retries=0).chat.completions
    with pytest.raises(openai.AuthenticationError) as refused:
        chat.create(model="gpt-4o", messages=messages)
    assert refused.value.response.headers["x-metrion-error"] == "invalid_token"
    claude = anthropic.Anthropic(base_url=serve.url("anthropic"), api_key=UNKNOWN, max_retries=0).messages
    with pytest.raises(anthropic.AuthenticationError):
        claude.create(model="claude-haiku-4-5-20251001", max_tokens=5, messages=messages)


def test_revoked_token_is_refused_within_a_second(serve: Proxy) -> None:
    token = serve.metrion("token", "create", "short-lived").strip()
    headers = {"authorization": f"Bearer {token}"}
    assert post(serve.url(), "/openai/v1/chat/completions", headers)[0] == 200
    serve.metrion("token", "revoke", "short-lived")

    def refused() -> bool:
        return post(serve.url(), "/openai/v1/chat/completions", headers)[0] == 401

    assert eventually(refused, timeout=1)


def test_account_without_a_key_is_told_the_command(serve: Proxy, simulator: Simulator) -> None:
    serve.metrion("account", "create", "keyless")
    token = serve.metrion("token", "create", "keyless-token", "--account", "keyless").strip()
    status, headers, body = post(
        serve.url(), "/grok/v1/chat/completions", {"authorization": f"Bearer {token}", "x-metrion-user": "keyless"}
    )
    assert (status, headers["x-metrion-error"], headers["x-should-retry"]) == (400, "no_provider_key", "false")
    assert b"metrion key set xai" in body
    assert simulator.received() == []
    event = serve.event("keyless")
    assert (event["account"], event["token_name"], event["provider"]) == ("keyless", "keyless-token", "xai")


def test_refusal_comes_before_the_body_and_without_continue(serve: Proxy) -> None:
    """A client that waits with a large body for ``100 Continue`` never has to send it."""
    with socket.create_connection(("127.0.0.1", serve.port), timeout=20) as client:
        client.sendall(
            b"POST /openai/v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n"
        )
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


def test_refusal_survives_a_body_that_is_sent_regardless(serve: Proxy) -> None:
    body = b"x" * 900_000
    answered = None
    while answered is None:
        began = time.monotonic()
        try:
            answered = post(serve.url(), "/openai/v1/files", {}, body)
        except OSError:  # nobody is waited for any longer: a busy machine may have kept this process from sending
            assert time.monotonic() - began > UNREAD_BODY_SECONDS
    status, headers, answer = answered
    assert (status, headers["x-metrion-error"]) == (401, "missing_token")
    assert json.loads(answer)["error"]["code"] == "missing_token"


def test_refusal_is_not_followed_by_a_close_while_the_body_may_still_come(serve: Proxy) -> None:
    """A close then would be a reset, which takes away an answer that the client has not read."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", serve.port), timeout=20) as client:
        client.sendall(b"POST /openai/v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, len(response.read()) > 0) == (401, True)
        assert client.recv(1) == b""
    assert time.monotonic() - began > UNREAD_BODY_SECONDS - 0.1


def test_strangers_cannot_fill_the_store(road: Road, tmp_path: Any, simulator: Simulator) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator), environment=road) as proxy:
        for _ in range(70):
            assert post(proxy.url(), "/openai/v1/models", {}, b"", "GET")[0] == 401
        health = json.loads(post(proxy.url(), "/health", {}, b"", "GET")[2])
        assert health["status"] == "ok"
        assert health["unrecorded_refusals"] == 10
        proxy.stop()
        assert len(proxy.events()) == 60


@pytest.fixture
def deserted(road: Road, tmp_path: Any) -> Iterator[Proxy]:
    """A proxy whose providers are not there."""
    config = {"providers": {"openai": {"upstream": f"http://127.0.0.1:{free_port()}"}}}
    with running_serve(tmp_path / "home", config, environment=road) as running:
        yield running


def test_unreachable_upstream(deserted: Proxy) -> None:
    client = openai.OpenAI(
        base_url=deserted.url("openai"),
        api_key=deserted.token,
        max_retries=0,
        default_headers={"x-metrion-user": "deserted"},
    )
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
    assert failed.value.status_code == 502
    assert failed.value.response.headers["x-metrion-error"] == "upstream_unreachable"
    assert "x-should-retry" not in failed.value.response.headers  # nothing was sent, so nothing is billed
    event = deserted.event("deserted")
    assert (event["status"], event["end_reason"]) == (502, "upstream_error")
    assert (event["error_type"], event["cost_source"]) == ("upstream_unreachable", "not_billed")
    assert STORED_KEYS["openai"] not in deserted.log.read_text()
