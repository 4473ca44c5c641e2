"""Embeddings that go out together: what each relay does, and what its events say."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field, replace

import pytest

from metrion.endpoints import EMBEDDINGS, MODERATIONS
from metrion.model import Caller, Event, Forward, Head, Headers, Inbound
from metrion.model.policies import Batching, Cache, Concurrency, Policies, Retries
from metrion.relay.effects import (
    AbortRequest,
    Effects,
    EndRequest,
    EndResponse,
    Finish,
    Open,
    Record,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
    Wake,
)
from metrion.relay.gathering import GatheringRelay
from metrion.relay.states import State
from tests.relay.ways import JSON, UPSTREAM, Gate, Kept, forward

PATH = b"/v1/embeddings"
ON = Policies(batching=Batching("together"))


def embedding(policies: Policies | None = ON, *, timeout: float | None = 30.0, caller: str = "tests") -> Forward:
    base = forward(policies=policies)
    route = replace(
        base.route,
        target=PATH,
        operation=EMBEDDINGS,
        dialect="openai_embeddings",
        request_id_headers=(b"x-request-id",),
    )
    wire = Head(PATH, (*base.wire.headers, (b"content-type", b"application/json"), (b"content-length", b"99")))
    return replace(base, route=route, wire=wire, caller=Caller("default", caller, "stored", timeout))


def body(text: str, **more: object) -> bytes:
    return json.dumps({"model": "text-embedding-3-small", "input": text, **more}).encode()


def answer(texts: list[str]) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": [len(text), 0.5]} for n, text in enumerate(texts)]
    tokens = sum(map(len, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    whole = {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}
    return json.dumps(whole, separators=(",", ":")).encode()


@dataclass
class Scene:
    """Relays of one process, and who was woken."""

    at: Gate = field(default_factory=lambda: Gate(embedding()))
    woken: list[GatheringRelay] = field(default_factory=list)

    def relay(self, text: str, **more: object) -> GatheringRelay:
        """A request that has come whole."""
        relay, _ = self.come(text, **more)
        return relay

    def come(self, text: str, **more: object) -> tuple[GatheringRelay, Effects]:
        relay = GatheringRelay(self.at, object(), clock=lambda: self.at.now, on_turn=lambda: self.woken.append(relay))
        relay.request_head(
            Inbound(b"POST", PATH, ((b"host", b"proxy"), (b"content-type", b"application/json"))), ends=False, began=0.0
        )
        relay.request_data(body(text, **more))
        return relay, relay.request_end()

    def pass_(self, relay: GatheringRelay, seconds: float = 0.0) -> Effects:
        self.at.now += seconds
        return self.done(relay, relay.time_passed(client_is_slow=False))

    def done(self, relay: GatheringRelay, effects: Effects) -> Effects:
        for effect in effects:
            if isinstance(effect, Record):
                relay.attempt.finish(effect.end_reason)
        return effects

    def turn(self) -> list[Effects]:
        """Let those act who were woken."""
        woken, self.woken = self.woken, []
        return [self.pass_(relay) for relay in woken]

    def together(self, *texts: str) -> list[GatheringRelay]:
        """Requests of which the first leads the others, and has been sent."""
        relays = [self.relay(text) for text in texts]
        assert self.pass_(relays[0], 1.0) == [Wake(29.0), Open(UPSTREAM)]
        sent = relays[0].connected()
        assert json.loads(b"".join(each.data for each in sent if isinstance(each, SendRequestData)))["input"] == list(
            texts
        )
        return relays

    def event(self, number: int) -> Event:
        return self.at.events[number]


def wait_of(effects: Effects) -> float:
    (wake,) = effects
    assert isinstance(wake, Wake)
    assert wake.seconds is not None
    return wake.seconds


def sent_body(effects: Effects) -> bytes:
    return b"".join(each.data for each in effects if isinstance(each, SendRequestData))


def got(effects: Effects) -> tuple[int, dict[str, object]]:
    """What a client has got."""
    (status,) = [effect.status for effect in effects if isinstance(effect, SendResponse)]
    text = b"".join(effect.data for effect in effects if isinstance(effect, SendResponseData))
    lengths = [
        value for each in effects if isinstance(each, SendResponse) for name, value in each.headers
        if name.lower() == b"content-length"
    ]  # fmt: skip
    assert lengths == [b"%d" % len(text)]
    return status, json.loads(text)


def test_one_that_stays_alone_goes_out_as_it_came() -> None:
    scene = Scene()
    relay, effects = scene.come("red")
    assert effects == [Wake(0.005)]
    assert wait_of(scene.pass_(relay, 0.004)) == pytest.approx(0.001)
    assert scene.pass_(relay, 0.001) == [Wake(29.995), Open(UPSTREAM)]
    assert relay.connected() == [
        SendRequest(b"POST", embedding().wire, ends=False), SendRequestData(body("red")), EndRequest(()),
    ]  # fmt: skip
    relay.response_head(200, b"OK", JSON, ends=False)
    relay.response_data(answer(["red"]))
    scene.done(relay, relay.response_end())
    (event,) = scene.at.events
    assert (event.usage_source, event.input_tokens, event.policy) == ("reported", 3, {"together": "batching: alone"})
    assert event.usage == '{"prompt_tokens":3,"total_tokens":3}'


def test_several_go_out_as_one_and_each_has_its_own() -> None:
    scene = Scene()
    first, second, third = scene.together("red", "white", "blue!!")
    assert (second.state, second.reads_body) == (State.GATHERED, False)
    headers: Headers = (*JSON, (b"x-request-id", b"req_1"), (b"content-length", b"1"), (b"connection", b"close"))
    assert first.response_head(200, b"OK", headers, ends=False) == []
    assert first.response_data(answer(["red", "white", "blue!!"])[:20]) == []
    assert first.response_data(answer(["red", "white", "blue!!"])[20:]) == []
    effects = scene.done(first, first.response_end())
    kinds = [type(each) for each in effects]
    assert kinds == [SendResponse, Record, SendResponseData, Record, EndResponse, Wake, Finish]
    assert scene.woken == [second, third]
    answers = [got(each) for each in (effects, *scene.turn())]
    for (status, document), text in zip(answers, ("red", "white", "blue!!"), strict=True):
        size = len(text)
        assert (status, document["data"]) == (200, [{"object": "embedding", "index": 0, "embedding": [size, 0.5]}])
        assert document["usage"] == {"prompt_tokens": size, "total_tokens": size}
    name = first.attempt.request.id.hex
    assert [
        (each.input_tokens, each.usage_source, each.usage, each.provider_request_id, each.end_reason, each.policy)
        for each in scene.at.events
    ] == [
        (size, "estimated", None, "req_1", "complete", {"together": f"batching: {name}: {number} of 3"})
        for number, size in enumerate((3, 5, 6), 1)
    ]  # fmt: skip
    assert scene.at.counted == 3


def test_an_answer_in_a_coding_is_split() -> None:
    scene = Scene()
    first, _ = scene.together("red", "white")
    first.response_head(200, b"OK", (*JSON, (b"content-encoding", b"gzip")), ends=False)
    first.response_data(gzip.compress(answer(["red", "white"])))
    effects = first.response_end()
    assert got(effects)[0] == 200
    assert not any(name == b"content-encoding" for name, _ in effects[0].headers)  # type: ignore[union-attr] # a head


def test_one_that_fills_a_batch_leads_it() -> None:
    scene = Scene(Gate(embedding(Policies(batching=Batching("together", inputs=2)))))
    first, _ = scene.come("red")
    second, effects = scene.come("white")
    assert effects == [Wake(30.0), Open(UPSTREAM)]
    assert json.loads(sent_body(second.connected()))["input"] == ["white", "red"]
    assert scene.pass_(first, 0.005) == [Wake(29.995)]  # it waits for the other's answer


@pytest.mark.parametrize(
    "other",
    [
        {"dimensions": 256},
        {"model": "another"},
        {"encoding_format": "base64"},
    ],
)
def test_others_do_not_go_with_it(other: dict[str, object]) -> None:
    scene = Scene()
    first, second = scene.relay("red"), scene.relay("red", **other)
    assert [scene.pass_(each, 1.0)[-1] for each in (first, second)] == [Open(UPSTREAM)] * 2


def test_tokens_of_several_callers_do_not_mix() -> None:
    scene = Scene()
    scene.relay("red")
    scene.at.decision = embedding(caller="another")
    assert scene.come("red")[1] == [Wake(0.005)]  # it is the first of its own


@pytest.mark.parametrize(
    ("policies", "text", "words"),
    [
        (ON, "x" * (64 << 10), {"together": "batching: alone: the body is too long"}),
        (ON, "", {"together": "batching: alone: its input has another form"}),
        (None, "red", None),
    ],
)
def test_what_does_not_wait(policies: Policies | None, text: str, words: dict[str, str] | None) -> None:
    scene = Scene(Gate(embedding(policies)))
    relay, effects = scene.come(text)
    effects = effects or relay.connected()
    if effects == [Open(UPSTREAM)]:
        effects = relay.connected()
    assert sent_body(effects) == body(text) if policies else True
    relay.response_head(200, b"OK", JSON, ends=False)
    scene.done(relay, relay.response_end())
    assert scene.event(0).policy == words


def test_what_is_no_embedding_does_not_wait_though_it_looks_like_one() -> None:
    decision = embedding()
    moderation = replace(decision, route=replace(decision.route, operation=MODERATIONS))
    _, effects = Scene(Gate(moderation, judged=lambda forward: forward)).come("red")
    assert effects == [Open(UPSTREAM)]


# --- what goes wrong ---


def sends_alone(scene: Scene, relay: GatheringRelay, effects: Effects, text: str) -> None:
    if Open(UPSTREAM) not in effects:
        assert effects == [Wake(0.0)]
        effects = scene.pass_(relay)
    assert effects[-1] == Open(UPSTREAM)
    assert relay.connected() == [
        SendRequest(b"POST", embedding().wire, ends=False), SendRequestData(body(text)), EndRequest(()),
    ]  # fmt: skip
    assert relay.response_head(200, b"OK", JSON, ends=False) == [SendResponse(200, b"OK", JSON)]
    relay.response_data(answer([text]))
    scene.done(relay, relay.response_end())


@pytest.mark.parametrize(
    ("status", "whole", "words", "cost", "tokens"),
    [
        (429, b'{"error":{"type":"rate_limit_error"}}', "429", "not_billed", None),
        (400, b'{"error":{"type":"invalid_request_error"}}', "400", "not_billed", None),
        (200, b"{", "the answer cannot be read", "unknown", None),
        (200, answer(["red"]), "the answer has another number of vectors", "unpriced", 3),
    ],
)
def test_after_an_error_each_is_sent_alone(
    status: int, whole: bytes, words: str, cost: str, tokens: int | None
) -> None:
    scene = Scene()
    first, second = scene.together("red", "white")
    first.response_head(status, b"", JSON, ends=False)
    first.response_data(whole)
    effects = first.response_end()
    assert scene.woken == [second]
    ((*_, opens),) = scene.turn()
    sends_alone(scene, first, effects, "red")
    sends_alone(scene, second, [opens], "white")
    failed, one, two = scene.at.events
    assert (failed.attempt, failed.end_reason, failed.status) == (1, "retried", status)
    assert (failed.cost_source, failed.input_tokens, failed.request_id) == (cost, tokens, one.request_id)
    assert failed.policy == {"together": f"batching: {one.request_id}: 1 of 2; {words}"}
    assert [(each.attempt, each.usage_source, each.input_tokens, each.end_reason) for each in (one, two)] == [
        (2, "reported", 3, "complete"), (1, "reported", 5, "complete"),
    ]  # fmt: skip
    assert {one.policy["together"], two.policy["together"]} == {f"batching: alone: {words}"}  # type: ignore[index] # it is there


def test_after_a_cut_each_is_sent_alone() -> None:
    scene = Scene()
    first, second = scene.together("red", "white")
    effects = first.upstream_failed("server closed connection")
    ((*_, opens),) = scene.turn()
    sends_alone(scene, first, effects, "red")
    sends_alone(scene, second, [opens], "white")
    failed = scene.event(0)
    assert (failed.end_reason, failed.status, failed.cost_source) == ("retried", None, "unknown")


def test_without_a_connection_each_is_sent_alone_and_its_own_policies_hold() -> None:
    scene = Scene(Gate(embedding(replace(ON, retries=Retries("calm", attempts=2)))))
    first, second = scene.relay("red"), scene.relay("white")
    scene.pass_(first, 1.0)
    assert first.upstream_failed("connection refused") == [Wake(0.0)]
    assert scene.event(0).cost_source == "not_billed"
    scene.pass_(first)
    (wake,) = first.upstream_failed("connection refused")  # the first try alone; there is a second one
    assert isinstance(wake, Wake)
    assert first.state is State.WAITING
    scene.pass_(first, 10.0)
    effects = first.upstream_failed("connection refused")
    assert [each.status for each in effects if isinstance(each, SendResponse)] == [502]
    assert len(scene.turn()) == 1
    assert second.state is State.OPENING


def test_who_leaves_while_others_wait() -> None:
    scene = Scene()
    first, second, third = (scene.relay(text) for text in ("red", "white", "blue"))
    scene.done(first, first.client_gone())
    (effects,) = scene.turn()
    assert wait_of(effects) == pytest.approx(0.006)
    assert scene.pass_(second, 1.0)[-1] == Open(UPSTREAM)
    assert json.loads(sent_body(second.connected()))["input"] == ["white", "blue"]
    scene.done(third, third.client_gone())
    second.response_head(200, b"OK", JSON, ends=False)
    second.response_data(answer(["white", "blue"]))
    assert got(scene.done(second, second.response_end()))[1]["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert scene.woken == []
    assert [(each.end_reason, each.cost_source, each.input_tokens) for each in scene.at.events] == [
        ("client_abort", "not_billed", None), ("client_abort", "unknown", None), ("complete", "unpriced", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("begun", [False, True])
def test_if_the_one_that_leads_leaves_another_one_leads(begun: bool) -> None:
    scene = Scene()
    first, second, third = scene.together("red", "white", "blue")
    if begun:
        first.response_head(200, b"OK", JSON, ends=False)
    effects = scene.done(first, first.client_gone())
    assert AbortRequest() in effects
    assert (scene.event(0).end_reason, scene.event(0).cost_source) == ("client_abort", "unknown")
    assert scene.woken == [second]
    assert scene.turn()[0][-1] == Open(UPSTREAM)
    assert json.loads(sent_body(second.connected()))["input"] == ["white", "blue"]
    assert third.state is State.GATHERED


@pytest.mark.parametrize("begun", [False, True])
def test_when_the_time_is_over_it_is_for_all(begun: bool) -> None:
    scene = Scene()
    first, second = scene.together("red", "white")
    if begun:
        first.response_head(200, b"OK", JSON, ends=False)
        scene.at.now += 5
        first.response_data(b"{")
        assert scene.pass_(second) == [Wake(30.0)]
    assert scene.pass_(first, 31.0)[0] == AbortRequest()
    scene.turn()
    assert [(each.status, each.end_reason, each.cost_source) for each in scene.at.events] == [
        (504, "timeout", "unknown")
    ] * 2


def test_a_place_is_for_the_batch_and_who_gives_up_gives_up_for_all() -> None:
    narrow = Concurrency("narrow", at_once=1, seconds=5)
    scene = Scene(Gate(embedding(replace(ON, concurrency=narrow))))
    first, second = scene.together("red", "white")
    third, fourth = scene.relay("blue"), scene.relay("black")
    scene.pass_(third, 1.0)
    assert (third.state, fourth.state) == (State.QUEUED, State.GATHERED)
    assert second.state is State.GATHERED
    scene.pass_(third, 5.0)
    scene.turn()
    assert [(each.status, each.error_type, each.cost_source) for each in scene.at.events] == [
        (429, "rate_limited", "not_billed")
    ] * 2
    assert fourth.state is State.OVER
    assert first.state is State.ASKED


def test_a_share_is_kept_in_the_cache() -> None:
    cache = Kept()
    scene = Scene(Gate(embedding(replace(ON, cache=Cache("memory", always=True))), cache=cache))
    first, _ = scene.together("red", "white")
    first.response_head(200, b"OK", JSON, ends=False)
    first.response_data(answer(["red", "white"]))
    scene.done(first, first.response_end())
    scene.turn()
    kept = [json.loads(b"".join(each.pieces))["usage"]["total_tokens"] for each in cache.answers.values()]
    assert kept == [3, 5]
