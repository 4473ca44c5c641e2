"""Clients that say no more, and clients that are gone: only the second end a request."""

from __future__ import annotations

import threading

import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import Proxy
from tests.rawclient import CHAT, connected, labelled, request
from tests.simulated import Simulator
from tests.upstream import PLAIN, Asked, Upstream, answering

EVENTS = [
    b'data: {"id": "1", "model": "gpt-4o-2024-08-06", "choices": [{"delta": {"content": "red"}}]}\n\n',
    b'data: {"id": "1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}\n\n',
    b"data: [DONE]\n\n",
]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


BODIES = [
    ("Content-Length: 2", b"{}"),
    ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize(("framing", "body"), BODIES, ids=["length", "chunked"])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_a_client_that_half_closes_is_answered(
    streamed: bool, framing: str, body: bytes, wired: Proxy, upstream: Upstream
) -> None:
    """Its end has arrived long before the answer begins, and before it goes on."""
    known, half_read = threading.Event(), threading.Event()

    def answer(asked: Asked) -> None:
        asked.read()
        known.wait(20)
        if not streamed:
            asked.send(PLAIN)
            return
        asked.send(STREAM, chunk(EVENTS[0]))
        half_read.wait(20)
        asked.send(chunk(EVENTS[1]), chunk(EVENTS[2]), b"0\r\n\r\n")

    label, line = labelled()
    script = upstream.script(answer)
    with connected(wired.port) as client:
        client.send(request(wired, script, line, framing) + body)
        client.half_close()
        upstream.asked(script, 1)
        for _ in range(2):  # by then the worker has seen the client's end, too
            wired.health()
        known.set()
        if streamed:
            while EVENTS[0] not in client.peek():
                pass
            wired.health()
            half_read.set()
        said = client.read()
        assert client.rest() == b""
    assert (said.status, said.whole) == (200, True)
    assert said.body == (b"".join(EVENTS) if streamed else b"{}")
    event = wired.event(label)
    assert (event["status"], event["end_reason"]) == (200, "complete")
    if streamed:
        assert (event["input_tokens"], event["output_tokens"]) == (7, 5)


@pytest.mark.parametrize(
    "delivery",
    [
        Delivery(head_delay=1.0),
        Delivery(chunk_delay=0.6, framing="chunked"),
        Delivery(chunk_delay=0.6, framing="close"),
    ],
    ids=["late head", "slow chunks", "ends with the connection"],
)
def test_a_client_that_half_closes_waits_for_a_slow_provider(
    delivery: Delivery, serve: Proxy, simulator: Simulator
) -> None:
    answer = simulator.register_answer("slow", pieces=EVENTS, headers=[("content-type", "text/event-stream")])
    ((name, value),) = simulator.select(answer, delivery).items()
    label, line = labelled()
    with connected(serve.port) as client:
        client.send(request(serve, f"{name}: {value}", line, "Content-Length: 2") + b"{}")
        client.half_close()
        said = client.read()
    assert (said.status, said.body, said.whole) == (200, b"".join(EVENTS), True)
    event = serve.event(label)
    assert (event["end_reason"], event["output_tokens"]) == ("complete", 5)


def test_pipelined_requests_before_a_half_close_are_all_answered(wired: Proxy, upstream: Upstream) -> None:
    label, line = labelled()
    with connected(wired.port) as client:
        client.send((request(wired, line, "Content-Length: 2") + b"{}") * 5)
        client.half_close()
        assert [client.read().status for _ in range(5)] == [200] * 5
        assert client.rest() == b""
    query = f"SELECT end_reason FROM events WHERE user_label = '{label}'"  # noqa: S608 -- our own label
    assert [row["end_reason"] for row in wired.events(query)] == ["complete"] * 5


@pytest.mark.parametrize(
    "ahead",
    [
        b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
        b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Api-Key: %s\r\nContent-Length: 9\r\n\r\n{}",
        b"BREW /openai/v1/models HTTP/1.1\r\nHost: a\r\n",
    ],
    ids=["half a head", "half a body", "handed over"],
)
def test_what_is_sent_ahead_and_never_ends_is_given_up(ahead: bytes, wired: Proxy, upstream: Upstream) -> None:
    """The request before it is answered, and then the connection is closed."""
    _, line = labelled()
    script = upstream.script(answering(PLAIN))
    ahead = ahead.replace(b"%s", wired.token.encode())
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2") + b"{}" + ahead)
        client.half_close()
        assert client.read().status == 200
        assert not client.rest().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", ["head", "half a body", "half a chunk"])
def test_a_client_that_half_closes_too_early(sent: str, wired: Proxy, upstream: Upstream) -> None:
    """The rest will never come: this is a hang-up, and the provider is told."""
    wire = {
        "head": ("Content-Length: 100", b""),
        "half a body": ("Content-Length: 100", b"{"),
        "half a chunk": ("Transfer-Encoding: chunked", b"5\r\n{"),
    }
    framing, body = wire[sent]
    gone = threading.Event()

    def answer(asked: Asked) -> None:
        asked.read()
        asked.wait_until_gone()
        gone.set()

    label, line = labelled()
    script = upstream.script(answer)
    with connected(wired.port) as client:
        client.send(request(wired, script, line, framing) + body)
        upstream.asked(script, 1)
        client.half_close()
        assert client.rest()[:12] in {b"", b"HTTP/1.1 400"}
    assert gone.wait(10)
    assert wired.event(label)["end_reason"] == "client_abort"


@pytest.mark.parametrize("when", ["before the head", "mid-stream"])
def test_a_client_that_resets_is_gone(when: str, wired: Proxy, upstream: Upstream) -> None:
    gone = threading.Event()

    def answer(asked: Asked) -> None:
        asked.read()
        if when == "mid-stream":
            asked.send(STREAM, chunk(EVENTS[0]))
        asked.wait_until_gone()
        gone.set()

    label, line = labelled()
    script = upstream.script(answer)
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2") + b"{}")
        upstream.asked(script, 1)
        if when == "mid-stream":
            while EVENTS[0] not in client.peek():
                pass
        client.reset()
    assert gone.wait(10)
    event = wired.event(label)
    assert event["end_reason"] == "client_abort"
    assert event["status"] == (200 if when == "mid-stream" else None)


def test_a_client_that_half_closed_and_then_left(wired: Proxy, upstream: Upstream) -> None:
    """What is sent to it comes back as a reset: then the provider is told."""
    gone, closed = threading.Event(), threading.Event()

    def answer(asked: Asked) -> None:
        asked.read()
        closed.wait(20)
        asked.send(STREAM)
        while not asked.gone.is_set():
            asked.send(chunk(EVENTS[0]))
        gone.set()

    label, line = labelled()
    script = upstream.script(answer)
    with connected(wired.port) as client:
        client.send(request(wired, script, line, "Content-Length: 2", target=CHAT) + b"{}")
        client.half_close()
        upstream.asked(script, 1)
    closed.set()
    assert gone.wait(10)
    assert wired.event(label)["end_reason"] == "client_abort"
