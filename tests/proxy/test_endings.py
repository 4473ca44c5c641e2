"""Every way in which a response can end, and what its client and its event say then."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import Proxy, Road, eventually, running_serve, upstreams
from tests.simulated import Simulator

ASKED = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}]}'
USAGE = b'{"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}'
PLAIN = (
    b'{"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [{"finish_reason": "stop"}], "usage": %s}' % USAGE
)
EVENTS = [
    b'data: {"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [{"delta": {"content": "re"}}]}\n\n',
    b'data: {"id": "chatcmpl-1", "choices": [{"delta": {"content": "d"}, "finish_reason": "stop"}]}\n\n',
    b'data: {"id": "chatcmpl-1", "choices": [], "usage": %s}\n\n' % USAGE,
    b"data: [DONE]\n\n",
]
JSON = ("content-type", "application/json")
SSE = ("content-type", "text/event-stream; charset=utf-8")


class Caller:
    """One connection through the proxy, read as far as one likes."""

    def __init__(self, proxy: Proxy, headers: dict[str, str], body: bytes = ASKED) -> None:
        self.label = uuid.uuid4().hex
        self.connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": self.label}
        self.connection.request("POST", "/openai/v1/chat/completions", body, headers | own)

    def __enter__(self) -> http.client.HTTPResponse:
        return self.connection.getresponse()

    def __exit__(self, *exc: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self.connection.close()


@pytest.fixture
def plain(simulator: Simulator) -> str:
    return simulator.register_answer("plain", pieces=[PLAIN], headers=[JSON])


@pytest.fixture
def stream(simulator: Simulator) -> str:
    return simulator.register_answer("stream", pieces=EVENTS, headers=[SSE], chunked=True)


def outcome(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["status"], event["end_reason"], event["usage_source"], event["cost_source"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_event_is_there_before_the_response_is_complete(
    framing: Any, serve: Proxy, simulator: Simulator, plain: str
) -> None:
    """Whoever has the whole body finds its event in the journal: no waiting, no asking twice."""
    caller = Caller(serve, simulator.select(plain, Delivery(framing=framing)))
    with caller as response:
        assert response.read() == PLAIN
        journal = b"".join(path.read_bytes() for path in (serve.home / "journal").glob("*") if path.is_file())
        assert caller.label.encode() in journal or serve.event(caller.label)
    assert outcome(serve.event(caller.label)) == (200, "complete", "reported", "computed")


def test_client_that_leaves_after_done_has_a_complete_response(serve: Proxy, simulator: Simulator, stream: str) -> None:
    """The provider never ends its stream; the client, like the OpenAI SDK, does not wait for that."""
    caller = Caller(serve, simulator.select(stream, Delivery(hold="end")))
    with caller as response:
        assert b"".join(iter(response.readline, b"data: [DONE]\n")) + response.readline()
    event = serve.event(caller.label)
    assert outcome(event) == (200, "complete", "reported", "computed")
    assert (event["input_tokens"], event["output_tokens"], event["streamed"]) == (7, 5, True)
    simulator.received(1)


def test_client_hangs_up_mid_stream(serve: Proxy, simulator: Simulator, stream: str) -> None:
    """Then the provider's connection is closed at once, and what it charged can be estimated only."""
    caller = Caller(serve, simulator.select(stream, Delivery(hold=len(EVENTS[0]))))
    with caller as response:
        assert response.readline() + response.readline() == EVENTS[0]
    (received,) = simulator.received(1)
    assert received.client_closed_after is not None
    assert outcome(serve.event(caller.label)) == (200, "client_abort", "estimated", "estimated")


def test_client_hangs_up_before_the_answer(serve: Proxy, simulator: Simulator, plain: str) -> None:
    caller = Caller(serve, simulator.select(plain, Delivery(hold="head")))
    eventually(lambda: simulator.received(1, finished=False))
    caller.hang_up()
    (received,) = simulator.received(1)
    assert received.client_closed_after is not None
    assert outcome(serve.event(caller.label)) == (None, "client_abort", "none", "unknown")


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_upstream_dies_mid_stream(reset: bool, serve: Proxy, simulator: Simulator, stream: str) -> None:
    """The client must not take it for a clean end."""
    caller = Caller(serve, simulator.select(stream, Delivery(cut=len(EVENTS[0]) + 20, reset=reset)))
    with caller as response, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    assert outcome(serve.event(caller.label)) == (200, "upstream_error", "estimated", "estimated")


@pytest.mark.parametrize(
    "delivery",
    [Delivery(cut="head"), Delivery(cut="head", reset=True), Delivery(garbage="\x00\x01 secret-looking \xff\r\n\r\n")],
    ids=["closes", "resets", "garbage"],
)
def test_upstream_without_an_answer(delivery: Delivery, serve: Proxy, simulator: Simulator, plain: str) -> None:
    caller = Caller(serve, simulator.select(plain, delivery))
    with caller as response:
        assert response.status == 502
        assert response.headers["x-metrion-error"] == "upstream_unreachable"
        error = json.loads(response.read())["error"]
    assert error["code"] == "upstream_unreachable"
    assert "secret-looking" not in error["message"]
    assert "secret-looking" not in serve.log.read_text()
    assert outcome(serve.event(caller.label)) == (502, "upstream_error", "none", "unknown")


def test_error_event_inside_a_stream(serve: Proxy, simulator: Simulator, stream: str) -> None:
    """The client, like the SDKs, hangs up on it; the provider would go on for ever."""
    caller = Caller(serve, simulator.select(stream, Delivery(hold="end"), error_event=1))
    with caller as response:
        assert b'"error"' in b"".join(response.readline() for _ in range(4))
    event = serve.event(caller.label)
    assert outcome(event) == (200, "stream_error", "none", "unknown"), "it had begun to answer"
    assert event["error_type"]


@pytest.mark.parametrize("status", [400, 429, 500])
def test_provider_error(status: int, serve: Proxy, simulator: Simulator) -> None:
    caller = Caller(serve, simulator.select(error=status))
    with caller as response:
        assert response.status == status
        assert json.loads(response.read())["error"]
        assert "x-metrion-error" not in response.headers
    event = serve.event(caller.label)
    assert outcome(event) == (status, "complete", "none", "not_billed")
    assert event["error_type"]


@pytest.mark.parametrize(
    ("body", "headers", "usage_source"),
    [
        (gzip.compress(PLAIN)[:-12], [JSON, ("content-encoding", "gzip")], None),
        (PLAIN, [JSON, ("content-encoding", "gzip")], "none"),
        (b"<html>not json</html>", [JSON], "none"),
        (EVENTS[2][:-9], [SSE], "none"),
        (b"\xff\xfe" + PLAIN, [JSON], "none"),
        (b"", [JSON], "none"),
    ],
    ids=["truncated gzip", "no gzip at all", "no JSON", "half an event", "no UTF-8", "empty"],
)
def test_body_that_cannot_be_read_passes(
    body: bytes, headers: Any, usage_source: str | None, serve: Proxy, simulator: Simulator
) -> None:
    answer = simulator.register_answer(uuid.uuid4().hex, pieces=[body], headers=headers)
    caller = Caller(serve, simulator.select(answer))
    with caller as response:
        assert response.read() == body
    event = serve.event(caller.label)
    assert (event["status"], event["end_reason"]) == (200, "complete")
    if usage_source:
        assert (event["usage_source"], event["cost_source"], event["cost_usd"]) == (usage_source, "unknown", None)


@pytest.mark.parametrize("body", [b"this is no JSON", b"", b'{"messages": []}', b'{"model": 7}', b"\xff" * 100])
def test_request_body_that_cannot_be_read_passes(body: bytes, serve: Proxy, simulator: Simulator) -> None:
    """What is wrong with a body is the provider's to say."""
    caller = Caller(serve, simulator.select(error=400), body)
    with caller as response:
        assert response.status == 400
    (received,) = simulator.received(1)
    assert received.body == body
    assert serve.event(caller.label)["model_requested"] is None


# --- deadlines --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that waits for half a second only."""
    config = upstreams(simulator) | {"plans": {"pro": {"timeout": 0.5}}}
    with running_serve(tmp_path_factory.mktemp("hasty") / "home", config, environment=road) as running:
        yield running


def test_silent_upstream_is_a_504(hasty: Proxy, simulator: Simulator, plain: str) -> None:
    caller = Caller(hasty, simulator.select(plain, Delivery(hold="head")))
    with caller as response:
        assert response.status == 504
        assert response.headers["x-metrion-error"] == "timeout"
        assert response.headers["x-should-retry"] == "false"
        assert json.loads(response.read())["error"]["code"] == "timeout"
    (received,) = simulator.received(1)
    assert received.client_closed_after is not None
    assert outcome(hasty.event(caller.label)) == (504, "timeout", "none", "unknown")


def test_stalled_stream_is_cut(hasty: Proxy, simulator: Simulator, stream: str) -> None:
    """In the middle of an event, where no event of ours can be put."""
    caller = Caller(hasty, simulator.select(stream, Delivery(hold=len(EVENTS[0]) + 20)))
    with caller as response, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    assert outcome(hasty.event(caller.label)) == (200, "timeout", "estimated", "estimated")


def test_stream_that_keeps_sending_is_never_cut(hasty: Proxy, simulator: Simulator, stream: str) -> None:
    """It takes several times the timeout in all."""
    caller = Caller(hasty, simulator.select(stream, Delivery(size=60, chunk_delay=0.2)))
    with caller as response:
        assert response.read() == b"".join(EVENTS)
    event = hasty.event(caller.label)
    assert outcome(event) == (200, "complete", "reported", "computed")
    assert event["latency_ms"] > 1000


def test_deadline_passes_while_connecting(road: Road, tmp_path: Path) -> None:
    """A server that never accepts: its queue is full, so that a connection is never made."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        upstream = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        config = {"providers": {"openai": {"upstream": upstream, "timeout": 0.5}}}
        with running_serve(tmp_path / "home", config, environment=road) as proxy:
            caller = Caller(proxy, {})
            with caller as response:
                assert response.status == 504
            assert outcome(proxy.event(caller.label)) == (504, "timeout", "none", "not_billed")
        for filler in fillers:
            filler.close()
