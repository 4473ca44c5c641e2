"""Recorded exchanges through a running proxy: the bytes pass unchanged both ways, and each has its one event."""

from __future__ import annotations

import hashlib
import http.client
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from metrion.providers import base_segment
from metrion.simulator.delivery import Delivery
from tests.corpus import Exchange, exchanges
from tests.processes import PROVIDERS, STORED_KEYS, Proxy, eventually, running_serve
from tests.simulated import Received, Simulator

BEST_EFFORT = {"openai_agent_sessions"}
"""Formats whose provider says of the usage that it may change: it is an estimate."""
COUNTS = {
    "input_tokens": "input_tokens_total",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "output_tokens": "output_tokens_total",
    "reasoning_tokens": "reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "output_image_tokens": "output_image_tokens",
    "audio_seconds": "audio_seconds",
    "server_tools": "server_tools",
    "service_tier": "service_tier",
    "model": "model",
    "model_requested": "model_requested",
}
"""Column to field of ``expected``."""

CREDENTIAL_PLACES = {"anthropic": ("x-api-key", "{}")}
KEY_PLACES = {"authorization", "x-api-key", "x-goog-api-key"}


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def send(
    connection: http.client.HTTPConnection, target: str, exchange: Exchange, headers: Mapping[str, str]
) -> Response:
    """Send the recorded request with exactly these headers, plus framing."""
    try:
        connection.putrequest(exchange.method, target, skip_accept_encoding=True)
        for name, value in (exchange.request_headers | dict(headers)).items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(exchange.request_body)))
        connection.endheaders(exchange.request_body)
        response = connection.getresponse()
        return Response(response.status, tuple(response.getheaders()), response.read())
    finally:
        connection.close()


def credential(provider: str, secret: str) -> tuple[str, str]:
    name, template = CREDENTIAL_PLACES.get(provider, ("authorization", "Bearer {}"))
    return name, template.format(secret)


def stored_credential(exchange: Exchange) -> tuple[str, str]:
    """The header, and its value, in which the stored key goes out."""
    key = STORED_KEYS[exchange.provider]
    if exchange.provider == "google" and "/openai/" not in exchange.path:
        return "x-goog-api-key", key
    return credential(exchange.provider, key)


def passed_on(received: Received) -> list[tuple[str, str]]:
    """The head at the provider, but for what the contract changes."""
    return [
        (name.decode(), value.decode("latin-1"))
        for name, value in received.headers
        if name.decode().lower() not in {"host", *KEY_PLACES}
    ]


def wrong_columns(exchange: Exchange, event: Mapping[str, Any]) -> list[str]:
    """What in the event is not as expected, column by column. Each format's own tests hold what else there is."""
    expected = exchange.expected
    if event["usage_source"] == "estimated" and event["wire_format"] not in BEST_EFFORT:
        whole = expected["has_usage"] and "truncated_stream" not in exchange.flags
        return [f"{exchange.id}: was reported, and is estimated"] if whole else []
    is_plain = exchange.kind in {"chat", "messages"}
    wrong = [
        f"{exchange.id}: {column} is {event[column]!r}, expected {expected[field]!r}"
        for column, field in COUNTS.items()
        if (is_plain or column.endswith(("_tokens", "_tools"))) and field not in exchange.ambiguous
        if event[column] != (expected[field] or None if column == "server_tools" else expected[field])
    ]
    if event["wire_format"] in BEST_EFFORT and (event["usage_source"] == "estimated") != expected["has_usage"]:
        wrong.append(f"{exchange.id}: usage_source is {event['usage_source']}")
    if is_plain and (event["usage_source"] == "reported") != expected["has_usage"]:
        wrong.append(f"{exchange.id}: usage_source is {event['usage_source']}")
    return wrong


def reported_before(event: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a session that reports all that it has used so far was read back before: its tokens are in that row."""
    return event["wire_format"] in BEST_EFFORT and any(
        earlier["generation_id"] == event["generation_id"] and earlier["input_tokens"] is not None
        for earlier in events
        if earlier["event_id"] < event["event_id"]
    )


@dataclass(frozen=True, slots=True)
class WayIn:
    """How requests reach the proxy."""

    proxy: Proxy
    target: Callable[[Exchange], str]
    """What stands in the request line for a recorded path."""
    port: Callable[[Exchange], int]
    main: bool = False


def _by_path(exchange: Exchange) -> str:
    return f"/{base_segment(exchange.provider)}{exchange.path}"


@pytest.fixture(params=["lane", "mitmproxy", "two workers", "regular", "reverse"])
def way_in(request: pytest.FixtureRequest, simulator: Simulator) -> WayIn:
    """By path to ``metrion serve``, on both roads and with two workers; by host through it; in reverse mode."""
    if request.param == "reverse":
        reverse: Proxy = request.getfixturevalue("mitmdump")
        return WayIn(reverse, lambda exchange: exchange.path, lambda exchange: reverse.ports[exchange.provider])
    fixture = {"lane": "serve_lane", "mitmproxy": "serve_mitmproxy", "two workers": "serve2", "regular": "by_host"}
    proxy: Proxy = request.getfixturevalue(fixture[request.param])
    if request.param == "regular":
        return WayIn(proxy, lambda e: simulator.upstream_by_port(e.provider) + e.path, lambda _: proxy.port)
    return WayIn(proxy, _by_path, lambda _: proxy.port, main=request.param == "lane")


@pytest.fixture(scope="module")
def by_host(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``metrion serve`` that knows each provider by a host of its own."""
    config = {
        "providers": {provider: {"upstream": simulator.upstream_by_port(provider)} for provider in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0}},
    }
    with running_serve(tmp_path_factory.mktemp("by_host") / "home", config) as proxy:
        yield proxy


def sample(replayed: list[Exchange], way_in: WayIn) -> list[Exchange]:
    """All of them on the main way, each seventh on the others; all of them everywhere with METRION_TEST_REPLAY=all."""
    return replayed if way_in.main or os.environ.get("METRION_TEST_REPLAY") == "all" else replayed[::7]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_exchange(provider: str, way_in: WayIn, simulator: Simulator) -> None:
    replayed = [row for row in exchanges(None, {provider}) if row.provenance != "fixture"]
    replayed = sample(replayed, way_in)
    run = (
        f"{uuid.uuid4().hex[:8]}_"  # no digit before a hyphen: "d-anthropic-" is a piece of the stored key, and masked
    )
    for number, exchange in enumerate(replayed):
        selection = simulator.select(exchange, Delivery(seed=number))
        upstream = http.client.HTTPConnection("127.0.0.1", simulator.ports[provider], timeout=30)
        direct = send(upstream, exchange.path, exchange, selection)
        simulator.received(1)
        # A recorded `?key=` is the caller's own, and passes; else the stored key goes out.
        own_key = "key=" in exchange.path
        place, token = ("x-metrion-token", way_in.proxy.token) if own_key else credential(provider, way_in.proxy.token)
        labelled = selection | {"x-metrion-user": f"{run}{exchange.id}", place: token}
        connection = http.client.HTTPConnection("127.0.0.1", way_in.port(exchange), timeout=30)
        proxied = send(connection, way_in.target(exchange), exchange, labelled)

        assert proxied == direct, exchange.id
        (received,) = simulator.received(1)
        assert received.body_sha256 == hashlib.sha256(exchange.request_body).hexdigest(), exchange.id
        target = received.target.decode("latin-1").removeprefix(
            f"/{provider}/" if received.port == simulator.port else ""
        )
        assert target.lstrip("/") == exchange.path.lstrip("/"), exchange.id
        if not own_key:
            place, key = stored_credential(exchange)
            assert received.header(place) == [key.encode()], exchange.id
        sent = (exchange.request_headers | selection).items()
        length = ("Content-Length", str(len(exchange.request_body)))
        assert passed_on(received) == [*sent, length], exchange.id

    query = f"SELECT * FROM events WHERE starts_with(user_label, '{run}')"  # noqa: S608 -- a name of our own
    events = eventually(lambda: way_in.proxy.events(query), until=lambda rows: len(rows) >= len(replayed))
    assert Counter(event["user_label"] for event in events) == Counter(f"{run}{row.id}" for row in replayed)
    assert {event["end_reason"] for event in events} <= {"complete", "stream_error"}
    by_id = {event["user_label"].removeprefix(run): event for event in events}
    wrong = [
        problem
        for exchange in replayed
        if exchange.method == "POST"  # what is read back is counted in the row of what generated it
        if not reported_before(by_id[exchange.id], events)
        for problem in wrong_columns(exchange, by_id[exchange.id])
    ]
    assert not wrong, "\n".join(wrong)
