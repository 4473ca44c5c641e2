"""``rewrite_result_urls`` through a running proxy: the results are read where the answer says, and are in a row."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from tests.processes import Proxy, Road, eventually, running_serve, upstreams
from tests.simulated import Simulator

PATH = "/v1/messages/batches/msgbatch_urls"
CREATED = b'{"id": "msgbatch_urls", "type": "message_batch", "processing_status": "in_progress", "results_url": null}'
ENDED = (
    b'{"id":"msgbatch_urls", "type":"message_batch",\n  "processing_status":"ended",'
    b'"results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_urls/results"}'
)
MESSAGE = {
    "model": "claude-haiku-4-5",
    "usage": {"input_tokens": 1_000_000, "output_tokens": 0, "service_tier": "batch"},
}
RESULTS = json.dumps({"custom_id": "1", "result": {"type": "succeeded", "message": MESSAGE}}).encode() + b"\n"


@pytest.fixture(scope="module")
def rewriting(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = upstreams(simulator) | {"rewrite_result_urls": True}
    with running_serve(tmp_path_factory.mktemp("rewriting") / "home", config, environment=road) as proxy:
        yield proxy


def call(proxy: Proxy, simulator: Simulator, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Send a request that is answered with this body; return the length that the head says, and the body."""
    length = ("content-length", str(len(body)))
    name = simulator.register_answer("urls", headers=(("content-type", kind), length), pieces=[body])
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    own = {"x-api-key": proxy.token, "x-metrion-user": "urls"}
    connection.request(method, path, b"{}" if method == "POST" else None, simulator.select(name) | own)
    try:
        response = connection.getresponse()
        return int(response.getheader("content-length", "-1")), response.read()
    finally:
        connection.close()


def test_the_results_are_read_through_the_proxy(rewriting: Proxy, simulator: Simulator) -> None:
    proxy, kind = rewriting, "application/json"
    assert call(proxy, simulator, "POST", "/v1/messages/batches", CREATED, kind) == (len(CREATED), CREATED)
    length, body = call(proxy, simulator, "GET", f"/anthropic{PATH}", ENDED, kind)
    here = f"http://127.0.0.1:{proxy.port}/anthropic{PATH}/results"
    assert body == ENDED.replace(f"https://api.anthropic.com{PATH}/results".encode(), here.encode())
    assert length == len(body)
    results = urlsplit(json.loads(body)["results_url"]).path
    assert call(proxy, simulator, "GET", results, RESULTS, "application/x-jsonl")[1] == RESULTS
    rows = eventually(
        lambda: proxy.events("SELECT * FROM events WHERE user_label = 'urls' ORDER BY event_id"),
        until=lambda found: len(found) == 3,
    )
    assert [row["cost_source"] for row in rows] == ["not_billed", "not_billed", "computed"]
    assert Decimal(rows[2]["cost_usd"]) == Decimal("0.5")
    assert rows[1]["response_bytes"] == len(ENDED)


def test_without_the_option_the_answer_is_the_providers(serve: Proxy, simulator: Simulator) -> None:
    assert call(serve, simulator, "GET", f"/anthropic{PATH}", ENDED, "application/json") == (len(ENDED), ENDED)
