"""Retries through a running proxy, on both roads: who gets which answer, and which rows there are."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from tests.failing import FailingProvider, ask, failing_provider
from tests.processes import Proxy, Road, eventually, free_port, running_serve
from tests.upstream import Upstream, answering, running_upstream

COUNT = 60
RETRIES = {"attempts": 10, "ambiguous": True, "backoff": 0.01}


@pytest.fixture(scope="module")
def provider() -> Iterator[FailingProvider]:
    with failing_provider(share=0.3, seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def scripted() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def proxy(
    road: Road, provider: FailingProvider, scripted: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = {
        "providers": {
            "openai": {"upstream": provider.url},
            "mistral": {"upstream": f"http://127.0.0.1:{free_port()}"},
            "xai": {"upstream": scripted.url},
        },
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 30}},
        "policies": {"calm": {"for": {"provider": "openai"}, "retries": RETRIES},
                     "bold": {"for": {"provider": "xai"}, "retries": RETRIES},
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


HEAD = b"HTTP/1.1 %b\r\ncontent-type: %b\r\n%b\r\n\r\n"
BUSY = b"429 Too Many Requests"


@pytest.mark.parametrize(
    ("wire", "status", "end_reason", "said"),
    [
        (HEAD % (b"200 OK", b"text/event-stream", b"transfer-encoding: chunked") + b"e\r\ndata: {\"a\":1}\n\n\r\n", 200,
         "upstream_error", None),
        (HEAD % (b"200 OK", b"application/json", b"content-length: 90") + b'{"id": "c-1", "choi', 200, "upstream_error",
         None),
        (HEAD % (b"500 No", b"application/json", b"content-length: 2") + b"{}", 500, "complete", None),
        (HEAD % (BUSY, b"application/json", b"retry-after: 31536000\r\ncontent-length: 2") + b"{}", 429, "complete",
         "retries: 429, beyond the deadline"),
        (HEAD % (BUSY, b"application/json", b"retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\ncontent-length: 2") + b"{}",
         429, "complete", "retries: 429, beyond the deadline"),
    ],
    ids=["a stream that is cut", "an answer that is cut", "another status", "in a year", "at a date"],
)  # fmt: skip
def test_what_has_begun_or_would_take_too_long_is_handed_on(
    wire: bytes, status: int, end_reason: str, said: str | None, proxy: Proxy, scripted: Upstream
) -> None:
    script = scripted.script(answering(wire, close=True))
    name, _, value = script.partition(": ")
    headers = {"authorization": f"Bearer {proxy.token}", "content-type": "application/json", name: value}
    headers["x-metrion-user"] = label = f"case-{value}"
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    client.request("POST", "/grok/v1/chat/completions", b'{"model": "grok-4", "messages": []}', headers)
    answer = client.getresponse()
    assert answer.status == status
    try:
        whole = answer.read() == b"{}"
    except http.client.IncompleteRead:
        whole = False
    assert whole is (end_reason == "complete")
    event = proxy.event(label)
    assert (event["attempt"], event["end_reason"]) == (1, end_reason)
    assert (event["policy"] or {}).get("bold") == said
    assert len(scripted.asked(script)) == 1
