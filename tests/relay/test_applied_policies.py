"""Policies on the way of a request: what goes out, what the client gets, and what the event says."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from metrion.endpoints import COUNT_TOKENS, FILES, MODELS
from metrion.model import EndReason, Forward, Headers, Operation
from metrion.model.policies import Alias, MemberSetting, Policies, Told
from metrion.relay.effects import SendRequest, SendRequestData, SendResponse
from metrion.relay.held_body import MOST_HELD
from metrion.relay.rewrites import AppliedPolicies, suiting
from tests.made import Made
from tests.relay.ways import JSON, Gate, forward, inbound

LARGE = Policies(
    aliases={"large": Alias("short", "mistral-large-latest")}, caps=(MemberSetting("careful", "max_tokens", 10),)
)
SENT = b'{"model": "large", "max_tokens": 1000}'
OUT = b'{"model": "mistral-large-latest", "max_tokens": 10}'


def with_policies(policies: Policies, operation: Operation | None = None) -> Forward:
    decision = forward()
    route = replace(decision.route, operation=operation) if operation else decision.route
    return replace(decision, policies=policies, route=route)


def sent(gate: Gate, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[Headers, bytes]:
    """What goes out of a request with these bytes, in two pieces; its event is written."""
    relay = gate.relay()
    effects = relay.request_head(inbound(b"POST", *headers), ends=False, began=0.0)
    effects += relay.request_data(body[:5]) + relay.request_data(body[5:]) + relay.request_end()
    effects += relay.connected()
    (head,) = [each.head for each in effects if isinstance(each, SendRequest)]
    data = b"".join(each.data for each in effects if isinstance(each, SendRequestData))
    relay.response_head(200, b"OK", JSON, ends=False)
    relay.attempt.finish(EndReason.COMPLETE)
    return head.headers, data


def test_the_body_and_its_length_are_changed_and_the_event_says_what_was_asked_for() -> None:
    wire = replace(forward().wire, headers=(*forward().wire.headers, (b"Content-Length", b"%d" % len(SENT))))
    gate = Gate(replace(with_policies(LARGE), wire=wire))
    headers, body = sent(gate, SENT, *JSON)
    assert body == OUT
    assert dict(headers)[b"Content-Length"] == b"%d" % len(OUT)
    (event,) = gate.events
    assert (event.model_requested, event.request_bytes) == ("large", len(SENT))
    assert event.policy == {
        "short": "alias: large → mistral-large-latest",
        "careful": "cap: max_tokens 1000 → 10",
    }


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b"model=large", (), "the body is no JSON object"),
        (b'{"model":"large","model":"large"}', (), "the body has a member twice"),
        (b'\xef\xbb\xbf{"model":"large"}', (), "the body begins with a byte order mark"),
        (SENT + b"x", (), "the body has something behind its end"),
        (gzip.compress(SENT), ((b"Content-Encoding", b"gzip"),), "the body is compressed"),
        (SENT, ((b"content-type", b"multipart/form-data; boundary=x"),), "the body is no JSON"),
        (Made(lambda: b" " * (MOST_HELD + 1)), (), "the body is longer than what is held in memory"),
    ],
    ids=["no JSON", "twice", "a mark", "garbage", "compressed", "a form", "too long"],
)
def test_a_body_that_cannot_be_changed_passes_and_the_event_says_so(body: bytes, headers: Headers, why: str) -> None:
    gate = Gate(with_policies(LARGE))
    assert sent(gate, body, *headers) == (forward().wire.headers, body)
    assert gate.events[0].policy == dict.fromkeys(("short", "careful"), f"untouched: {why}")


def test_a_body_that_needs_no_change_passes_and_the_event_says_nothing() -> None:
    gate = Gate(with_policies(LARGE))
    assert sent(gate, OUT) == (forward().wire.headers, OUT)
    assert gate.events[0].policy is None


@pytest.mark.parametrize(
    ("decision", "method", "applies"),
    [
        (with_policies(LARGE), b"POST", True),
        (with_policies(LARGE, COUNT_TOKENS), b"POST", True),
        (with_policies(LARGE, FILES), b"POST", False),
        (with_policies(LARGE, MODELS), b"GET", False),
        (with_policies(Policies(told=Told("p", frozenset({"event-id"})))), b"POST", False),
        (forward(), b"POST", False),
    ],
)
def test_only_requests_that_ask_for_a_model_are_held(decision: Forward, method: bytes, applies: bool) -> None:
    assert any(isinstance(each, AppliedPolicies) for each in suiting(decision, inbound(method))) is applies


@pytest.mark.parametrize(
    ("operation", "method", "cost"),
    [(None, b"POST", False), (COUNT_TOKENS, b"POST", True), (MODELS, b"GET", True)],
    ids=["a chat", "tokens counted", "models listed"],
)
def test_the_response_tells_what_is_known_at_its_head(operation: Operation | None, method: bytes, cost: bool) -> None:
    told = Policies(told=Told("p", frozenset({"event-id", "cost-usd"})))
    relay = Gate(with_policies(told, operation)).relay()
    relay.request_head(inbound(method), ends=True, began=0.0)
    relay.connected()
    effects = relay.response_head(200, b"OK", JSON, ends=False)
    (head,) = [each for each in effects if isinstance(each, SendResponse)]
    event_id = (b"x-metrion-event-id", str(relay.attempt.id).encode())
    assert head.headers == (*JSON, event_id, *([(b"x-metrion-cost-usd", b"0")] if cost else []))


def test_a_hit_of_the_cache_costs_nothing_and_says_so() -> None:
    relay = Gate(with_policies(Policies(told=Told("p", frozenset({"cost-usd"}))))).relay()
    relay.request_head(inbound(), ends=True, began=0.0)
    relay.attempt.answer_from_cache()
    (head,) = [each for each in relay.response_head(200, b"OK", JSON, ends=False) if isinstance(each, SendResponse)]
    assert head.headers == (*JSON, (b"x-metrion-cost-usd", b"0"))


def test_the_model_that_goes_out_is_the_one_that_is_priced() -> None:
    """Where the answer names none; what the client asked for stays in the row."""
    gate = Gate(with_policies(replace(LARGE, model="mistral-large-latest", aliases={})))
    relay = gate.relay()
    relay.request_head(inbound(b"POST"), ends=False, began=0.0)
    assert relay.attempt.request.sent_model == "mistral-large-latest"
