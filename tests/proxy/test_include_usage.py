"""``include_usage: inject`` through a running proxy: the row is complete, and the client sees nothing of it.

The other half of each test is what the client would have seen: the same call through a proxy without the option.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from metrion.relay.include_usage import UsageFilter
from metrion.simulator.delivery import Delivery
from tests.corpus import Exchange, encode, exchanges, needs_corpus
from tests.processes import (
    MITMDUMP,
    ROOT,
    Proxy,
    Road,
    eventually,
    free_port,
    running_proxy,
    running_serve,
    upstreams,
)
from tests.simulated import Received, Simulator

CHAT = "/openai/v1/chat/completions"
JSON = {"content-type": "application/json"}
ASKED = b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Say red."}]}'
ASKING = ASKED[:-1] + b',"stream_options":{"include_usage":true}}'
USAGE = b'{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}'
EVENTS = [
    b'data: {"id":"c-1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"red"}}],"usage":null}\n\n',
    b'data: {"id":"c-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"id":"c-1","choices":[],"usage":%s}\n\n' % USAGE,
    b"data: [DONE]\n\n",
]
SEEN = b"".join(EVENTS[:2]).replace(b',"usage":null', b"") + EVENTS[3]
SSE = ("content-type", "text/event-stream; charset=utf-8")


@pytest.fixture(scope="module")
def asking(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that asks for the usage of OpenAI's streams."""
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0}}}
    config["providers"]["openai"]["include_usage"] = "inject"
    with running_serve(tmp_path_factory.mktemp("asking") / "home", config, environment=road) as proxy:
        yield proxy


@pytest.fixture
def stream(simulator: Simulator) -> str:
    return simulator.register_answer("asked", pieces=EVENTS, headers=[SSE], chunked=True)


def call(
    proxy: Proxy, headers: Mapping[str, str], body: bytes = ASKED, path: str = CHAT
) -> tuple[str, http.client.HTTPConnection]:
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    own = {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label}
    connection.request("POST", path, body, {**JSON, **headers, **own})
    return label, connection


def known(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["end_reason"], event["usage_source"], event["input_tokens"], event["output_tokens"]


REPORTED = ("complete", "reported", 7, 5)


def test_sdk_gets_what_it_would_have_got(asking: Proxy, serve: Proxy, simulator: Simulator) -> None:
    """A program that takes ``chunk.choices[0]`` of every chunk, as many do, must not meet one without."""

    def said(proxy: Proxy) -> tuple[list[Any], Received]:
        client = openai.OpenAI(base_url=proxy.url("openai"), api_key=proxy.token, max_retries=0)
        messages: list[Any] = [{"role": "user", "content": "Say hello."}]
        chunks = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
        got = [chunk.to_dict() for chunk in chunks]
        (received,) = simulator.received(1)
        return [{**chunk, "id": "", "created": 0} for chunk in got], received

    without, plain = said(serve)
    with_option, asked = said(asking)
    assert with_option == without
    assert all(chunk["choices"] for chunk in with_option)
    assert plain.body is not None
    assert asked.body == plain.body[:-1] + b',"stream_options":{"include_usage":true}}'
    assert asked.header("content-length") == [str(len(asked.body)).encode()]
    (event,) = asking.events("SELECT * FROM events ORDER BY event_id DESC LIMIT 1")
    assert (event["usage_source"], event["cost_source"]) == ("reported", "computed")


@pytest.mark.parametrize("content_encoding", [None, "gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_usage_is_taken_out_of_the_response(
    framing: Any, content_encoding: str | None, asking: Proxy, simulator: Simulator
) -> None:
    """Even from a server that compresses though it was asked not to."""
    headers = [SSE] + ([("content-encoding", content_encoding)] if content_encoding else [])
    pieces = [encode(b"".join(EVENTS), content_encoding)]
    answer = simulator.register_answer(uuid.uuid4().hex, pieces=pieces, headers=headers)
    label, connection = call(
        asking, {"accept-encoding": "gzip, br"} | simulator.select(answer, Delivery(framing=framing, size=11))
    )
    response = connection.getresponse()
    assert response.read() == SEEN
    assert response.getheader("content-encoding") is None
    assert response.getheader("content-type") == SSE[1]
    (received,) = simulator.received(1)
    assert received.body == ASKING
    assert received.header("accept-encoding") == [b"identity"]
    assert known(asking.event(label)) == REPORTED
    connection.close()


def test_row_is_there_before_the_end_goes_on(asking: Proxy, simulator: Simulator, stream: str) -> None:
    label, connection = call(asking, simulator.select(stream, Delivery(hold="end")))
    response = connection.getresponse()
    assert response.read(len(SEEN)) == SEEN
    (event,) = asking.events(f"SELECT * FROM events WHERE user_label = '{label}'")  # noqa: S608 -- our own label
    assert known(event) == REPORTED
    response.close()
    connection.close()
    assert simulator.received(1)


@pytest.mark.parametrize("at", range(1, 4))
def test_each_event_is_passed_on_at_once(at: int, asking: Proxy, simulator: Simulator, stream: str) -> None:
    """The provider stops within the stream; what came before is with the client all the same."""
    sent = b"".join(EVENTS[:at])
    _, connection = call(asking, simulator.select(stream, Delivery(hold=len(sent))))
    seen = b"".join(EVENTS[: min(at, 2)]).replace(b',"usage":null', b"")
    response = connection.getresponse()
    assert response.read(len(seen)) == seen
    response.close()
    connection.close()
    assert simulator.received(1)


UNTOUCHED = {
    "asks itself": ASKING,
    "asks for no stream": ASKED.replace(b"true", b"false"),
    "no JSON": b"stream=true",
    "nothing": b"",
    "the same member twice": ASKED[:-1] + b', "stream": false}',
    "no UTF-8": ASKED.replace(b"red", b"r\xffd"),
}


@pytest.mark.parametrize("body", UNTOUCHED.values(), ids=UNTOUCHED)
def test_other_requests_pass_untouched(body: bytes, asking: Proxy, simulator: Simulator, stream: str) -> None:
    label, connection = call(asking, {"accept-encoding": "gzip"} | simulator.select(stream), body)
    assert connection.getresponse().read() == b"".join(EVENTS)
    (received,) = simulator.received(1)
    assert received.body == body
    assert received.header("accept-encoding") == [b"gzip"]
    assert known(asking.event(label)) == REPORTED
    connection.close()


def test_other_paths_and_providers_pass_untouched(asking: Proxy, simulator: Simulator, stream: str) -> None:
    for path in ("/openai/v1/responses", "/grok/v1/chat/completions"):
        _, connection = call(asking, simulator.select(stream), ASKED, path)
        assert connection.getresponse().read() == b"".join(EVENTS)
        (received,) = simulator.received(1)
        assert received.body == ASKED
        connection.close()


def test_compressed_request_passes_untouched(asking: Proxy, simulator: Simulator, stream: str) -> None:
    body = encode(ASKED, "gzip")
    _, connection = call(asking, {"content-encoding": "gzip"} | simulator.select(stream), body)
    assert connection.getresponse().read() == b"".join(EVENTS)
    (received,) = simulator.received(1)
    assert received.body == body
    connection.close()


def test_request_too_long_to_be_held_passes_untouched(asking: Proxy, simulator: Simulator, stream: str) -> None:
    body = ASKED[:-1] + b" " * (33 << 20) + b"}"
    label, connection = call(asking, simulator.select(stream), body)
    assert connection.getresponse().read() == b"".join(EVENTS)
    (received,) = simulator.received(1)
    assert received.body_bytes == len(body)
    event = asking.event(label)
    assert (*known(event), event["request_bytes"]) == (*REPORTED, len(body))
    connection.close()


def test_chunked_request(asking: Proxy, simulator: Simulator, stream: str) -> None:
    """One of which the length is not known when its head goes out."""
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", asking.port, timeout=20)
    own = {"authorization": f"Bearer {asking.token}", "x-metrion-user": label}
    pieces = (ASKED[start : start + 7] for start in range(0, len(ASKED), 7))
    connection.request("POST", CHAT, pieces, {**JSON, **own, **simulator.select(stream)}, encode_chunked=True)
    assert connection.getresponse().read() == SEEN
    (received,) = simulator.received(1)
    assert received.body == ASKING
    event = asking.event(label)
    assert (*known(event), event["model_requested"]) == (*REPORTED, "gpt-4o")
    connection.close()


def test_error_passes_untouched(asking: Proxy, simulator: Simulator) -> None:
    label, connection = call(asking, simulator.select(error=429))
    response = connection.getresponse()
    assert response.status == 429
    assert json.loads(response.read())["error"]
    assert asking.event(label)["status"] == 429
    connection.close()


def test_client_that_leaves_while_its_request_is_held(asking: Proxy, simulator: Simulator) -> None:
    """The provider never hears of it, so it bills nothing."""
    label = uuid.uuid4().hex
    with socket.create_connection(("127.0.0.1", asking.port)) as client:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {asking.token}\r\nx-metrion-user: {label}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(ASKED)}\r\n\r\n"
        )
        client.sendall(head.encode() + ASKED[:20])
        eventually(lambda: asking.health()["in_flight"])
    event = asking.event(label)
    assert (event["end_reason"], event["cost_source"]) == ("client_abort", "not_billed")
    assert [each for each in simulator.received(finished=False) if each.body_bytes] == []


@contextlib.contextmanager
def impatient_server(idle: threading.Event) -> Iterator[int]:
    """A provider that closes a connection on which nothing comes; gives its port. ``idle``: it has closed one."""
    listening = socket.create_server(("127.0.0.1", 0))
    body = b"".join(EVENTS)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {SSE[1]}\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    received = b""
                    while data := connection.recv(65536):
                        received += data
                        if received.endswith(ASKING):
                            connection.sendall(head + body)
            idle.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_provider_that_closes_an_idle_connection_while_a_request_is_held(road: Road, tmp_path: Path) -> None:
    """The request goes out on one that is open when it is whole."""
    idle = threading.Event()
    with impatient_server(idle) as port:
        config = {"providers": {"openai": {"upstream": f"http://127.0.0.1:{port}", "include_usage": "inject"}}}
        with running_serve(tmp_path / "home", config, environment=road) as proxy:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            for _ in range(2):
                connection.putrequest("POST", CHAT)
                connection.putheader("authorization", f"Bearer {proxy.token}")
                connection.putheader("content-length", str(len(ASKED)))
                connection.endheaders(ASKED[:20])
                idle.wait(1)
                idle.clear()
                connection.send(ASKED[20:])
                assert connection.getresponse().read() == SEEN
            connection.close()


class Arriving(io.BufferedReader):
    """A connection on which several responses come: what is read ahead of one is the beginning of the next."""

    def makefile(self, *_: object) -> Arriving:
        return self

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("path", "seen"), [(CHAT, SEEN), ("/openai/v1/responses", b"".join(EVENTS))])
def test_requests_that_do_not_wait_for_answers(
    path: str, seen: bytes, asking: Proxy, simulator: Simulator, stream: str
) -> None:
    """Held or not, they are answered one after the other."""
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {asking.token}\r\n"
    own = {"content-type": "application/json", "content-length": str(len(ASKED)), **simulator.select(stream)}
    head += "".join(f"{name}: {value}\r\n" for name, value in own.items())
    with socket.create_connection(("127.0.0.1", asking.port), timeout=20) as client:
        client.sendall((head.encode() + b"\r\n" + ASKED) * 3)
        arriving = Arriving(client.makefile("rb", buffering=0))
        for _ in range(3):
            response = http.client.HTTPResponse(arriving)  # type: ignore[arg-type]  # all it asks of a socket
            response.begin()
            assert response.read() == seen
    assert len(simulator.received(3)) == 3


SCRIPT = """
from mitmproxy import http

def requestheaders(flow):
    if flow.request.headers.get("x-script") == "answer":
        flow.response = http.Response.make(418, b"mine")

def request(flow):
    if flow.request.headers.get("x-script") == "kill":
        flow.kill()
    elif flow.request.headers.get("x-script") == "change":
        flow.request.text = flow.request.text.replace("red", "violet")
"""


def test_another_script_beside(simulator: Simulator, stream: str, tmp_path: Path) -> None:
    """What it does to a request is done, whether the body is held or not, and has one event."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    port = free_port()
    command = [*MITMDUMP, "-s", str(ROOT / "addon" / "metrion_addon.py"), "-s", str(script)]
    command += ["-p", str(port), "--listen-host", "127.0.0.1", "--set", f"confdir={tmp_path / 'ca'}"]
    config = upstreams(simulator)
    config["providers"]["openai"]["include_usage"] = "inject"
    with running_proxy(tmp_path / "home", command, config, ports=[port]) as proxy:
        proxy.port = port
        for path, killed in ((CHAT, "not_billed"), ("/openai/v1/responses", "unknown")):
            label, connection = call(proxy, {"x-script": "answer"} | simulator.select(stream), path=path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (418, b"mine")
            assert (proxy.event(label)["status"], proxy.event(label)["cost_source"]) == (418, "not_billed")
            label, connection = call(proxy, {"x-script": "kill"} | simulator.select(stream), path=path)
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                connection.getresponse()
            assert (proxy.event(label)["status"], proxy.event(label)["cost_source"]) == (None, killed)
        simulator.received()
        label, connection = call(proxy, {"x-script": "change"} | simulator.select(stream))
        assert connection.getresponse().read() == SEEN
        (received,) = simulator.received(1)
        assert received.body == ASKING.replace(b"red", b"violet")
        assert known(proxy.event(label)) == REPORTED
        assert "crashed" not in proxy.log.read_text()


def test_stream_that_breaks_off(asking: Proxy, simulator: Simulator, stream: str) -> None:
    """The client sees that it did, and all that it would have seen before."""
    _, connection = call(asking, simulator.select(stream, Delivery(cut=len(EVENTS[0]) + 20)))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as raised:
        connection.getresponse().read()
    seen = EVENTS[0].replace(b',"usage":null', b"") + EVENTS[1][:20]
    assert not isinstance(raised.value, http.client.IncompleteRead) or raised.value.partial == seen
    connection.close()


def test_stream_that_is_not_in_its_coding(asking: Proxy, simulator: Simulator) -> None:
    headers = [SSE, ("content-encoding", "gzip")]
    answer = simulator.register_answer(uuid.uuid4().hex, pieces=EVENTS, headers=headers, chunked=True)
    label, connection = call(asking, simulator.select(answer))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        connection.getresponse().read()
    assert asking.event(label)["end_reason"] == "upstream_error"
    connection.close()


def recorded() -> list[Exchange]:
    """Streams whose clients asked for their usage, with the request as it would have been without."""
    return [
        exchange
        for exchange in exchanges({"chat", "completions"}, {"openai"})
        if exchange.streamed
        and exchange.status == 200
        and b"include_usage" in exchange.request_body
        and "truncated_stream" not in exchange.flags
    ]


@needs_corpus
def test_recorded_streams(asking: Proxy, simulator: Simulator) -> None:
    labels: dict[str, Exchange] = {}
    for exchange in recorded():
        request = json.loads(exchange.request_body)
        if request.pop("stream_options") != {"include_usage": True}:
            continue
        headers = simulator.select(simulator.register(exchange), Delivery(seed=len(labels)))
        label, connection = call(asking, headers, json.dumps(request).encode(), f"/openai{exchange.path}")
        filtered = UsageFilter()
        seen = filtered.feed(exchange.response_body) + filtered.finish()
        assert connection.getresponse().read() == seen, exchange.id
        (received,) = simulator.received(1)
        assert json.loads(received.body or b"") == request | {"stream_options": {"include_usage": True}}
        connection.close()
        labels[label] = exchange
    rows = asking.events("SELECT user_label, input_tokens, output_tokens FROM events")
    counted = {row["user_label"]: (row["input_tokens"], row["output_tokens"]) for row in rows}
    assert len(labels) > 50
    for label, exchange in labels.items():
        expected = exchange.expected
        assert counted[label] == (expected["input_tokens_total"], expected["output_tokens_total"]), exchange.id
