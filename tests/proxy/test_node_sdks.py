"""The official SDKs for Node against a running proxy: streamed and not, with the stored key and with their own."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from metrion.providers import PROVIDERS
from tests.node.sdks import Node
from tests.processes import STORED_KEYS, Proxy
from tests.simulated import Simulator

KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
OWN_KEY = "the-callers-own-provider-key-42"

# SDK, provider, path behind the provider's base URL, model
CLIENTS = [
    ("openai", "openai", "/v1", "gpt-4o"),
    ("openai", "xai", "/v1", "grok-3-mini"),
    ("openai", "mistral", "/v1", "mistral-small-latest"),
    ("openai", "google", "/v1beta/openai", "gemini-2.5-flash"),
    ("anthropic", "anthropic", "", "claude-haiku-4-5-20251001"),
    ("mistral", "mistral", "", "mistral-small-latest"),
    ("google", "google", "", "gemini-2.5-flash"),
]
IDS = [f"{sdk}-{provider}" for sdk, provider, _, _ in CLIENTS]

PLACES = {
    ("google", "stored"): "x-goog-api-key",
    ("google", "pass_through"): "x-goog-api-key",
    ("anthropic", "stored"): "x-api-key",
}
"""Where the key stands on its way to the provider, by SDK, if not after ``Authorization: Bearer``, which is also where
Anthropic's SDK puts a key."""


@pytest.mark.parametrize("credential", ["stored", "pass_through"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("sdk", "provider", "path", "model"), CLIENTS, ids=IDS)
def test_call_is_answered_metered_and_priced(
    sdk: str,
    provider: str,
    path: str,
    model: str,
    stream: bool,
    credential: str,
    node: Node,
    proxy: Proxy,
    simulator: Simulator,
) -> None:
    label = uuid.uuid4().hex
    headers = {"x-metrion-user": label, "x-metrion-tag-suite": "node"}
    api_key = proxy.token
    if credential == "pass_through":
        headers["x-metrion-token"], api_key = proxy.token, OWN_KEY

    outcome = node.call(
        sdk,
        base_url=proxy.url(provider) + path,
        api_key=api_key,
        model=model,
        headers=headers,
        stream=stream,
    )

    assert outcome.text, outcome
    (received,) = simulator.received(1)
    key = OWN_KEY if credential == "pass_through" else STORED_KEYS[provider]
    sent = {name: values for name in KEY_HEADERS if (values := received.header(name))}
    place = PLACES.get((sdk, credential), "authorization")
    assert sent == {place: [f"Bearer {key}".encode() if place == "authorization" else key.encode()]}
    assert not [name for name, value in received.headers if b"metrion" in name.lower() or b"sk-metrion" in value]

    event = proxy.event(label)
    assert (event["provider"], event["credential"], event["token_name"]) == (provider, credential, "tests")
    assert event["tags"] == {"suite": "node"}
    assert (event["status"], event["end_reason"], event["streamed"]) == (200, "complete", stream)
    assert event["model_requested"] == model
    assert event["request_bytes"] == received.body_bytes
    assert event["first_byte_ms"] <= event["latency_ms"]
    if sdk in {"openai", "anthropic"}:
        assert event["client_retry"] == 0
    if sdk == "google" and PROVIDERS["google"].native.paths[":generateContent"].post is None:
        return  # nothing reads what its own API answers
    assert event["usage_source"] == "reported"
    assert event["input_tokens"] > 0
    assert event["output_tokens"] > 0
    assert event["cost_source"] == ("provider" if provider == "xai" else "computed")  # xAI says what it charged
    assert Decimal(event["cost_usd"]) > 0
    assert sum(map(Decimal, event["cost_parts"].values())) == Decimal(event["computed_cost_usd"])
