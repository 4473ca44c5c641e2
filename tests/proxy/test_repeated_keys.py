"""A provider that repeats the key it was given, in every field of its answer: no row, no file and no log has it."""

from __future__ import annotations

import base64
import http.client
import json
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.credentials import OWN_KEY
from tests.processes import STORED_KEYS, Proxy
from tests.simulated import Simulator

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "bearer": lambda key: f"Bearer {key}",
    "cut": lambda key: key[:-8],
    "base64": lambda key: base64.b64encode(f"u:{key}".encode()).decode(),
    "percent": lambda key: quote("".join(f"%{ord(each):02x}" for each in key)),
    "escaped": lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
}


def chat(key: str) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, key: 1, "note": f"of {key}"}
    choice = {"index": 0, "message": {"role": "assistant", "content": key}, "finish_reason": key}
    answer = {"id": key, "object": "chat.completion", "model": f"gpt-{key}", "service_tier": key, "choices": [choice]}
    return json.dumps(answer | {"usage": usage}).encode()


def error(key: str) -> bytes:
    return json.dumps({"error": {"message": f"Incorrect API key: {key}", "type": key, "code": key}}).encode()


@pytest.mark.parametrize("pass_through", [False, True], ids=["stored", "own"])
@pytest.mark.parametrize(("status", "body"), [(200, chat), (401, error)], ids=["answer", "error"])
def test_a_key_that_is_repeated(
    proxy: Proxy, simulator: Simulator, *, pass_through: bool, status: int, body: Callable[[str], bytes]
) -> None:
    key = OWN_KEY if pass_through else STORED_KEYS["openai"]
    own = {"authorization": f"Bearer {OWN_KEY}", "x-metrion-token": proxy.token}
    credential = own if pass_through else {"authorization": f"Bearer {proxy.token}"}
    for spelled in SPELLINGS.values():
        check(proxy, simulator, credential, key, spelled(key), status, body(spelled(key)))


def check(
    proxy: Proxy, simulator: Simulator, credential: dict[str, str], key: str, repeated: str, status: int, body: bytes
) -> None:
    label = uuid.uuid4().hex
    headers = {
        "content-type": "application/json",
        "x-request-id": repeated,
        "x-ratelimit-limit-requests": repeated,
        f"x-ratelimit-{uuid.uuid4().hex}": "1",
    }
    name = simulator.register_answer(label, status=status, headers=list(headers.items()), pieces=[body])
    base = proxy.url("openai").removeprefix("http://")
    host, _, prefix = base.partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        sent = {
            **credential,
            "x-metrion-user": label,
            "x-metrion-tag-note": f"by {repeated}",
            "user-agent": f"{repeated} (x)",
            "session-id": repeated,
            "x-simulate": name,
            "content-type": "application/json",
        }
        path = "/v1/chat/completions" if not prefix else f"/{prefix}/v1/chat/completions"
        connection.request("POST", path, json.dumps({"model": repeated, "messages": []}), sent)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, body)  # what the client gets is the provider's
    finally:
        connection.close()

    event = proxy.event(label)
    row = json.dumps(event, ensure_ascii=False)
    assert "***" in row
    for secret in (repeated, json.dumps(repeated)[1:-1], key, *(key[at : at + 16] for at in range(len(key) - 15))):
        assert secret not in row
        assert secret not in json.dumps(row)
    if status == 200:
        assert (event["input_tokens"], event["output_tokens"]) == (3, 5)
    files = [path for path in proxy.home.rglob("*") if path.is_file() and path.name not in ("control.db", "master.key")]
    for file in (*files, proxy.log):
        content = file.read_bytes() if file.exists() else b""
        assert repeated.encode() not in content, file
        assert json.dumps(repeated)[1:-1].encode() not in content, file
