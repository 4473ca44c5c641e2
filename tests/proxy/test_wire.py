"""HTTP as it is on bad days: what the RFCs allow passes, what they forbid is refused, nothing hangs."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from collections.abc import Iterator

import anthropic
import openai
import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import Proxy, Road, running_serve, upstreams
from tests.simulated import Simulator

BODY = b'{"model": "gpt-4o", "messages": []}'
ANSWER = b'{"id": "x", "model": "gpt-4o", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}'


def head(proxy: Proxy, *lines: str, target: str = "/openai/v1/chat/completions") -> bytes:
    fixed = [f"POST {target} HTTP/1.1", "Host: proxy", f"Authorization: Bearer {proxy.token}"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def talk(proxy: Proxy, *pieces: bytes, until_closed: bool = True) -> bytes:
    """Send the pieces and read all that comes back."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=10)) as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while data := client.recv(65536):
            answer += data
            if not until_closed and answer.endswith((b"}", b"0\r\n\r\n")):
                break
        return answer


def selecting(simulator: Simulator, answer: str | None, delivery: Delivery) -> str:
    ((name, value),) = simulator.select(answer, delivery).items()
    return f"{name}: {value}"


@pytest.fixture
def plain(simulator: Simulator) -> str:
    return simulator.register_answer("wire", pieces=[ANSWER[:20], ANSWER[20:]])


def test_interim_responses_pass(serve: Proxy, simulator: Simulator, plain: str) -> None:
    select = selecting(simulator, plain, Delivery(interim=(103, 102), close=True))
    answer = talk(serve, head(serve, select, f"Content-Length: {len(BODY)}"), BODY)
    assert answer.index(b"HTTP/1.1 103 ") < answer.index(b"HTTP/1.1 102 ") < answer.index(b"HTTP/1.1 200 ")
    assert answer.endswith(ANSWER)


def test_trailers_pass(serve: Proxy, simulator: Simulator, plain: str) -> None:
    trailers = {"X-Checksum": "abc", "X-Other": "d"}
    label = uuid.uuid4().hex
    select = selecting(simulator, plain, Delivery(framing="chunked", trailers=trailers, close=True))
    answer = talk(serve, head(serve, select, f"x-metrion-user: {label}", f"Content-Length: {len(BODY)}"), BODY)
    assert answer.lower().endswith(b"\r\n0\r\nx-checksum: abc\r\nx-other: d\r\n\r\n")
    assert serve.event(label)["end_reason"] == "complete"


def test_request_trailers_pass(serve: Proxy, simulator: Simulator, plain: str) -> None:
    select = selecting(simulator, plain, Delivery(close=True))
    body = b"%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(BODY), BODY)
    answer = talk(serve, head(serve, select, "Transfer-Encoding: chunked", "Trailer: X-Sum"), body)
    assert answer.startswith(b"HTTP/1.1 200 ")
    (received,) = simulator.received(1)
    assert (received.body, received.body_complete) == (BODY, True)


def test_continue_is_said_once_and_not_asked_of_the_provider(serve: Proxy, simulator: Simulator, plain: str) -> None:
    select = selecting(simulator, plain, Delivery(close=True))
    answer = talk(serve, head(serve, select, "Expect: 100-continue", f"Content-Length: {len(BODY)}"), BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert simulator.received(1)[0].header("expect") == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_answer_before_the_request_is_over(framing: str, serve: Proxy, simulator: Simulator, plain: str) -> None:
    """The client gets the whole answer while the rest of its body is still to come."""
    label = uuid.uuid4().hex
    select = selecting(simulator, plain, Delivery(early=True, framing=framing))  # type: ignore[arg-type]  # a parameter
    started = head(serve, select, f"x-metrion-user: {label}", "Content-Length: 1000000")
    answer = talk(serve, started, b"x" * 1000, until_closed=False)
    assert answer.endswith(ANSWER if framing == "length" else b"0\r\n\r\n")
    event = serve.event(label)
    assert (event["status"], event["end_reason"], event["output_tokens"]) == (200, "complete", 2)


@pytest.mark.parametrize(
    "lines",
    [
        [f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"],
        [f"Content-Length: {len(BODY)}", f"Content-Length: {len(BODY) + 1}"],
        ["Content-Length: ten"],
        [f"Content-Length: {len(BODY)}", "X-Folded: one", " two"],
        [f"Content-Length: {len(BODY)}", "Bad Name: x"],
        ["Transfer-Encoding: gzip"],
    ],
    ids=["both framings", "two lengths", "no length", "obs-fold", "bad name", "unknown coding"],
)
def test_head_that_two_servers_may_read_differently_is_refused(
    lines: list[str], serve: Proxy, simulator: Simulator
) -> None:
    # In one piece: a body that comes after the refusal may destroy it on its way.
    answer = talk(serve, head(serve, *lines, "Connection: close") + BODY)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert serve.token.encode() not in answer
    assert simulator.received() == []


def test_large_head_passes(serve: Proxy, simulator: Simulator, plain: str) -> None:
    select = selecting(simulator, plain, Delivery(close=True))
    lines = [f"X-Large-{number}: {'v' * 1000}" for number in range(64)]
    answer = talk(serve, head(serve, select, *lines, f"Content-Length: {len(BODY)}"), BODY)
    assert answer.startswith(b"HTTP/1.1 200 ")
    (received,) = simulator.received(1)
    assert len([name for name, _ in received.headers if name.startswith(b"X-Large")]) == 64


def test_endless_head_is_refused(serve: Proxy, simulator: Simulator) -> None:
    """The answer may be lost to a client that goes on sending regardless."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        answer = talk(serve, head(serve)[:-2], *[b"X-Large: %s\r\n" % (b"v" * 100_000)] * 12)
        assert answer.startswith(b"HTTP/1.1 431 ")
    assert simulator.received() == []


def test_two_hosts_are_one_to_the_provider(serve: Proxy, simulator: Simulator, plain: str) -> None:
    select = selecting(simulator, plain, Delivery(close=True))
    talk(serve, head(serve, select, "Host: other", f"Content-Length: {len(BODY)}"), BODY)
    assert simulator.received(1)[0].header("host") == [f"127.0.0.1:{simulator.port}".encode()]


def test_body_longer_than_its_length(serve: Proxy, simulator: Simulator, plain: str) -> None:
    """What is too much is no part of the request, nor a request of its own."""
    select = selecting(simulator, plain, Delivery())
    answer = talk(serve, head(serve, select, f"Content-Length: {len(BODY)}"), BODY + b"and more\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert simulator.received(1)[0].body == BODY


def test_body_shorter_than_its_length(serve: Proxy, simulator: Simulator) -> None:
    label = uuid.uuid4().hex
    with socket.create_connection(("127.0.0.1", serve.port), timeout=10) as client:
        client.sendall(head(serve, f"x-metrion-user: {label}", "Content-Length: 1000") + b"short")
        simulator.received(1, finished=False)
    assert serve.event(label)["end_reason"] == "client_abort"
    assert simulator.received(1)[0].body_complete is False


@pytest.mark.parametrize("upgrade", [None, "h2c", "tls/1.2"])
def test_upgrade_that_is_no_websocket(upgrade: str | None, serve: Proxy, simulator: Simulator) -> None:
    """A provider that switches protocols unasked, or to another than WebSocket, is out of order."""
    lines = [f"Upgrade: {upgrade}", "Connection: upgrade"] if upgrade else []
    garbage = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw bytes"
    select = selecting(simulator, None, Delivery(garbage=garbage))
    answer = talk(serve, head(serve, select, *lines, f"Content-Length: {len(BODY)}"), BODY)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"raw bytes" not in answer


def test_no_content_with_content(serve: Proxy, simulator: Simulator) -> None:
    garbage = "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\nconnection: close\r\n\r\nstray"
    select = selecting(simulator, None, Delivery(garbage=garbage))
    answer = talk(serve, head(serve, select, f"Content-Length: {len(BODY)}"), BODY)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"stray" not in answer


@pytest.fixture(scope="module")
def hasty(road: Road, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    config = upstreams(simulator) | {"plans": {"pro": {"timeout": 0.5}}}
    with running_serve(tmp_path_factory.mktemp("hasty") / "home", config, environment=road) as running:
        yield running


def test_stalled_stream_ends_with_the_providers_error_event(hasty: Proxy, simulator: Simulator) -> None:
    first = b'data: {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}}]}\n\n'
    answer = simulator.register_answer(
        "stalls", pieces=[first, b"data: [DONE]\n\n"], headers=[("content-type", "text/event-stream")], chunked=True
    )
    client = openai.OpenAI(base_url=hasty.url("openai"), api_key=hasty.token, max_retries=0)
    chunks = client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        extra_headers=simulator.select(answer, Delivery(hold=len(first))) | {"x-metrion-user": "stalled"},
    )
    seen = iter(chunks)
    assert next(seen).id == "1"
    with pytest.raises(openai.APIError) as failed:
        next(seen)
    assert failed.value.code == "timeout"
    assert json.loads(json.dumps(failed.value.body))["message"]
    assert hasty.event("stalled")["end_reason"] == "timeout"


def test_stalled_stream_of_anthropic_ends_with_an_error_event_of_that_name(hasty: Proxy, simulator: Simulator) -> None:
    first = b'event: ping\ndata: {"type": "ping"}\n\n'
    answer = simulator.register_answer(
        "stalls-too", pieces=[first, first], headers=[("content-type", "text/event-stream")], chunked=True
    )
    client = anthropic.Anthropic(base_url=hasty.url("anthropic"), api_key=hasty.token, max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as failed:
        for _ in client.messages.create(
            model="claude-haiku-4-5-20251001",
            max_tokens=5,
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_headers=simulator.select(answer, Delivery(hold=len(first))) | {"x-metrion-user": "stalled-too"},
        ):
            pass
    assert "sent nothing for 0.5 seconds" in str(failed.value)
    assert hasty.event("stalled-too")["end_reason"] == "timeout"


@pytest.mark.parametrize("provider", ["google", "mistral", "xai"])
def test_stalled_stream_of_others_ends_with_their_error(provider: str, hasty: Proxy, simulator: Simulator) -> None:
    first = b'data: {"choices": []}\n\n'
    answer = simulator.register_answer(
        f"stalls-{provider}", pieces=[first, first], headers=[("content-type", "text/event-stream")], chunked=True
    )
    select = selecting(simulator, answer, Delivery(hold=len(first)))
    started = head(hasty, select, "Content-Length: 2", target=f"/{provider}/v1/chat/completions")
    said = talk(hasty, started, b"{}", until_closed=False)
    last = said.removesuffix(b"\r\n0\r\n\r\n").rpartition(b"data: ")[2]
    assert "sent nothing for 0.5 seconds" in json.dumps(json.loads(last))
