"""The simulator as a server: what it sends on the wire, how it fails on purpose, what it says it received."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metrion.simulator.delivery import Delivery
from tests.corpus import Exchange, encode, exchanges, written
from tests.simulated import Simulator, running_simulator

CHAT = b'{"model": "gpt-4o", "messages": []}'
KEY = {"authorization": "Bearer any"}
PATH = "/openai/v1/chat/completions"

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
SSE = b"".join(b'data: {"n":%d}\n\n' % number for number in range(40)) + b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running_simulator(port_per_provider=True) as running:
        yield running


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.received()
    return process


@pytest.fixture
def client(simulator: Simulator) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
    with contextlib.closing(connection):
        yield connection


@pytest.fixture
def wire(simulator: Simulator) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
        yield connection


def _exchange(**changes: Any) -> Exchange:
    given: dict[str, Any] = {
        "id": "written-here",
        "file": "",
        "provider": "openai",
        "kind": "chat",
        "provenance": "",
        "method": "POST",
        "path": "/v1/chat/completions",
        "request_headers": {},
        "request_body": CHAT,
        "status": 200,
        "response_headers": {"content-type": "text/event-stream", "openai-version": "2020-10-01"},
        "response_body": SSE,
        "streamed": True,
        "stream_format": "sse",
        "expected": {},
        "flags": frozenset(),
        "ambiguous": frozenset(),
    }
    return Exchange(**given | changes)


def _post(
    client: http.client.HTTPConnection, headers: dict[str, str], body: bytes = CHAT, path: str = PATH
) -> tuple[http.client.HTTPResponse, bytes]:
    client.request("POST", path, body, KEY | headers)
    response = client.getresponse()
    return response, response.read()


def _read_to_end(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def _raw(headers: dict[str, str], *, method: str = "POST", body: bytes = CHAT, path: str = PATH) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: simulator", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (KEY | headers).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_it_says_where_it_listens_and_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "metrion.simulator.server", "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["port"] > 0
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_sigint_ends_it_without_a_traceback() -> None:
    command = [sys.executable, "-m", "metrion.simulator.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("key", ["nobody=1", "openai", "openai="])
def test_a_wrong_key_option_is_bad_usage(key: str) -> None:
    command = [sys.executable, "-m", "metrion.simulator.server", "--key", key]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ran.returncode == 2
    assert "is not PROVIDER=KEY with one of anthropic, google, mistral, openai, xai" in ran.stderr


def test_only_the_expected_key_is_accepted() -> None:
    with running_simulator(keys={"openai": "sk-right"}) as simulator:
        client = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
        assert _post(client, {"authorization": "Bearer sk-wrong"})[0].status == 401
        assert _post(client, {"authorization": "Bearer sk-right"})[0].status == 200
        client.close()


def test_a_request_is_recorded_as_it_was_on_the_wire(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(
        b"POST /openai/v1//chat%2Fcompletions?b=1&a=%20 HTTP/1.1\r\nHOST: x\r\nX-Two: 1\r\nx-ODD-case:  v \r\n"
        b"x-two: 2\r\nx-latin: \xe9\r\nContent-Length: 3\r\nConnection: close\r\n\r\na\x00b"
    )
    assert _read_to_end(wire).startswith(b"HTTP/1.1 401 ")
    (received,) = simulator.received(1)
    assert received.request_line == b"POST /openai/v1//chat%2Fcompletions?b=1&a=%20 HTTP/1.1"
    assert (received.method, received.target) == (b"POST", b"/openai/v1//chat%2Fcompletions?b=1&a=%20")
    assert received.headers == (
        (b"HOST", b"x"),
        (b"X-Two", b"1"),
        (b"x-ODD-case", b"v"),
        (b"x-two", b"2"),
        (b"x-latin", b"\xe9"),
        (b"Content-Length", b"3"),
        (b"Connection", b"close"),
    )
    assert received.header("X-TWO") == [b"1", b"2"]
    assert (received.body, received.body_bytes, received.body_complete) == (b"a\x00b", 3, True)
    assert (received.provider, received.answered, received.client_closed_after) == ("openai", True, None)
    assert simulator.received() == []


def test_connections_are_kept_alive_and_told_apart(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    for _ in range(3):
        assert _post(client, {})[0].status == 200
    other = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
    assert _post(other, {})[0].status == 200
    other.close()
    connections = [received.connection for received in simulator.received(4)]
    assert connections[0] == connections[1] == connections[2] != connections[3]


def test_requests_in_one_segment_are_answered_in_order(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(
        _raw({}, path="/openai/v1/models", method="GET", body=b"")
        + _raw({"connection": "close"}, path="/anthropic/v1/nothing")
    )
    answers = _read_to_end(wire)
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


def test_each_provider_has_a_port_of_its_own(simulator: Simulator) -> None:
    for provider in ("anthropic", "google", "mistral", "openai", "xai"):
        client = http.client.HTTPConnection(simulator.upstream_by_port(provider).removeprefix("http://"), timeout=20)
        client.request("GET", "/v1/models", headers=KEY)
        assert client.getresponse().status == 200
        client.close()
        (received,) = simulator.received(1)
        assert (received.provider, received.port) == (provider, simulator.ports[provider])


def test_a_large_upload_is_hashed_and_not_kept(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    part = bytes(range(256)) * 4096
    client.request("POST", "/openai/v1/files", iter([part] * 20), KEY)
    assert client.getresponse().read()
    (received,) = simulator.received(1)
    assert received.header("transfer-encoding") == [b"chunked"]
    assert (received.body, received.body_bytes) == (None, 20 << 20)
    assert received.body_sha256 == hashlib.sha256(part * 20).hexdigest()


def test_a_body_waits_for_100_continue(simulator: Simulator, wire: socket.socket) -> None:
    head, _, body = _raw({"expect": "100-continue", "connection": "close"}).partition(b"\r\n\r\n")
    wire.sendall(head + b"\r\n\r\n")
    assert wire.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(body)
    assert _read_to_end(wire).startswith(b"HTTP/1.1 200 OK")
    assert simulator.received(1)[0].body == CHAT


def test_an_early_answer_comes_before_the_body_and_without_100(simulator: Simulator, wire: socket.socket) -> None:
    headers = simulator.select(delivery=Delivery(early=True), error=413) | {"expect": "100-continue"}
    head, _, body = _raw(headers | {"connection": "close"}).partition(b"\r\n\r\n")
    wire.sendall(head + b"\r\n\r\n")
    assert wire.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert [received.body_complete for received in simulator.received(1, finished=False)] == [False]
    wire.sendall(body)
    assert _read_to_end(wire) == b""
    assert [received.body for received in simulator.received(1)] == [CHAT]


def test_head_has_the_headers_and_no_body(simulator: Simulator, wire: socket.socket) -> None:
    get = _raw({}, path="/openai/v1/models", method="GET", body=b"")
    head = _raw({"connection": "close"}, path="/openai/v1/models", method="HEAD", body=b"")
    wire.sendall(head)
    answer = _read_to_end(wire)
    assert answer.endswith(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as other:
        other.sendall(get.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        whole = _read_to_end(other)
    assert whole.startswith(answer)
    assert len(whole) > len(answer)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_a_recorded_answer_arrives_whole_however_it_is_sent(
    simulator: Simulator, client: http.client.HTTPConnection, framing: Any, seed: int | None, encoding: str
) -> None:
    answer = simulator.register(_exchange(), content_encoding=encoding)
    response, body = _post(client, simulator.select(answer, Delivery(framing=framing, seed=seed)))
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
    answer = simulator.register(_exchange(), content_encoding="gzip", flush_events=True)
    # What ends a gzip stream comes behind the last event: hold just that back.
    trailer = len(zlib.compressobj(wbits=31).flush()) - 10
    wire.sendall(_raw(simulator.select(answer, Delivery(hold=-trailer, framing="close"))))
    data = b""
    decoder = zlib.decompressobj(wbits=31)
    while b"[DONE]\n\n" not in decoder.copy().decompress(data.partition(b"\r\n\r\n")[2]):
        data += wire.recv(65536)
    (received,) = simulator.received(1, finished=False)
    assert (received.held, received.sent_events, received.answered) == (True, 41, False)
    simulator.release()
    data += _read_to_end(wire)
    assert gzip.decompress(data.partition(b"\r\n\r\n")[2]) == SSE


@pytest.mark.parametrize(
    ("hold", "seen"), [("head", b""), (0, b"\r\n\r\n"), (15, b'data: {"n":0}\n\n\r\n'), ("end", b"[DONE]\n\n\r\n")]
)
def test_an_answer_can_be_held_anywhere_and_released(
    simulator: Simulator, wire: socket.socket, hold: Any, seen: bytes
) -> None:
    answer = simulator.register(_exchange())
    wire.sendall(_raw(simulator.select(answer, Delivery(hold=hold)) | {"connection": "close"}))
    data = b""
    while not (seen in data and data.endswith(seen)):
        data += wire.recv(65536)
    assert simulator.received(1, finished=False)[0].answered is False
    simulator.release()
    data += _read_to_end(wire)
    assert data.endswith(b"0\r\n\r\n")
    assert simulator.received(1)[0].answered is True


def test_a_client_that_hangs_up_is_seen_with_what_it_was_sent(simulator: Simulator, wire: socket.socket) -> None:
    answer = simulator.register(_exchange())
    wire.sendall(_raw(simulator.select(answer, Delivery(hold=30))))
    data = b""
    while b'{"n":1}' not in data:
        data += wire.recv(65536)
    wire.close()
    (received,) = simulator.received(1)
    assert received.client_closed_after is not None
    assert 0 < received.client_closed_after < 20
    assert (received.answered, received.sent_body_bytes, received.sent_events) == (False, 30, 2)


def test_an_upload_that_breaks_off_is_recorded(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(_raw({})[:-5])
    wire.close()
    (received,) = simulator.received(1)
    assert (received.body, received.body_complete, received.answered) == (CHAT[:-5], False, False)
    assert received.client_closed_after is not None


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
    wire.sendall(_raw(simulator.select(simulator.register(_exchange()), delivery)))
    data = _read_to_end(wire)
    assert data.endswith(ending)
    assert bool(data) == bool(ending)
    (received,) = simulator.received(1)
    assert (received.answered, received.client_closed_after) == (False, None)


@pytest.mark.parametrize("cut", ["head", 100])
def test_a_cut_can_be_a_reset(simulator: Simulator, wire: socket.socket, cut: Any) -> None:
    wire.sendall(_raw(simulator.select(simulator.register(_exchange()), Delivery(cut=cut, reset=True))))
    with pytest.raises(ConnectionResetError):
        _read_to_end(wire)


def test_garbage_comes_instead_of_http(simulator: Simulator, wire: socket.socket) -> None:
    wire.sendall(_raw(simulator.select(delivery=Delivery(garbage="\x16\x03\x01 no HTTP"))))
    assert _read_to_end(wire) == b"\x16\x03\x01 no HTTP"


def test_interim_responses_and_trailers(simulator: Simulator, wire: socket.socket) -> None:
    delivery = Delivery(interim=(103,), framing="chunked", trailers={"x-checksum": "7"}, close=True)
    wire.sendall(_raw(simulator.select(delivery=delivery)))
    data = _read_to_end(wire)
    assert data.startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n0\r\nx-checksum: 7\r\n\r\n")


def test_delays_are_kept(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    answer = simulator.register(_exchange(response_body=b"data: 1\n\ndata: 2\n\n"))
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
    wire.sendall(_raw(simulator.select(answer, Delivery(size=1 << 16)) | {"connection": "close"}))
    assert wire.recv(1)
    (received,) = simulator.received(1, finished=False)
    assert received.sent_body_bytes < len(body)
    assert _read_to_end(wire).endswith(b"\r\n\r\n" + body)


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
    response, body = _post(client, {"x-simulate": value})
    assert response.status == 400
    assert message in json.loads(body)["error"]


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"],
)
def test_what_is_not_http_is_recorded_and_refused(simulator: Simulator, wire: socket.socket, sent: bytes) -> None:
    wire.sendall(sent)
    assert _read_to_end(wire).startswith(b"HTTP/1.1 400 ")
    (received,) = simulator.received(1)
    assert received.malformed
    assert received.request_line == sent.partition(b"\r\n")[0]


def test_release_and_received_say_when_nothing_came(simulator: Simulator) -> None:
    with pytest.raises(AssertionError, match="0 of 1 requests arrived"):
        simulator.received(1, timeout=0.01)
    with pytest.raises(AssertionError, match="0 of 1 answers were held"):
        simulator.release(timeout=0.01)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "answers/x", 400), ("GET", "requests?count=many", 400), ("GET", "nothing", 404)],
)
def test_a_wrong_control_request_is_answered(
    client: http.client.HTTPConnection, method: str, path: str, status: int
) -> None:
    client.request(method, f"/__simulator__/{path}", "{}")
    response = client.getresponse()
    assert (response.status, b"error" in response.read()) == (status, True)


def test_recorded_exchanges_come_back_byte_for_byte(simulator: Simulator, client: http.client.HTTPConnection) -> None:
    sample = [*exchanges()[::25], *written()]
    for seed, exchange in enumerate(sample):
        response, body = _post(
            client, simulator.select(exchange, Delivery(seed=seed)), exchange.request_body, f"/openai{exchange.path}"
        )
        assert response.status == exchange.status
        if exchange.status != 204:
            assert body == encode(exchange.response_body, exchange.response_headers.get("content-encoding"))
        for name in exchange.response_headers.keys() - {"transfer-encoding"}:
            assert response.getheader(name) == exchange.response_headers[name]
    assert [received.body for received in simulator.received(len(sample))] == [each.request_body for each in sample]
