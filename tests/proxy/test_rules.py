"""What a token may do, through a running proxy on both roads: what is refused never reaches the provider."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from metrion.control import ControlStore
from metrion.model import TokenRules
from metrion.settings import Settings
from tests.processes import Proxy, eventually
from tests.rawclient import connected
from tests.simulated import Simulator

CHAT = "/openai/v1/chat/completions"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
MODELS = TokenRules(models=("gpt-4o", "claude-*", "gemini-2*"))
NAMED = TokenRules(models=("gpt-4o",), operations=("chat", "files", "audio", "batch"))


def chat(model: str = "gpt-4o", **members: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Say red."}], **members}).encode()


def token_with(proxy: Proxy, rules: TokenRules, account: str = "default") -> str:
    with closing(ControlStore.open(Settings(home=proxy.home))) as store:
        return store.create_token(f"r-{uuid.uuid4().hex[:12]}", account=account, rules=rules).secret


def ask(
    proxy: Proxy,
    token: str,
    body: bytes | Iterator[bytes] | None,
    path: str = CHAT,
    headers: Mapping[str, str] = JSON,
    method: str = "POST",
) -> tuple[int, str | None, str, dict[str, Any]]:
    """Return the status, Metrion's code, the body of the answer, and the row."""
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        own = {"authorization": f"Bearer {token}", "x-metrion-user": label}
        connection.request(method, path, body, {**headers, **own})
        response = connection.getresponse()
        return response.status, response.getheader("x-metrion-error"), response.read().decode(), proxy.event(label)
    finally:
        connection.close()


def outcome(answer: tuple[int, str | None, str, dict[str, Any]]) -> int | str:
    status, code, _, event = answer
    assert event["status"] == status
    if code is None:
        return status
    assert (event["end_reason"], event["error_type"], event["cost_source"]) == ("refused", code, "not_billed")
    return code


BATCH = {"requests": [{"custom_id": str(n), "params": {"model": f"claude-{n}", "max_tokens": 5}} for n in range(3)]}
MIXED = {"requests": [*BATCH["requests"], {"custom_id": "x", "params": {"model": "other", "max_tokens": 5}}]}

ASKED: list[Any] = [
    (MODELS, CHAT, JSON, chat(), 200),
    (MODELS, CHAT, JSON, chat("gpt-4o-mini"), "not_allowed"),
    (MODELS, CHAT, JSON, chat() + b" " * 100_000, 200),
    (MODELS, CHAT, JSON, b'{"model": "gpt-4o", "model": "gpt-5"}', "not_allowed"),
    (MODELS, CHAT, JSON, b"{}", "not_allowed"),
    (MODELS, CHAT, JSON, b"", "not_allowed"),
    (MODELS, CHAT, {**JSON, "content-encoding": "gzip"}, gzip.compress(chat()), "not_allowed"),
    (MODELS, CHAT, FORM, b"--x--", "not_allowed"),
    (MODELS, "/anthropic/v1/messages", JSON, chat("claude-sonnet-4-5", max_tokens=5), 200),
    (MODELS, "/anthropic/v1/messages/batches", JSON, json.dumps(BATCH).encode(), 200),
    (MODELS, "/anthropic/v1/messages/batches", JSON, json.dumps(MIXED).encode(), "not_allowed"),
    (MODELS, "/gemini/v1beta/models/gemini-2.5-flash:generateContent", JSON, b'{"contents": []}', 200),
    (MODELS, "/gemini/v1beta/models/gemini-1.5-pro:generateContent", JSON, b'{"contents": []}', "not_allowed"),
    (MODELS, "/openai/v1/files", FORM, b"--x--", "not_allowed"),
    (MODELS, "/openai/v1/batches", JSON, b'{"input_file_id": "file-1"}', "not_allowed"),
    (NAMED, "/openai/v1/batches", JSON, b'{"input_file_id": "file-1"}', 200),
    (NAMED, "/openai/v1/audio/transcriptions", FORM, b"--x--", 200),
    (NAMED, CHAT, FORM, b"--x--", "not_allowed"),
    (NAMED, CHAT, JSON, chat("gpt-5"), "not_allowed"),
    (NAMED, CHAT, JSON, chat(), 200),
    (NAMED, "/openai/v1/embeddings", JSON, chat(), "not_allowed"),
    (TokenRules(providers=("anthropic",)), CHAT, JSON, chat(), "not_allowed"),
    (TokenRules(providers=("openai",)), CHAT, JSON, chat(), 200),
    (TokenRules(networks=("127.0.0.0/8",)), CHAT, JSON, chat(), 200),
    (TokenRules(networks=("10.0.0.0/8", "2001:db8::/32")), CHAT, JSON, chat(), "not_allowed"),
]


@pytest.mark.parametrize("asks", range(len(ASKED)))
def test_what_a_token_may_do(serve: Proxy, simulator: Simulator, asks: int) -> None:
    rules, path, headers, body, expected = ASKED[asks]
    simulator.received()
    answer = ask(serve, token_with(serve, rules), body, path, headers)
    # Not every request is one that the simulator has an answer to.
    assert outcome(answer) == expected or (expected == 200 and answer[1] is None), answer
    received = simulator.received(finished=False)
    if expected == 200:
        assert [each.body for each in received] == [body]
    else:
        assert received == []
        in_path = path.partition("/models/")[2].partition(":")[0] or None
        assert answer[3]["model_requested"] == in_path


def test_a_get_generates_nothing(serve: Proxy) -> None:
    assert outcome(ask(serve, token_with(serve, MODELS), None, "/openai/v1/models", method="GET")) == 200


def test_a_session_is_refused_unless_its_operation_is_allowed(serve: Proxy, simulator: Simulator) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
               "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    simulator.received()
    answer = ask(serve, token_with(serve, MODELS), None, "/openai/v1/realtime?model=gpt-4o", upgrade, "GET")
    assert outcome(answer) == "not_allowed"
    assert "--allow-operation realtime" in answer[2]
    assert simulator.received() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_larger_than_is_held(serve: Proxy, simulator: Simulator, *, chunked: bool) -> None:
    token, label = token_with(serve, MODELS), uuid.uuid4().hex
    simulator.received()
    size = 33 << 20
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size
    head = b"POST %s HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %s\r\nx-metrion-user: %s\r\n%s\r\n\r\n" % (
        CHAT.encode(), token.encode(), label.encode(), framing,
    )  # fmt: skip
    with connected(serve.port) as client:
        client.send(head)
        if chunked:
            piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
            client.send(*[piece] * 32, b"1\r\n \r\n")
        answer = client.read()
    assert (answer.status, answer.headers[b"x-metrion-error"]) == (413, b"body_too_large")
    assert (answer.headers[b"connection"], answer.headers[b"x-should-retry"]) == (b"close", b"false")
    event = serve.event(label)
    assert (event["status"], event["error_type"], event["model_requested"]) == (413, "body_too_large", None)
    assert simulator.received(finished=False) == []


def test_a_chunked_body_is_held_and_goes_out_as_it_came(serve: Proxy, simulator: Simulator) -> None:
    simulator.received()
    token, body = token_with(serve, MODELS), chat()
    assert outcome(ask(serve, token, (body[at : at + 7] for at in range(0, len(body), 7)))) == 200
    (received,) = simulator.received(1)
    assert received.body == body


def test_a_connection_goes_on_after_a_refused_body(serve: Proxy) -> None:
    token = token_with(serve, MODELS)
    connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=20)
    statuses = []
    for model in ("gpt-5", "gpt-4o", "gpt-5"):
        connection.request("POST", CHAT, chat(model), {**JSON, "authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        statuses.append((response.status, response.getheader("connection")))
    assert statuses[0] == (403, None)
    assert [status for status, _ in statuses] == [403, 200, 403]
    connection.close()


def test_100_continue_is_answered_and_then_the_body_refused(serve: Proxy) -> None:
    token, body = token_with(serve, MODELS), chat("gpt-5")
    with connected(serve.port) as client:
        client.send(
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        )
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.send(body)
        assert client.read().status == 403


def test_rules_come_before_keys_and_keys_before_limits(serve: Proxy) -> None:
    account = f"a-{uuid.uuid4().hex[:8]}"
    with closing(ControlStore.open(Settings(home=serve.home))) as store:
        store.create_account(account, "pro")
    token = token_with(serve, MODELS, account)
    assert outcome(ask(serve, token, chat("gpt-5"))) == "not_allowed"
    assert outcome(ask(serve, token, chat())) == "no_provider_key"
    assert outcome(ask(serve, token, b"--x--", headers=FORM)) == "not_allowed"
    free = token_with(serve, TokenRules(providers=("openai",)), account)
    assert outcome(ask(serve, free, chat())) == "no_provider_key"


def test_a_client_that_leaves_while_its_body_is_held(serve: Proxy, simulator: Simulator) -> None:
    label, body = uuid.uuid4().hex, chat()
    simulator.received()
    with socket.create_connection(("127.0.0.1", serve.port)) as client:
        client.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token_with(serve, MODELS)}\r\n"
            f"x-metrion-user: {label}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body[:-1]
        )
        eventually(lambda: serve.health()["in_flight"])
    event = serve.event(label)
    assert (event["end_reason"], event["cost_source"]) == ("client_abort", "not_billed")
    assert simulator.received(finished=False) == []
