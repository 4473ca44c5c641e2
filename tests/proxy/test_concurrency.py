"""Requests that wait for their turn at a provider key, through a running proxy, on both roads."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from tests.failing import FailingProvider, ask, failing_provider
from tests.processes import Proxy, Road, eventually, running_serve

AT_ONCE = 3


@pytest.fixture(scope="module")
def provider() -> Iterator[FailingProvider]:
    with failing_provider(share=0.0, seed=1, seconds=0.05) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(road: Road, provider: FailingProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = {
        "providers": {"openai": {"upstream": provider.url}, "mistral": {"upstream": provider.url}},
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 30}},
        "policies": {
            "narrow": {"for": {"provider": "openai"}, "concurrency": {"at_once": AT_ONCE, "queue": 64}},
            "closed": {"for": {"provider": "mistral"}, "concurrency": {"at_once": 1, "queue": 1, "seconds": 0.1}},
        },
    }
    with running_serve(
        tmp_path_factory.mktemp("narrow") / "home", config, environment=road, arguments=["--workers", "2"]
    ) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def test_never_more_at_once_whatever_the_number_of_workers(proxy: Proxy, provider: FailingProvider) -> None:
    provider.most_at_once = 0
    findings = ask(proxy, 40, at_once=40)
    assert (findings.statuses, findings.faults) == ({200: 40}, [])
    assert 1 < provider.most_at_once <= AT_ONCE
    query = "SELECT queued_ms, policy FROM events WHERE provider = 'openai'"
    rows = eventually(lambda: proxy.events(query), until=lambda found: len(found) >= 40)
    waited = [row for row in rows if row["queued_ms"] > 0]
    assert len(rows) == 40
    assert len(waited) >= 30
    assert all(row["policy"] == {"narrow": "concurrency: waited"} for row in waited)
    assert all(row["policy"] is None for row in rows if row["queued_ms"] == 0)


def test_a_queue_that_is_full_and_a_wait_that_is_too_long(proxy: Proxy, provider: FailingProvider) -> None:
    """One goes out, one waits in vain, and the others find the queue full."""
    seen: list[tuple[int, str | None, str]] = []

    def call() -> None:
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        headers = {"authorization": f"Bearer {proxy.token}", "content-type": "application/json"}
        client.request("POST", "/mistral/v1/chat/completions", b'{"model": "m"}', headers)
        answer = client.getresponse()
        seen.append((answer.status, answer.headers["x-metrion-error"], answer.read().decode()))

    provider.seconds = 1.0
    try:
        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        provider.seconds = 0.05
    assert [status for status, _, _ in sorted(seen)] == [200, *[429] * 7]
    for _, code, body in sorted(seen)[1:]:
        assert code == "rate_limited"
        assert json.loads(body)["object"] == "error"  # Mistral's shape
        assert "the queue" in json.loads(body)["message"]
    assert any("is full" in body for _, _, body in seen)
    assert any("did not come to this one in 0.1 s" in body for _, _, body in seen)


def test_a_client_that_leaves_leaves_the_queue_too(proxy: Proxy, provider: FailingProvider) -> None:
    provider.tries.clear()
    provider.holds = True
    try:
        headers = {"authorization": f"Bearer {proxy.token}", "content-type": "application/json"}
        clients = []
        for number in range(AT_ONCE * 2 + 2):
            client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
            headers["x-case"] = f"l-{number}"
            client.request("POST", "/openai/v1/chat/completions", b'{"model": "m"}', headers)
            clients.append(client)
        eventually(lambda: len(provider.tries), until=lambda count: count == AT_ONCE)
        answered = [clients[int(case.removeprefix("l-"))] for case in provider.tries]
        for client in clients:
            if client not in answered:
                client.close()
        query = "SELECT count(*) AS left FROM events WHERE end_reason = 'client_abort' AND queued_ms IS NOT NULL"
        eventually(lambda: proxy.events(query), until=lambda rows: rows[0]["left"] == AT_ONCE + 2)
    finally:
        provider.holds = False
    for client in answered:
        assert client.getresponse().status == 200
    assert len(provider.tries) == AT_ONCE
