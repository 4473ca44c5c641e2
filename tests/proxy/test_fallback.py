"""Falling back through a running proxy, on both roads: what goes where, with whose key, and which rows there are."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.processes import STORED_KEYS, Proxy, Road, eventually, running_serve
from tests.upstream import Upstream, answering, running_upstream

BODY = b'{"model": "gpt-4o",  "messages": [], "temperature": 1.0}'
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nx-should-retry: false\r\ncontent-length: 2\r\n\r\n{}"
ANSWER = b'{"id":"c","model":"small","usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
FINE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
LADDER = {"for": {"provider": "openai"}, "fallback": [{"provider": "mistral", "model": "small"}]}


@pytest.fixture(scope="module")
def busy() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def free() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(road: Road, busy: Upstream, free: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = {
        "providers": {"openai": {"upstream": busy.url}, "mistral": {"upstream": free.url}},
        "plans": {"pro": {"requests_per_minute": 0}},
        "policies": {"ladder": LADDER},
    }
    with running_serve(tmp_path_factory.mktemp("ladder") / "home", config, environment=road) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("own", [None, "sk-my-own-key-0123456789abcdef0123"])
def test_another_provider_gets_its_own_key_and_no_other(
    own: str | None, proxy: Proxy, busy: Upstream, free: Upstream
) -> None:
    script = busy.script(answering(BUSY))
    assert free.script(answering(FINE)) == script  # both count
    name, _, value = script.partition(": ")
    headers = {"content-type": "application/json", name: value, "authorization": f"Bearer {own or proxy.token}"}
    headers |= {"x-metrion-token": proxy.token} if own else {}
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("POST", "/openai/v1/chat/completions", BODY, headers)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, ANSWER)
    (first,), (second,) = busy.asked(script), free.asked(script)
    assert first.header(b"authorization") == [f"Bearer {own or STORED_KEYS['openai']}".encode()]
    assert second.header(b"authorization") == [f"Bearer {STORED_KEYS['mistral']}".encode()]
    assert (first.body, second.body) == (BODY, BODY.replace(b"gpt-4o", b"small"))
    assert not any(own and own.encode() in value for _, value in second.headers)
    query = "SELECT * FROM events WHERE request_id = (SELECT max(request_id) FROM events) ORDER BY attempt"
    rows = eventually(
        lambda: proxy.events(query),
        until=lambda found: len(found) == 2 and (found[0]["credential"] == "stored") != bool(own),
    )
    assert [(row["attempt"], row["provider"], row["status"], row["end_reason"], row["credential"]) for row in rows] == [
        (1, "openai", 429, "retried", "pass_through" if own else "stored"),
        (2, "mistral", 200, "complete", "stored"),
    ]
    assert rows[1]["policy"] == {"ladder": "fallback: to mistral model small"}
    assert STORED_KEYS["mistral"] not in json.dumps(rows, default=str)
