"""Limits of the running proxy: exactly so many pass, at once, on one process and on two, before and after a kill."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.processes import Proxy, Road, running_serve, upstreams
from tests.simulated import Simulator, running_simulator

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}]}).encode()
CHAT = "/openai/v1/chat/completions"

type Answered = tuple[int, dict[str, str]]
"""Status and headers; names in lower case."""


def make_token(proxy: Proxy, *arguments: str, name: str | None = None) -> str:
    return proxy.metrion("token", "create", name or f"limited-{uuid.uuid4().hex[:12]}", *arguments).strip()


def ask(
    proxy: Proxy,
    token: str,
    path: str = CHAT,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    body: bytes = BODY,
) -> Answered:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        connection.request(method, path, body, {"authorization": f"Bearer {token}"} | (headers or {}))
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def ask_at_once(proxies: Sequence[Proxy], token: str, requests: int, label: str = "-") -> Counter[int]:
    """Open all connections, then send all requests in one go; returns how often each status came."""
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {token}\r\nx-metrion-user: {label}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\nconnection: close\r\n\r\n"
    )

    async def run() -> Counter[int]:
        ports = [proxies[number % len(proxies)].port for number in range(requests)]
        connections = [await asyncio.open_connection("127.0.0.1", port) for port in ports]
        for _, writer in connections:
            writer.write(head.encode() + BODY)

        async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
            answer = await reader.read()
            writer.close()
            return int(answer.split(b" ", 2)[1])

        return Counter(await asyncio.gather(*(status(*connection) for connection in connections)))

    return asyncio.run(run())


def test_of_400_at_once_exactly_100_pass(serve: Proxy, simulator: Simulator) -> None:
    token, label = make_token(serve, "--rate", "100"), uuid.uuid4().hex
    assert ask_at_once([serve], token, 400, label) == {200: 100, 429: 300}
    assert len(simulator.received(100)) == 100
    query = f"""
        SELECT status, end_reason, error_type, cost_source, count(*) AS requests,
            count(*) FILTER (cost_usd = 0) AS free, count(*) FILTER (token_name LIKE 'limited-%') AS named
        FROM events WHERE user_label = '{label}' GROUP BY ALL ORDER BY status"""  # noqa: S608 -- the test's own label
    assert [list(row.values()) for row in serve.events(query)] == [
        [200, "complete", None, "computed", 100, 0, 100],
        [429, "refused", "rate_limited", "not_billed", 300, 300, 300],
    ]


def test_several_processes_one_home_and_a_kill(road: Road, tmp_path: Path) -> None:
    """The limits of the plans as they come, shared by two ``serve`` and their workers, and kept by ``kill -9``."""
    with running_simulator() as simulator:
        home, config = tmp_path / "home", upstreams(simulator)
        workers = ("--workers", "2")
        with (
            running_serve(home, config, arguments=workers, environment=road) as one,
            running_serve(home, config, environment=road) as two,
        ):
            token = one.token
            capped = make_token(one, "--rate", "0", "--monthly-requests", "150")
            assert ask_at_once([one, two], capped, 120) == {200: 120}
            began = time.monotonic()
            assert ask_at_once([one, two], token, 400) == {200: 100, 429: 300}
            one.kill()
            two.kill()
        with running_serve(home, config, environment=road) as again:
            refusals = [ask(again, token) for _ in range(20)]
            assert time.monotonic() - began < 55, "too slow a machine to judge a minute"
            assert {status for status, _ in refusals} == {429}
            assert all(0 < int(headers["retry-after"]) <= 60 for _, headers in refusals)
            assert ask_at_once([again], capped, 60) == {200: 30, 429: 30}
            status, headers = ask(again, capped)
            assert (status, headers["x-metrion-error"], headers["x-should-retry"]) == (429, "monthly_cap", "false")
            # Another token is another count.
            assert ask(again, again.token)[0] == 200
        assert len(simulator.received(251)) == 251


def test_refusal_of_the_minute(serve: Proxy, simulator: Simulator) -> None:
    name = f"limited-{uuid.uuid4().hex[:12]}"
    token = make_token(serve, "--rate", "2", name=name)
    assert [ask(serve, token)[0] for _ in range(2)] == [200, 200]
    status, headers = ask(serve, token)
    assert (status, headers["x-metrion-error"]) == (429, "rate_limited")
    assert 50 < int(headers["retry-after"]) <= 60
    assert "x-should-retry" not in headers
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 50 < int(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert len(simulator.received()) == 2

    # The same name on another token: another count.
    serve.metrion("token", "revoke", name)
    assert ask(serve, token)[0] == 401
    assert ask(serve, make_token(serve, "--rate", "2", name=name))[0] == 200


def test_whatever_is_forwarded_counts_once(serve: Proxy, simulator: Simulator) -> None:
    """Any method, whatever the provider answers; through any provider."""
    token = make_token(serve, "--rate", "6")
    requests: list[tuple[str, str, dict[str, str], bytes]] = [
        ("GET", "/openai/v1/models", {}, b""),
        ("HEAD", "/mistral/v1/models", {}, b""),
        ("DELETE", "/openai/v1/files/file-1", {}, b""),
        ("POST", CHAT, simulator.select(error=500), BODY),
        ("POST", CHAT, simulator.select(error=429), BODY),
        ("POST", "/grok/v1/chat/completions", {}, BODY),
    ]
    for method, path, headers, body in requests:
        assert "x-metrion-error" not in ask(serve, token, path, method=method, headers=headers, body=body)[1]
    assert ask(serve, token)[1]["x-metrion-error"] == "rate_limited"
    assert len(simulator.received()) == 6


def test_a_refused_request_uses_up_nothing(serve: Proxy, simulator: Simulator) -> None:
    """Neither one that was refused before the limits were asked, nor one that the proxy answers by itself."""
    serve.metrion("account", "create", account := f"team-{uuid.uuid4().hex[:12]}")
    serve.metrion("key", "set", "openai", "--account", account, stdin="key-of-the-team\n")
    token = make_token(serve, "--rate", "2", "--account", account)
    refusals: list[tuple[str, dict[str, str], int, str]] = [
        ("/openai/%2e%2e/secret", {}, 400, "bad_request"),
        (CHAT, {"bad name": "a head that mitmproxy refuses"}, 400, "bad_request"),
        ("/nowhere", {}, 404, "unknown_route"),
        (CHAT, {"x-metrion-token": "sk-metrion-" + "z" * 43}, 401, "conflicting_tokens"),
        ("/mistral/v1/chat/completions", {}, 400, "no_provider_key"),
    ]
    for path, headers, status, code in refusals:
        for _ in range(3):
            answered = ask(serve, token, path, headers=headers)
            assert (answered[0], answered[1]["x-metrion-error"]) == (status, code)
    assert ask(serve, token, "/health", method="GET", body=b"")[0] == 200
    assert [ask(serve, token)[0] for _ in range(3)] == [200, 200, 429]
    assert len(simulator.received()) == 2


def test_the_provider_s_own_headers_pass_and_ours_stand_on_refusals_only(serve: Proxy, simulator: Simulator) -> None:
    theirs = [("content-type", "application/json"), ("x-ratelimit-limit-requests", "10000"), ("retry-after", "7")]
    busy = simulator.register_answer("busy", status=429, headers=theirs, pieces=[b'{"error":{"message":"later"}}'])
    token = make_token(serve, "--rate", "2")
    status, headers = ask(serve, token, headers=simulator.select(busy))
    assert (status, headers["x-ratelimit-limit-requests"], headers["retry-after"]) == (429, "10000", "7")
    assert not {"x-metrion-error", "x-ratelimit-remaining-requests", "x-should-retry"} & headers.keys()
    plain = simulator.register_answer("plain-limits", pieces=[b"{}"])
    status, headers = ask(serve, token, headers=simulator.select(plain))
    assert status == 200
    assert not [name for name in headers if name.startswith("x-ratelimit") or name == "retry-after"]


def test_limits_are_the_sdks_own_exceptions(serve: Proxy) -> None:
    token = make_token(serve, "--monthly-requests", "2")
    messages: Any = [{"role": "user", "content": "hello"}]
    # With the retries that an SDK comes with: a cap that lasts for weeks must not be tried again.
    chat = openai.OpenAI(base_url=serve.url("openai"), api_key=token).chat.completions
    claude = anthropic.Anthropic(base_url=serve.url("anthropic"), api_key=token).messages
    chat.create(model="gpt-4o", messages=messages)
    claude.create(model="claude-haiku-4-5-20251001", max_tokens=5, messages=messages)
    label = uuid.uuid4().hex
    with pytest.raises(openai.RateLimitError, match="2 requests in a calendar month"):
        chat.create(model="gpt-4o", messages=messages, extra_headers={"x-metrion-user": label})
    with pytest.raises(anthropic.RateLimitError, match="2 requests in a calendar month"):
        claude.create(
            model="claude-haiku-4-5-20251001",
            max_tokens=5,
            messages=messages,
            extra_headers={"x-metrion-user": label},
        )
    events = serve.events(
        f"SELECT status, error_type, client_retry FROM events WHERE user_label = '{label}'"  # noqa: S608 -- the test's own label
    )
    assert [tuple(event.values()) for event in events] == [(429, "monthly_cap", 0)] * 2
