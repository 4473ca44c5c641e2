"""The official SDKs and curl against a running proxy: streamed and not, with the stored key and with their own."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anthropic
import mistralai.client
import openai
import pytest

from tests.processes import STORED_KEYS, Proxy
from tests.simulated import Simulator

OWN_KEY = "the-callers-own-provider-key-42"
MESSAGES: Any = [{"role": "user", "content": "Name a colour."}]


@dataclass(frozen=True, slots=True)
class Call:
    """What a client is configured with."""

    base_url: str
    api_key: str
    headers: dict[str, str]


def openai_sdk(call: Call, model: str, *, stream: bool) -> str:
    client = openai.OpenAI(
        base_url=call.base_url, api_key=call.api_key, default_headers=call.headers, max_retries=0, timeout=20
    )
    if not stream:
        return client.chat.completions.create(model=model, messages=MESSAGES).choices[0].message.content or ""
    chunks = client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def anthropic_sdk(call: Call, model: str, *, stream: bool) -> str:
    client = anthropic.Anthropic(
        base_url=call.base_url, api_key=call.api_key, default_headers=call.headers, max_retries=0, timeout=20
    )
    if not stream:
        message = client.messages.create(model=model, max_tokens=50, messages=MESSAGES)
        return "".join(block.text for block in message.content if block.type == "text")
    with client.messages.stream(model=model, max_tokens=50, messages=MESSAGES) as streamed:
        return "".join(streamed.text_stream)


def mistral_sdk(call: Call, model: str, *, stream: bool) -> str:
    client = mistralai.client.Mistral(server_url=call.base_url, api_key=call.api_key, timeout_ms=20_000)
    if not stream:
        answer = client.chat.complete(model=model, messages=MESSAGES, http_headers=call.headers)
        message = answer.choices[0].message
        return str(message.content) if message else ""
    with client.chat.stream(model=model, messages=MESSAGES, http_headers=call.headers) as events:
        return "".join(str(event.data.choices[0].delta.content or "") for event in events if event.data.choices)


def curl(call: Call, model: str, *, stream: bool) -> str:
    body = {"model": model, "messages": MESSAGES, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    command = ["curl", "-sSN", "--max-time", "20", "-H", "content-type: application/json", "-d", json.dumps(body)]
    for name, value in ({"authorization": f"Bearer {call.api_key}"} | call.headers).items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run([*command, f"{call.base_url}/chat/completions"], capture_output=True, check=True, text=True)
    if not stream:
        return str(json.loads(done.stdout)["choices"][0]["message"]["content"])
    events = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"])


# client, provider, path behind the provider's base URL, model
CLIENTS: list[tuple[Callable[..., str], str, str, str]] = [
    (openai_sdk, "openai", "/v1", "gpt-4o"),
    (openai_sdk, "xai", "/v1", "grok-3-mini"),
    (openai_sdk, "google", "/v1beta/openai", "gemini-2.5-flash"),
    (openai_sdk, "mistral", "/v1", "mistral-small-latest"),
    (anthropic_sdk, "anthropic", "", "claude-haiku-4-5-20251001"),
    (mistral_sdk, "mistral", "", "mistral-small-latest"),
    (curl, "openai", "/v1", "gpt-4o"),
]
IDS = [f"{client.__name__}-{provider}" for client, provider, _, _ in CLIENTS]


@pytest.mark.parametrize("credential", ["stored", "pass_through"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("client", "provider", "path", "model"), CLIENTS, ids=IDS)
def test_call_is_answered_metered_and_priced(
    client: Callable[..., str],
    provider: str,
    path: str,
    model: str,
    stream: bool,
    credential: str,
    proxy: Proxy,
    simulator: Simulator,
) -> None:
    label = uuid.uuid4().hex
    headers = {"x-metrion-user": label}
    key = proxy.token
    if credential == "pass_through":
        headers["x-metrion-token"], key = proxy.token, OWN_KEY

    text = client(Call(proxy.url(provider) + path, key, headers), model, stream=stream)

    assert text
    (received,) = simulator.received(1)
    if credential == "pass_through":  # where each SDK puts it, Anthropic's too
        assert received.header("authorization") == [f"Bearer {OWN_KEY}".encode()]
    elif provider == "anthropic":
        assert received.header("x-api-key") == [STORED_KEYS[provider].encode()]
        assert received.header("authorization") == []
    else:
        assert received.header("authorization") == [f"Bearer {STORED_KEYS[provider]}".encode()]
    assert not [name for name, value in received.headers if b"metrion" in name.lower() or b"sk-metrion" in value]

    event = proxy.event(label)
    assert (event["provider"], event["credential"], event["token_name"]) == (provider, credential, "tests")
    assert (event["status"], event["end_reason"], event["streamed"]) == (200, "complete", stream)
    assert event["model_requested"] == model
    assert event["usage_source"] == "reported"
    assert event["input_tokens"] > 0
    assert event["output_tokens"] > 0
    assert event["cost_source"] == ("provider" if provider == "xai" else "computed")  # xAI says what it charged
    assert Decimal(event["cost_usd"]) > 0
    assert sum(map(Decimal, event["cost_parts"].values())) == Decimal(event["computed_cost_usd"])
    assert event["first_byte_ms"] <= event["latency_ms"]
    assert event["request_bytes"] == received.body_bytes
