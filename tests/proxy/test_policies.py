"""Policies through a running proxy, on both roads: only what they name differs, and nothing where none applies."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from tests.corpus import Exchange, written
from tests.processes import STORED_KEYS, Proxy, Road, running_serve, upstreams
from tests.simulated import Received, Simulator

JSON = {"content-type": "application/json"}
BODY = b'{ "model":"large" ,"messages":[{"role":"user","content":"Say r\\u00e9d. \xc3\xa9"}],"max_tokens":1e4,"n":1.0}'
OUT = (
    b'{ "model":"mistral-large-latest" ,"messages":[{"role":"user","content":"Say r\\u00e9d. \xc3\xa9"}],'
    b'"max_tokens":256,"n":1.0,"temperature":0.2}'
)
POLICIES: dict[str, Any] = {
    "names": {
        "for": {"provider": "mistral"},
        "aliases": {"large": "mistral-large-latest", "quick": {"model": "gpt-4o-mini", "provider": "openai"}},
        "tell": ["event-id"],
    },
    "careful": {"for": {"provider": "mistral"}, "caps": {"max_tokens": 256}, "defaults": {"temperature": 0.2}},
    "gemini": {
        "for": {"provider": "gemini"},
        "aliases": {"flash": "gemini-2.5-flash"},
        "defaults": {"generationConfig.maxOutputTokens": 64},
    },
    "others": {"for": {"token": "nobody"}, "defaults": {"temperature": 1.5}, "aliases": {"gpt-4o": "nothing"}},
}


@pytest.fixture(scope="module")
def policed(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0}}, "policies": POLICIES}
    with running_serve(tmp_path_factory.mktemp("policed") / "home", config, environment=road) as proxy:
        yield proxy


def post(
    proxy: Proxy, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> tuple[str, http.client.HTTPResponse, bytes]:
    label = uuid.uuid4().hex
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)) as connection:
        own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label}
        connection.request("POST", path, body, {**JSON, **own, **(headers or {})})
        response = connection.getresponse()
        return label, response, response.read()


def asked(proxy: Proxy, simulator: Simulator, path: str, body: bytes) -> tuple[dict[str, Any], Received]:
    """The event and what the provider got."""
    label, response, answer = post(proxy, path, body)
    assert response.status == 200, answer
    (received,) = simulator.received(1)
    return proxy.event(label), received


def test_only_what_the_policies_name_differs(policed: Proxy, simulator: Simulator) -> None:
    event, received = asked(policed, simulator, "/mistral/v1/chat/completions", BODY)
    assert received.body == OUT
    assert received.header("content-length") == [b"%d" % len(OUT)]
    assert received.header("authorization") == [f"Bearer {STORED_KEYS['mistral']}".encode()]
    assert (event["model_requested"], event["request_bytes"]) == ("large", len(BODY))
    assert event["policy"] == {
        "names": "alias: large → mistral-large-latest",
        "careful": "cap: max_tokens 1e4 → 256; default: temperature 0.2",
    }


def test_a_path_that_names_the_model(policed: Proxy, simulator: Simulator) -> None:
    event, received = asked(policed, simulator, "/mistral/large/chat", b'{"messages":[{"role":"user","content":"Hi"}]}')
    assert received.target == b"/mistral/v1/chat/completions"
    assert json.loads(received.body or b"") == {
        "messages": [{"role": "user", "content": "Hi"}],
        "model": "mistral-large-latest",
        "temperature": 0.2,
        "max_tokens": 256,
    }
    assert (event["operation"], event["path"], event["model_requested"]) == (
        "chat",
        "/mistral/v1/chat/completions",
        "large",
    )
    assert event["policy"]["names"] == "alias: large → mistral-large-latest; default: max_tokens 256"


def test_such_a_path_streams(policed: Proxy, simulator: Simulator) -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}],"stream":false}'
    label, response, answer = post(policed, "/mistral/large/stream", body)
    assert (response.status, response.getheader("content-type", "").partition(";")[0]) == (200, "text/event-stream")
    assert answer.startswith(b"data: {")
    assert b"data: data:" not in answer
    simulator.received(1)
    assert policed.event(label)["streamed"]


@pytest.mark.parametrize("own", [False, True], ids=["stored key", "the client's own"])
def test_an_alias_that_leads_to_another_provider(policed: Proxy, simulator: Simulator, own: bool) -> None:
    credentials = {"authorization": "Bearer own-key-0123456789", "x-metrion-token": policed.token} if own else {}
    body = b'{"model":"quick","messages":[{"role":"user","content":"Hi"}]}'
    label, response, answer = post(policed, "/mistral/v1/chat/completions", body, credentials)
    assert response.status == 200, answer
    (received,) = simulator.received(1)
    assert received.target == b"/openai/v1/chat/completions"
    assert received.header("authorization") == [f"Bearer {STORED_KEYS['openai']}".encode()]
    assert received.body == body.replace(b"quick", b"gpt-4o-mini")
    event = policed.event(label)
    assert (event["provider"], event["credential"], event["model_requested"]) == ("openai", "stored", "quick")
    assert event["policy"] == {"names": "alias: quick → gpt-4o-mini"}
    assert event["cost_source"] == "computed"


def test_geminis_own_api(policed: Proxy, simulator: Simulator) -> None:
    body = b'{"contents":[{"parts":[{"text":"Hi"}]}]}'
    event, received = asked(policed, simulator, "/gemini/v1beta/models/flash:generateContent", body)
    assert received.target == b"/google/v1beta/models/gemini-2.5-flash:generateContent"
    assert received.body == body[:-1] + b',"generationConfig":{"maxOutputTokens":64}}'
    assert event["model_requested"] == "flash"
    assert event["policy"] == {
        "gemini": "alias: flash → gemini-2.5-flash; default: generationConfig.maxOutputTokens 64"
    }


def test_the_response_names_its_event(policed: Proxy, simulator: Simulator) -> None:
    label, response, _ = post(policed, "/mistral/v1/chat/completions", OUT)
    assert response.getheader("x-metrion-event-id") == policed.event(label)["event_id"]
    _, response, _ = post(policed, "/openai/v1/chat/completions", OUT)
    assert response.getheader("x-metrion-event-id") is None
    simulator.received(2)


def test_a_body_that_is_no_json_passes_and_the_row_says_so(policed: Proxy, simulator: Simulator) -> None:
    label, _, _ = post(policed, "/mistral/v1/chat/completions", b"model=large")
    (received,) = simulator.received(1)
    assert received.body == b"model=large"
    untouched = "untouched: the body is no JSON object"
    assert policed.event(label)["policy"] == {"names": untouched, "careful": untouched}


OTHERS = [each for each in written() if each.provider in ("anthropic", "openai", "xai") and each.method == "POST"]


@pytest.mark.parametrize("exchange", OTHERS[::7], ids=lambda exchange: exchange.id)
def test_for_whom_no_policy_is_nothing_differs(policed: Proxy, simulator: Simulator, exchange: Exchange) -> None:
    label, _, _ = post(policed, f"/{exchange.provider}{exchange.path}", exchange.request_body)
    (received,) = simulator.received(1)
    assert received.body == exchange.request_body
    assert policed.event(label)["policy"] is None
