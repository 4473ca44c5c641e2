"""Retries through a running proxy, on both roads: who gets which answer, and which rows there are."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from tests.failing import FailingProvider, ask, failing_provider
from tests.processes import Proxy, Road, eventually, free_port, running_serve

COUNT = 60
RETRIES = {"attempts": 10, "ambiguous": True, "backoff": 0.01}


@pytest.fixture(scope="module")
def provider() -> Iterator[FailingProvider]:
    with failing_provider(share=0.3, seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(road: Road, provider: FailingProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = {
        "providers": {
            "openai": {"upstream": provider.url},
            "mistral": {"upstream": f"http://127.0.0.1:{free_port()}"},
        },
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 30}},
        "policies": {"calm": {"for": {"provider": "openai"}, "retries": RETRIES},
                     "hopeful": {"for": {"provider": "mistral"}, "retries": {"backoff": 0.01}}},
    }  # fmt: skip
    with running_serve(tmp_path_factory.mktemp("retrying") / "home", config, environment=road) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def rows(proxy: Proxy, count: int) -> list[dict[str, Any]]:
    query = "SELECT * FROM events WHERE provider = 'openai' ORDER BY user_label, attempt"
    return eventually(lambda: proxy.events(query), until=lambda found: len(found) >= count)


def test_clients_get_their_answer_and_every_attempt_has_its_row(proxy: Proxy, provider: FailingProvider) -> None:
    provider.tries.clear()
    provider.answered.clear()
    provider.failures.clear()
    findings = ask(proxy, COUNT)
    assert findings.faults == []
    assert findings.statuses == {200: COUNT}
    assert set(provider.answered.values()) == {1}, "an answer had begun, and the request was sent again"
    assert {"429", "503", "cut"} == provider.failures.keys()
    tried = sum(provider.tries.values())
    found = rows(proxy, tried)
    assert len(found) == tried
    for case, count in provider.tries.items():
        of_case = [row for row in found if row["user_label"] == case]
        assert [row["attempt"] for row in of_case] == list(range(1, count + 1))
        assert {row["end_reason"] for row in of_case[:-1]} <= {"retried"}
        assert (of_case[-1]["end_reason"], of_case[-1]["status"]) == ("complete", 200)
        assert (of_case[-1]["cost_source"], of_case[-1]["input_tokens"]) == ("computed", 7)
        assert len({row["request_id"] for row in of_case}) == 1
        assert len({row["event_id"] for row in of_case}) == count
        for row in of_case[:-1]:
            billed = {429: "not_billed", 503: "not_billed", None: "unknown"}
            assert row["cost_source"] == billed[row["status"]]
            assert row["policy"]["calm"] in ("retries: 429", "retries: 503", "retries: cut")


def test_a_provider_that_cannot_be_reached_is_asked_three_times(proxy: Proxy) -> None:
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    headers = {"authorization": f"Bearer {proxy.token}", "content-type": "application/json"}
    for _ in range(2):
        client.request("POST", "/mistral/v1/chat/completions", b'{"model": "m"}', headers)
        answer = client.getresponse()
        assert (answer.status, answer.headers["x-metrion-error"]) == (502, "upstream_unreachable")
        answer.read()
    query = "SELECT attempt, status, end_reason, cost_source FROM events WHERE provider = 'mistral' ORDER BY event_id"
    found = eventually(lambda: proxy.events(query), until=lambda found: len(found) >= 6)
    assert {row["cost_source"] for row in found} == {"not_billed"}
    assert [(row["attempt"], row["status"], row["end_reason"]) for row in found] == 2 * [
        (1, None, "retried"),
        (2, None, "retried"),
        (3, 502, "upstream_error"),
    ]
