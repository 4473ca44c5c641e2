"""Falling back through a running proxy, on both roads: what goes where, with whose key, and which rows there are."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.processes import STORED_KEYS, Proxy, Road, eventually, running_serve
from tests.upstream import Upstream, answering, running_upstream

BODY = b'{"model": "gpt-4o",  "messages": [], "temperature": 1.0}'
BUSY = b"HTTP/1.1 429 Too Many Requests\r\nx-should-retry: false\r\ncontent-length: 2\r\n\r\n{}"
SMALL = "mistral-small-latest"
ANSWER = (
    b'{"id":"c","model":"mistral-small-latest","usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'
)
FINE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
LADDER = {"for": {"provider": "openai"}, "fallback": [{"provider": "mistral", "model": SMALL}]}


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
        "policies": {
            "ladder": LADDER,
            "names": {"for": {"provider": "openai"}, "aliases": {"quick": {"model": SMALL, "provider": "mistral"}}},
        },
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
    query = ""
    if own:  # also where gateways look for one
        headers |= {"x-metrion-token": proxy.token, "cookie": f"session={own}", "ocp-apim-subscription-key": own}
        query = f"?beta=1&access_token={own}"
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("POST", f"/openai/v1/chat/completions{query}", BODY, headers)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, ANSWER)
    (first,), (second,) = busy.asked(script), free.asked(script)
    assert first.header(b"authorization") == [f"Bearer {own or STORED_KEYS['openai']}".encode()]
    assert second.header(b"authorization") == [f"Bearer {STORED_KEYS['mistral']}".encode()]
    assert (first.body, second.body) == (BODY, BODY.replace(b"gpt-4o", SMALL.encode()))
    assert not any(own and own.encode() in value for _, value in second.headers)
    assert second.target == b"/v1/chat/completions" + (b"?beta=1" if own else b"")
    assert (first.target, first.header(b"cookie")) == (
        b"/v1/chat/completions" + query.encode(), [f"session={own}".encode()] if own else [],
    )  # fmt: skip
    last = "SELECT * FROM events WHERE request_id = (SELECT max(request_id) FROM events) ORDER BY attempt"
    rows = eventually(
        lambda: proxy.events(last),
        until=lambda found: len(found) == 2 and (found[0]["credential"] == "stored") != bool(own),
    )
    assert [(row["attempt"], row["provider"], row["status"], row["end_reason"], row["credential"]) for row in rows] == [
        (1, "openai", 429, "retried", "pass_through" if own else "stored"),
        (2, "mistral", 200, "complete", "stored"),
    ]
    assert rows[1]["policy"] == {"ladder": f"fallback: to mistral model {SMALL}"}
    assert STORED_KEYS["mistral"] not in json.dumps(rows, default=str)


def posted(proxy: Proxy, token: str, script: str, body: bytes = BODY) -> http.client.HTTPResponse:
    name, _, value = script.partition(": ")
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    headers = {"content-type": "application/json", name: value, "authorization": f"Bearer {token}"}
    client.request("POST", "/openai/v1/chat/completions", body, headers)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (200, ANSWER)
    return answer


def test_an_alias_of_another_provider_takes_its_key_to_its_host_and_to_no_other(
    proxy: Proxy, busy: Upstream, free: Upstream
) -> None:
    script = busy.script(answering(FINE))
    assert free.script(answering(FINE)) == script
    posted(proxy, proxy.token, script, BODY.replace(b"gpt-4o", b"quick"))
    assert busy.asked(script) == []
    (received,) = free.asked(script)
    assert received.header(b"authorization") == [f"Bearer {STORED_KEYS['mistral']}".encode()]
    assert received.header(b"host") == [free.url.removeprefix("http://").encode()]
    assert received.body == BODY.replace(b"gpt-4o", SMALL.encode())


def budgets(proxy: Proxy) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(proxy.metrion("budget", "list", "--format", "json"))}


def test_budgets_follow_a_request_that_falls_back_and_one_that_goes_out_as_what_is_cheaper(
    proxy: Proxy, busy: Upstream, free: Upstream
) -> None:
    thrifty = proxy.metrion("token", "create", "thrifty").strip()
    proxy.metrion("budget", "set", "--token", "thrifty", "--usd", "0.02", "--per", "day")
    for provider in ("openai", "mistral"):
        proxy.metrion("budget", "set", "--provider", provider, "--usd", "1", "--per", "day")
    before = Decimal(budgets(proxy)["mistral"]["spent"])
    script = busy.script(answering(BUSY))
    assert free.script(answering(FINE)) == script
    assert "x-metrion-budget-warning" not in posted(proxy, thrifty, script).headers
    after = budgets(proxy)
    assert [row["held"] for row in after.values()] == ["0", "0", "0"]
    spent = Decimal(after["thrifty"]["spent"])
    assert 0 < spent < Decimal("0.0001")
    assert Decimal(after["mistral"]["spent"]) - before == spent
    assert after["openai"]["spent"] == "0"

    proxy.metrion("budget", "set", "--token", "thrifty", "--usd", "0.003", "--per", "day", "--then", "cheaper")
    script = busy.script(answering(BUSY))
    assert free.script(answering(FINE)) == script
    answer = posted(proxy, thrifty, script)
    assert "the token thrifty" in answer.headers["x-metrion-budget-warning"]
    assert (busy.asked(script), [each.body for each in free.asked(script)]) == (
        [], [BODY.replace(b"gpt-4o", SMALL.encode())],
    )  # fmt: skip
    (row,) = eventually(
        lambda: proxy.events("SELECT * FROM events WHERE policy['ladder'] LIKE 'cheaper%'"),
        until=lambda found: len(found) == 1,
    )
    assert (row["attempt"], row["provider"], row["model_requested"], row["model"], row["policy"]) == (
        1, "mistral", "gpt-4o", SMALL, {"ladder": f"cheaper: to mistral model {SMALL}"},
    )  # fmt: skip
    assert [row["held"] for row in budgets(proxy).values()] == ["0", "0", "0"]
