"""Embeddings that go out together, through a running proxy, on both roads: what the provider gets, and each client."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.embedding import embed
from tests.processes import Proxy, Road, eventually, running_serve
from tests.rawclient import Answer, RawClient, connected, request
from tests.simulated import Simulator
from tests.upstream import Asked, Upstream

MODEL = "mistral-embed"


@pytest.fixture(scope="module")
def proxy(
    road: Road, simulator: Simulator, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = {
        "providers": {"openai": {"upstream": simulator.upstream("openai")}, "mistral": {"upstream": upstream.url}},
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 20}},
        "policies": {
            "together": {"for": {"provider": "openai"}, "batching": True},
            "patient": {"for": {"provider": "mistral"}, "batching": {"milliseconds": 100, "inputs": 10}},
        },
    }
    with running_serve(tmp_path_factory.mktemp("together") / "home", config, environment=road) as running:
        yield running
        assert "Traceback" not in running.log.read_text()


def test_the_official_sdk(proxy: Proxy, simulator: Simulator) -> None:
    simulator.received()
    findings = embed(proxy, 120, at_once=60)
    assert findings.answered == {"own": 120}
    received = [json.loads(each.body or b"{}")["input"] for each in simulator.received(1)]
    assert sum(1 if isinstance(each, str) else len(each) for each in received) == 120
    assert len(received) < 60
    query = "SELECT * FROM events WHERE provider = 'openai'"
    rows = eventually(lambda: proxy.events(query), until=lambda found: len(found) >= 120)
    assert sum(row["input_tokens"] for row in rows) == findings.tokens
    shares = [row for row in rows if row["usage_source"] == "estimated"]
    assert len(shares) > 60
    assert {row["cost_source"] for row in shares} == {"estimated"}
    assert {row["policy"]["together"].partition(": ")[0] for row in rows} == {"batching"}


class Case:
    """Requests that are sent together, and what the provider says to them."""

    def __init__(self, proxy: Proxy, upstream: Upstream, answer: Callable[[Asked, Any], bytes | None]) -> None:
        self.proxy, self.upstream, self.label = proxy, upstream, uuid.uuid4().hex[:12]

        def script(asked: Asked) -> None:
            said = answer(asked, json.loads(asked.read())["input"])
            asked.send(said or b"")
            if said is None:
                asked.close()

        self.script = upstream.script(script)

    def send(self, client: RawClient, inputs: object) -> None:
        body = json.dumps({"model": MODEL, "input": inputs}).encode()
        lines = (self.script, f"x-metrion-user: {self.label}", "content-type: application/json")
        head = request(self.proxy, *lines, f"content-length: {len(body)}", target="/mistral/v1/embeddings")
        client.send(head, body)

    def run(self, *inputs: object) -> list[Answer]:
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(self.proxy.port)) for _ in inputs]
            for client, each in zip(clients, inputs, strict=True):
                self.send(client, each)
            return [client.read() for client in clients]

    @property
    def received(self) -> list[Any]:
        return [json.loads(each.body)["input"] for each in self.upstream.asked(self.script)]

    def rows(self, count: int) -> list[dict[str, Any]]:
        query = f"SELECT * FROM events WHERE user_label = '{self.label}' ORDER BY event_id"  # noqa: S608 -- it is hex
        return eventually(lambda: self.proxy.events(query), until=lambda found: len(found) >= count)


def vectors(inputs: Any) -> bytes:
    """What the provider answers: to each text its length, in digits that a reader of numbers would not give back."""
    texts = inputs if isinstance(inputs, list) else [inputs]
    data = ",".join(
        f'{{"object": "embedding", "embedding": [{len(text)}.10, -2E-05], "index": {index}}}'
        for index, text in enumerate(texts)
    )
    tokens = sum(map(len, texts))
    body = (
        f'{{"id": "e-1", "object": "list", "data": [{data}], "model": "{MODEL}", '
        f'"usage": {{"prompt_tokens": {tokens}, "total_tokens": {tokens}, "completion_tokens": 0}}}}'
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-own: 1\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def own(answer: Answer, *texts: str) -> bool:
    """Whether an answer is that to these texts, digit by digit."""
    document = json.loads(answer.body)
    assert [each["index"] for each in document["data"]] == list(range(len(texts)))
    return all(f"[{len(text)}.10, -2E-05]".encode() in answer.body for text in texts)


def test_each_gets_its_vectors_and_its_share(proxy: Proxy, upstream: Upstream) -> None:
    case = Case(proxy, upstream, lambda _, inputs: vectors(inputs))
    first, second, third = case.run("red", ["white!", "b"], "blue")
    (received,) = case.received
    assert sorted(received) == ["b", "blue", "red", "white!"]
    assert own(first, "red")
    assert own(second, "white!", "b")
    assert own(third, "blue")
    for answer in (first, second, third):
        assert (answer.status, answer.repeated, answer.headers[b"x-own"]) == (200, [], b"1")
        assert answer.headers[b"content-length"] == b"%d" % len(answer.body)
    assert sorted(json.loads(each.body)["usage"]["total_tokens"] for each in (first, second, third)) == [3, 4, 7]
    rows = case.rows(3)
    assert sorted(row["input_tokens"] for row in rows) == [3, 4, 7]
    assert {(row["status"], row["end_reason"], row["attempt"], row["usage"]) for row in rows} == {
        (200, "complete", 1, None)
    }
    led = {row["policy"]["patient"].split(": ")[1] for row in rows}
    assert led < {row["request_id"] for row in rows}
    assert sorted(row["policy"]["patient"].split(": ")[2] for row in rows) == ["1 of 3", "2 of 3", "3 of 3"]


def too_many(_: Asked, inputs: Any) -> bytes:
    refusal = b'{"object":"error","type":"invalid_request_error","message":"too many"}'
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(refusal)
    return head + refusal if isinstance(inputs, list) else vectors(inputs)


def cut(_: Asked, inputs: Any) -> bytes | None:
    return None if isinstance(inputs, list) else vectors(inputs)


def another(_: Asked, inputs: Any) -> bytes:
    return vectors(inputs[:-1] if isinstance(inputs, list) else inputs)


@pytest.mark.parametrize(
    ("answer", "status", "cost_source", "why"),
    [
        (too_many, 400, "not_billed", "400"),
        (cut, None, "unknown", "cut"),
        (another, 200, "computed", "the answer has another number of vectors"),
    ],
)
def test_on_an_error_each_goes_out_alone(
    answer: Callable[[Asked, Any], bytes | None],
    status: int | None,
    cost_source: str,
    why: str,
    proxy: Proxy,
    upstream: Upstream,
) -> None:
    case = Case(proxy, upstream, answer)
    answers = case.run("red", "white!", "blue")
    assert [own(each, text) for each, text in zip(answers, ("red", "white!", "blue"), strict=True)] == [True] * 3
    assert sorted(map(str, case.received[1:])) == ["blue", "red", "white!"]
    assert len(case.received[0]) == 3
    rows = case.rows(4)
    (failed,) = [row for row in rows if row["end_reason"] == "retried"]
    assert (failed["status"], failed["cost_source"], failed["attempt"]) == (status, cost_source, 1)
    assert failed["policy"]["patient"].endswith(f"1 of 3; {why}")
    others = [row for row in rows if row is not failed]
    assert sorted(row["input_tokens"] for row in others) == [3, 4, 6]
    assert {(row["usage_source"], row["policy"]["patient"]) for row in others} == {
        ("reported", f"batching: alone: {why}")
    }
    assert [row["attempt"] for row in others if row["request_id"] == failed["request_id"]] == [2]


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_leaves_harms_nobody(begun: bool, proxy: Proxy, upstream: Upstream) -> None:
    """The one that leads leaves, before it goes out or while its answer is awaited."""
    gone = threading.Event()

    def slow(asked: Asked, inputs: Any) -> bytes | None:
        if begun and "red" in inputs:
            gone.set()
            asked.wait_until_gone()
            return None
        return vectors(inputs)

    case = Case(proxy, upstream, slow)
    with ExitStack() as stack:
        first, *others = [stack.enter_context(connected(proxy.port)) for _ in range(3)]
        case.send(first, "red")
        if not begun:
            first.reset()
        for client, text in zip(others, ("white!", "blue"), strict=True):
            case.send(client, text)
        if begun:
            assert gone.wait(20)
            first.reset()
        answers = [client.read() for client in others]
    assert own(answers[0], "white!")
    assert own(answers[1], "blue")
    rows = case.rows(3)
    assert sorted(row["end_reason"] for row in rows) == ["client_abort", "complete", "complete"]
    assert sorted(row["input_tokens"] for row in rows if row["end_reason"] == "complete") == [4, 6]


def test_what_is_not_gathered_goes_out_as_it_came(proxy: Proxy, upstream: Upstream) -> None:
    case = Case(proxy, upstream, lambda _, inputs: vectors(inputs))
    many = [f"text {number}" for number in range(11)]
    (answer,) = case.run(many)
    assert own(answer, *many)
    (row,) = case.rows(1)
    assert (row["usage_source"], row["policy"]) == ("reported", {"patient": "batching: alone: it has too many inputs"})
