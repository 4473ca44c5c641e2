"""Recorded exchanges through a running proxy: the bytes pass unchanged both ways, and each has its one event."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from metrion.demo.delivery import Delivery
from tests.corpus import Exchange, exchanges, needs_corpus
from tests.processes import PROVIDERS, STORED_KEYS, Proxy, eventually
from tests.simulator import Received, Simulator

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
    "service_tier": "service_tier",
    "model": "model",
    "model_requested": "model_requested",
}
"""Column to field of ``expected``."""

LATER_FLAGS = ("billed_under_several_models", "billed_exceeds_top_level", "iterations_beyond_top_level")
"""Rows whose usage is spread over several billed models or iterations are not read in full yet."""

CREDENTIAL_PLACES = {"anthropic": ("x-api-key", "{}")}
HOP = {"host", "x-metrion-user"}


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def send(base: str, exchange: Exchange, headers: Mapping[str, str]) -> Response:
    """Send the recorded request with exactly these headers, plus framing."""
    url = urlsplit(base)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        connection.putrequest(exchange.method, url.path + exchange.path, skip_accept_encoding=True)
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


def passed_on(received: Received, provider: str) -> list[tuple[str, str]]:
    """The head at the provider, but for what the contract changes."""
    place, _ = credential(provider, "")
    return [
        (name.decode(), value.decode("latin-1"))
        for name, value in received.headers
        if name.decode().lower() not in {*HOP, place}
    ]


def wrong_columns(exchange: Exchange, event: Mapping[str, Any]) -> list[str]:
    """What in the event is not as expected, column by column."""
    expected = exchange.expected
    wrong = [
        f"{exchange.id}: {column} is {event[column]!r}, expected {expected[field]!r}"
        for column, field in COUNTS.items()
        if field not in exchange.ambiguous and event[column] != expected[field]
    ]
    if "server_tools" not in exchange.ambiguous and (event["server_tools"] or {}) != expected["server_tools"]:
        wrong.append(f"{exchange.id}: server_tools {event['server_tools']!r}, expected {expected['server_tools']!r}")
    if (event["usage_source"] == "reported") != expected["has_usage"]:
        wrong.append(f"{exchange.id}: usage_source is {event['usage_source']}")
    return wrong


def read_in_full(exchange: Exchange) -> bool:
    return not any(flag.startswith(LATER_FLAGS) for flag in exchange.flags)


@needs_corpus
@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_and_messages(provider: str, serve: Proxy, simulator: Simulator) -> None:
    replayed = exchanges({"chat", "messages"}, {provider})
    if not replayed:
        pytest.skip(f"the corpus at hand has no such exchange of {provider}")
    for number, exchange in enumerate(replayed):
        selection = simulator.select(exchange, Delivery(seed=number))
        direct = send(simulator.upstream(provider), exchange, selection)
        simulator.received(1)
        place, token = credential(provider, serve.token)
        labelled = selection | {"x-metrion-user": f"replay-{exchange.id}", place: token}
        proxied = send(serve.url(provider), exchange, labelled)

        assert proxied == direct, exchange.id
        (received,) = simulator.received(1)
        assert received.body == exchange.request_body, exchange.id
        assert received.target.decode() == f"/{provider}{exchange.path}", exchange.id
        _, key = credential(provider, STORED_KEYS[provider])
        assert received.header(place) == [key.encode()], exchange.id
        sent = (exchange.request_headers | selection).items()
        length = ("Content-Length", str(len(exchange.request_body)))
        assert passed_on(received, provider) == [*sent, length], exchange.id

    query = f"SELECT * FROM events WHERE starts_with(user_label, 'replay-{provider}')"  # noqa: S608 -- a known name
    events = eventually(lambda: serve.events(query), until=lambda rows: len(rows) >= len(replayed))
    assert Counter(event["user_label"] for event in events) == Counter(f"replay-{row.id}" for row in replayed)
    by_label = {event["user_label"]: event for event in events}
    wrong = [
        problem
        for exchange in replayed
        if read_in_full(exchange)
        for problem in wrong_columns(exchange, by_label[f"replay-{exchange.id}"])
    ]
    assert not wrong, "\n".join(wrong)
    assert {event["end_reason"] for event in events} == {"complete"}
    assert [event["status"] for event in events if event["cost_source"] == "unknown"] == [200] * sum(
        not row.expected["has_usage"] and row.status == 200 for row in replayed
    )
