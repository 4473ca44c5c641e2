"""What the simulator sends on the wire, and how it fails on purpose."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from metrion.simulator.delivery import Delivery
from tests.corpus import encode, exchanges, written
from tests.simulated import Simulator
from tests.simulator.calls import CHAT, KEY, PATH, SSE, post, raw, read_to_end, recorded

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


def test_connections_are_kept_alive_and_told_apart(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    for _ in range(3):
        assert post(client, {})[0].status == 200
    other = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
    assert post(other, {})[0].status == 200
    other.close()
    connections = [received.connection for received in simulator.received(4)]
    assert connections[0] == connections[1] == connections[2] != connections[3]


def test_requests_in_one_segment_are_answered_in_order(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(
        raw({}, path="/openai/v1/models", method="GET", body=b"")
        + raw({"connection": "close"}, path="/anthropic/v1/nothing")
    )
    answers = read_to_end(wire)
    assert answers.index(b"HTTP/1.1 200 ") < answers.index(b"HTTP/1.1 404 ")
    assert [received.provider for received in simulator.received(2)] == ["openai", "anthropic"]


@pytest.mark.parametrize(
    ("host", "path", "provider"),
    [
        ("127.0.0.1", "/anthropic/v1/messages", "anthropic"),
        ("api.mistral.ai", "/v1/models", "mistral"),
        ("API.X.AI:443", "/v1/models", "xai"),
        ("127.0.0.1", "/v1/models", "openai"),
    ],
)
def test_the_provider_is_known_by_prefix_or_host(simulator: Simulator, host: str, path: str, provider: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
    client.request("GET", path, headers={"Host": host})
    client.getresponse().read()
    client.close()
    assert [received.provider for received in simulator.received(1)] == [provider]


def test_a_body_waits_for_100_continue(simulator: Simulator, wire: socket.socket) -> None:
    head, _, body = raw({"expect": "100-continue", "connection": "close"}).partition(b"\r\n\r\n")
    wire.sendall(head + b"\r\n\r\n")
    assert wire.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(body)
    assert read_to_end(wire).startswith(b"HTTP/1.1 200 OK")
    assert simulator.received(1)[0].body == CHAT


def test_an_early_answer_comes_before_the_body_and_without_100(simulator: Simulator, wire: socket.socket) -> None:
    headers = simulator.select(delivery=Delivery(early=True), error=413) | {"expect": "100-continue"}
    head, _, body = raw(headers | {"connection": "close"}).partition(b"\r\n\r\n")
    wire.sendall(head + b"\r\n\r\n")
    assert wire.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert [received.body_complete for received in simulator.received(1, finished=False)] == [False]
    wire.sendall(body)
    assert read_to_end(wire) == b""
    assert [received.body for received in simulator.received(1)] == [CHAT]


def test_head_has_the_headers_and_no_body(simulator: Simulator, wire: socket.socket) -> None:
    get = raw({}, path="/openai/v1/models", method="GET", body=b"")
    head = raw({"connection": "close"}, path="/openai/v1/models", method="HEAD", body=b"")
    wire.sendall(head)
    answer = read_to_end(wire)
    assert answer.endswith(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as other:
        other.sendall(get.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        whole = read_to_end(other)
    assert whole.startswith(answer)
    assert len(whole) > len(answer)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_a_recorded_answer_arrives_whole_however_it_is_sent(
    simulator: Simulator, client: http.client.HTTPConnection, framing: Any, seed: int | None, encoding: str
) -> None:
    answer = simulator.register(recorded(), content_encoding=encoding)
    response, body = post(client, simulator.select(answer, Delivery(framing=framing, seed=seed)))
    assert response.status == 200
    assert response.getheader("openai-version") == "2020-10-01"
    assert response.getheader("content-encoding") == (None if encoding == "identity" else encoding)
    assert response.getheader("content-length") == (str(len(body)) if framing == "length" else None)
    assert response.getheader("transfer-encoding") == ("chunked" if framing == "chunked" else None)
    assert response.getheader("connection") == ("close" if framing == "close" else None)
    assert DECODERS[encoding](body) == SSE
    (received,) = simulator.received(1)
    assert (received.answered, received.sent_body_bytes) == (True, len(body))


def test_a_flushed_encoding_shows_each_event_at_once(simulator: Simulator, wire: socket.socket) -> None:
    answer = simulator.register(recorded(), content_encoding="gzip", flush_events=True)
    # What ends a gzip stream comes behind the last event: hold just that back.
    trailer = len(zlib.compressobj(wbits=31).flush()) - 10
    wire.sendall(raw(simulator.select(answer, Delivery(hold=-trailer, framing="close"))))
    data = b""
    decoder = zlib.decompressobj(wbits=31)
    while b"[DONE]\n\n" not in decoder.copy().decompress(data.partition(b"\r\n\r\n")[2]):
        data += wire.recv(65536)
    (received,) = simulator.received(1, finished=False)
    assert (received.held, received.sent_events, received.answered) == (True, 41, False)
    simulator.release()
    data += read_to_end(wire)
    assert gzip.decompress(data.partition(b"\r\n\r\n")[2]) == SSE


@pytest.mark.parametrize(
    ("hold", "seen"), [("head", b""), (0, b"\r\n\r\n"), (15, b'data: {"n":0}\n\n\r\n'), ("end", b"[DONE]\n\n\r\n")]
)
def test_an_answer_can_be_held_anywhere_and_released(
    simulator: Simulator, wire: socket.socket, hold: Any, seen: bytes
) -> None:
    answer = simulator.register(recorded())
    wire.sendall(raw(simulator.select(answer, Delivery(hold=hold)) | {"connection": "close"}))
    data = b""
    while not (seen in data and data.endswith(seen)):
        data += wire.recv(65536)
    assert simulator.received(1, finished=False)[0].answered is False
    simulator.release()
    data += read_to_end(wire)
    assert data.endswith(b"0\r\n\r\n")
    assert simulator.received(1)[0].answered is True


def test_what_is_forgotten_does_not_come_back_when_it_ends(simulator: Simulator, wire: socket.socket) -> None:
    answer = simulator.register(recorded())
    wire.sendall(raw(simulator.select(answer, Delivery(hold="head")) | {"connection": "close"}))
    simulator.received(1, finished=False)
    simulator.forget()
    simulator.release()
    assert read_to_end(wire).endswith(b"0\r\n\r\n")
    assert simulator.received(finished=False) == []


def test_a_client_that_hangs_up_is_seen_with_what_it_was_sent(simulator: Simulator, wire: socket.socket) -> None:
    answer = simulator.register(recorded())
    wire.sendall(raw(simulator.select(answer, Delivery(hold=30))))
    data = b""
    while b'{"n":1}' not in data:
        data += wire.recv(65536)
    wire.close()
    (received,) = simulator.received(1)
    assert received.client_closed_after is not None
    assert 0 < received.client_closed_after < 20
    assert (received.answered, received.sent_body_bytes, received.sent_events) == (False, 30, 2)


@pytest.mark.parametrize(
    ("delivery", "ending"),
    [
        (Delivery(cut="head"), b""),
        (Delivery(cut=0), b"\r\n\r\n"),
        (Delivery(cut=20), b"data:\r\n"),
        (Delivery(cut="end"), b"[DONE]\n\n\r\n"),
        (Delivery(cut=-2, framing="length"), b"data: [DONE]"),
    ],
)
def test_a_cut_ends_the_connection_there(
    simulator: Simulator, wire: socket.socket, delivery: Delivery, ending: bytes
) -> None:
    wire.sendall(raw(simulator.select(simulator.register(recorded()), delivery)))
    data = read_to_end(wire)
    assert data.endswith(ending)
    assert bool(data) == bool(ending)
    (received,) = simulator.received(1)
    assert (received.answered, received.client_closed_after) == (False, None)


@pytest.mark.parametrize("cut", ["head", 100])
def test_a_cut_can_be_a_reset(simulator: Simulator, wire: socket.socket, cut: Any) -> None:
    wire.sendall(raw(simulator.select(simulator.register(recorded()), Delivery(cut=cut, reset=True))))
    with pytest.raises(ConnectionResetError):
        read_to_end(wire)


def test_garbage_comes_instead_of_http(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(raw(simulator.select(delivery=Delivery(garbage="\x16\x03\x01 no HTTP"))))
    assert read_to_end(wire) == b"\x16\x03\x01 no HTTP"


def test_interim_responses_and_trailers(simulator: Simulator, wire: socket.socket) -> None:
    delivery = Delivery(interim=(103,), framing="chunked", trailers={"x-checksum": "7"}, close=True)
    wire.sendall(raw(simulator.select(delivery=delivery)))
    data = read_to_end(wire)
    assert data.startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n0\r\nx-checksum: 7\r\n\r\n")


def test_delays_are_kept(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    answer = simulator.register(recorded(response_body=b"data: 1\n\ndata: 2\n\n"))
    selected = simulator.select(answer, Delivery(head_delay=0.05, chunk_delay=0.05))
    asked = time.monotonic()
    client.request("POST", PATH, CHAT, KEY | selected)
    response = client.getresponse()
    assert time.monotonic() - asked >= 0.05
    assert response.read1(9) == b"data: 1\n\n"
    assert response.read() == b"data: 2\n\n"
    assert time.monotonic() - asked >= 0.1


def test_a_slow_reader_slows_the_simulator_and_loses_nothing(simulator: Simulator, wire: socket.socket) -> None:
    body = b"x" * (24 << 20)
    answer = simulator.register_answer("large", pieces=[body])
    wire.sendall(raw(simulator.select(answer, Delivery(size=1 << 16)) | {"connection": "close"}))
    assert wire.recv(1)
    (received,) = simulator.received(1, finished=False)
    assert received.sent_body_bytes < len(body)
    assert read_to_end(wire).endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no-such-answer", "no answer is registered as 'no-such-answer'"),
        ('{"x": 1}', "unknown fields ['x']"),
        ('{"head_delay": "long"}', "TypeError"),
    ],
)
def test_a_wrong_selection_is_answered_with_what_is_wrong(
    client: http.client.HTTPConnection, value: str, message: str
) -> None:
    response, body = post(client, {"x-simulate": value})
    assert response.status == 400
    assert message in json.loads(body)["error"]


def test_recorded_exchanges_come_back_byte_for_byte(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    sample = [*exchanges()[::25], *written()]
    for seed, exchange in enumerate(sample):
        response, body = post(
            client, simulator.select(exchange, Delivery(seed=seed)), exchange.request_body, f"/openai{exchange.path}"
        )
        assert response.status == exchange.status
        if exchange.status != 204:
            assert body == encode(exchange.response_body, exchange.response_headers.get("content-encoding"))
        for name in exchange.response_headers.keys() - {"transfer-encoding"}:
            assert response.getheader(name) == exchange.response_headers[name]
    assert [received.body for received in simulator.received(len(sample))] == [each.request_body for each in sample]
