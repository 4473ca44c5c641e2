"""A request that is sent again: what comes in, and what goes out, and what its events say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from metrion.model import EndReason, Event, Forward, Head, Headers, Origin
from metrion.model.policies import Cache, Fallback, Policies, Retries, Step
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effects,
    EndRequest,
    EndResponse,
    Finish,
    Open,
    Record,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
    Wake,
)
from metrion.relay.persistent import PersistentRelay
from metrion.relay.retries import DROPPING_SECONDS, MOST_DROPPED, MOST_KEPT
from metrion.relay.states import State
from tests.relay.ways import JSON, SSE, UPSTREAM, WIRE, Gate, Kept, forward, inbound, recorded

BODY = b'{"model": "gpt-4o"}'
LATER: Headers = (*JSON, (b"retry-after", b"2"))
REFUSED = b'{"error": {"type": "rate_limit_error", "message": "slow down"}}'
CLOSED = "server closed connection"
GOES_OUT: Effects = [SendRequest(b"POST", WIRE, ends=False), SendRequestData(BODY), EndRequest(())]


def gate(*, timeout: float | None = 30.0, retries: Retries | None = None) -> Gate:
    return Gate(forward(timeout=timeout, policies=Policies(retries=retries or Retries("calm"))))


def opening(at: Gate) -> PersistentRelay:
    relay = at.relay()
    relay.request_head(inbound(), ends=False, began=0.0)
    relay.request_data(BODY)
    relay.request_end()
    return relay


def asked(at: Gate) -> PersistentRelay:
    relay = opening(at)
    assert relay.connected() == GOES_OUT
    return relay


def asking(at: Gate) -> PersistentRelay:
    relay = at.relay()
    relay.request_head(inbound(), ends=False, began=0.0)
    relay.connected()
    relay.request_data(BODY[:5])
    return relay


def wait_of(effects: Effects) -> float:
    (wake,) = effects
    assert isinstance(wake, Wake)
    assert wake.seconds is not None
    return wake.seconds


def goes_again(relay: PersistentRelay, at: Gate, seconds: float) -> None:
    assert relay.state is State.WAITING
    at.now += seconds
    (wake, opens) = relay.time_passed(client_is_slow=False)
    assert isinstance(wake, Wake)
    assert opens == Open(UPSTREAM)
    assert relay.connected() == GOES_OUT


def answered(relay: PersistentRelay) -> Event:
    effects = relay.response_head(200, b"OK", JSON, ends=False)
    assert effects == [SendResponse(200, b"OK", JSON)]
    assert relay.response_data(b"{}") == [SendResponseData(b"{}")]
    effects = relay.response_end()
    assert effects == [Record(EndReason.COMPLETE), EndResponse(), Wake(None), Finish()]
    event = relay.attempt.finish(EndReason.COMPLETE)
    assert event is not None
    return event


@pytest.mark.parametrize("status", [429, 503, 529])
def test_an_answer_that_says_later_is_dropped_and_has_its_event(status: int) -> None:
    at = gate()
    relay = asked(at)
    assert relay.response_head(status, b"", LATER, ends=False) == [Wake(DROPPING_SECONDS)]
    assert relay.response_data(REFUSED) == []
    assert wait_of(relay.response_end()) == 2.0
    goes_again(relay, at, 2.0)
    answered(relay)
    first, last = at.events
    assert (first.attempt, first.end_reason, first.status, first.error_type) == (
        1,
        "retried",
        status,
        "rate_limit_error",
    )
    assert (first.cost_source, first.cost_usd) == ("not_billed", Decimal(0))
    assert first.policy == {"calm": f"retries: {status!s}"}
    assert (last.attempt, last.end_reason, last.status, last.policy) == (
        2,
        "complete",
        200,
        {"calm": "retries: attempt 2"},
    )
    assert first.request_id == last.request_id
    assert first.event_id != last.event_id


@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 500, 502, 504])
def test_any_other_answer_is_handed_on(status: int) -> None:
    at = gate(retries=Retries("calm", ambiguous=True))
    relay = asked(at)
    assert relay.response_head(status, b"", JSON, ends=False) == [SendResponse(status, b"", JSON)]
    assert recorded(relay.upstream_failed(CLOSED), relay) is EndReason.UPSTREAM_ERROR  # a byte was delivered
    assert [event.attempt for event in at.events] == [1]


def test_the_last_attempt_is_handed_on_whatever_it_says() -> None:
    at = gate()
    relay = asked(at)
    for _ in range(2):
        relay.response_head(429, b"", LATER, ends=False)
        relay.response_end()
        goes_again(relay, at, 2.0)
    assert relay.response_head(429, b"", LATER, ends=False) == [SendResponse(429, b"", LATER)]
    recorded(relay.response_end(), relay)
    assert [(event.attempt, event.end_reason, event.status) for event in at.events] == [
        (1, "retried", 429), (2, "retried", 429), (3, "complete", 429),
    ]  # fmt: skip
    assert at.events[-1].policy == {"calm": "retries: 429, used up"}
    assert at.counted == 1


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (((b"retry-after", b"31536000"),), "429, beyond the deadline"),
        (((b"retry-after", b"Fri, 31 Dec 2099 23:59:59 GMT"),), "429, beyond the deadline"),
        (((b"x-should-retry", b"false"),), "429, the provider wants none"),
    ],
)
def test_an_answer_is_handed_on_where_nobody_would_wait_so_long(headers: Headers, why: str) -> None:
    at = gate()
    relay = asked(at)
    assert relay.response_head(429, b"", headers, ends=False) == [SendResponse(429, b"", headers)]
    recorded(relay.response_end(), relay)
    assert at.events[0].policy == {"calm": f"retries: {why}"}


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [opening, asking])
def test_a_failure_before_the_request_was_whole(way: Callable[[Gate], PersistentRelay]) -> None:
    at = gate()
    relay = way(at)
    seconds = wait_of(relay.upstream_failed(CLOSED))
    assert 0.25 <= seconds <= 0.5
    if way is asking:
        assert not relay.reads_body
        assert relay.request_data(BODY[5:]) + relay.request_end() == []
    goes_again(relay, at, seconds)
    answered(relay)
    first, last = at.events
    assert (first.end_reason, first.status, first.error_type) == ("retried", None, "upstream_unreachable")
    assert first.policy == {"calm": "retries: not sent whole"}
    assert (last.attempt, last.status) == (2, 200)


def test_a_request_that_went_out_whole_is_sent_again_only_at_ones_own_risk() -> None:
    at = gate()
    relay = asked(at)
    effects = relay.upstream_failed(CLOSED)
    assert isinstance(effects[1], SendResponse)
    recorded(effects, relay)
    assert [(event.attempt, event.status, event.policy) for event in at.events] == [
        (1, 502, {"calm": "retries: cut, the provider may have done it"})
    ]
    at = gate(retries=Retries("calm", ambiguous=True))
    relay = asked(at)
    goes_again(relay, at, wait_of(relay.upstream_failed(CLOSED)))
    answered(relay)
    first, _ = at.events
    assert (first.cost_source, first.cost_usd) == ("unknown", None)  # it may be billed


def test_what_is_no_http_has_been_answered() -> None:
    at = gate(retries=Retries("calm", ambiguous=True))
    relay = asked(at)
    assert isinstance(relay.upstream_failed(None)[1], SendResponse)


def test_a_switch_of_protocols_that_nobody_asked_for_is_an_answer_too() -> None:
    relay = asked(gate(retries=Retries("calm", ambiguous=True)))
    effects = relay.response_head(101, b"", (), ends=True)
    assert effects[0] == AbortRequest()
    assert isinstance(effects[2], SendResponse)


def test_an_interim_answer_has_reached_the_client() -> None:
    relay = asked(gate(retries=Retries("calm", ambiguous=True)))
    assert relay.interim(103, b"Early Hints", ()) == [SendInterim(103, b"Early Hints", ())]
    assert relay.response_head(429, b"", LATER, ends=False) == [SendResponse(429, b"", LATER)]


def test_an_early_refusal_while_the_client_still_sends() -> None:
    at = gate()
    relay = asking(at)
    effects = relay.response_head(429, b"", LATER, ends=False)
    assert effects == [AbortRequest(), Wake(2.0)]
    assert relay.response_data(REFUSED) + relay.response_end() + relay.upstream_failed(CLOSED) == []
    assert relay.request_data(BODY[5:]) + relay.request_end() == []
    goes_again(relay, at, 2.0)
    answered(relay)


def test_a_stream_is_sent_again_only_before_its_first_byte() -> None:
    at = gate(retries=Retries("calm", ambiguous=True))
    relay = asked(at)
    goes_again(relay, at, wait_of(relay.upstream_failed(CLOSED)))
    assert relay.response_head(200, b"OK", SSE, ends=False) == [SendResponse(200, b"OK", SSE)]
    assert AbortResponse() in relay.upstream_failed(CLOSED)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_long_body_is_sent_once() -> None:
    at = gate()
    relay = at.relay()
    relay.request_head(inbound(), ends=False, began=0.0)
    relay.connected()
    for _ in range(2):
        relay.request_data(b"x" * (MOST_KEPT // 2 + 1))
    relay.request_end()
    assert relay.response_head(429, b"", LATER, ends=False) == [SendResponse(429, b"", LATER)]
    recorded(relay.response_end(), relay)
    assert at.events[0].policy == {"calm": "retries: 429, the body is too long"}


def test_a_refusal_without_an_end_is_given_up() -> None:
    for far in ("size", "time", "cut"):
        at = gate()
        relay = asked(at)
        relay.response_head(429, b"", LATER, ends=False)
        match far:
            case "size":
                effects = relay.response_data(b"x" * (MOST_DROPPED + 1))
            case "time":
                effects = relay.time_passed(client_is_slow=False)
            case "cut":
                effects = [AbortRequest(), *relay.upstream_failed(CLOSED)]
        assert effects == [AbortRequest(), Wake(2.0)]
        goes_again(relay, at, 2.0)


def test_the_deadline_is_that_of_the_first_attempt() -> None:
    at = gate(timeout=30.0)
    relay = asked(at)
    at.now = 10.0
    relay.response_head(429, b"", LATER, ends=False)
    relay.response_end()
    at.now = 12.0
    assert relay.time_passed(client_is_slow=False) == [Wake(18.0), Open(UPSTREAM)]
    relay.connected()
    at.now = 29.0
    assert relay.time_passed(client_is_slow=False) == [Wake(1.0)]
    at.now = 30.0
    effects = relay.time_passed(client_is_slow=False)
    recorded(effects, relay)
    assert [(event.attempt, event.status, event.end_reason) for event in at.events] == [
        (1, 429, "retried"), (2, 504, "timeout"),
    ]  # fmt: skip


def test_without_a_timeout_nothing_is_due_after_the_wait() -> None:
    at = gate(timeout=None)
    relay = asked(at)
    relay.response_head(429, b"", LATER, ends=False)
    relay.response_end()
    assert relay.time_passed(client_is_slow=False) == [Wake(2.0)]
    at.now = 2.0
    assert relay.time_passed(client_is_slow=False) == [Wake(None), Open(UPSTREAM)]


@pytest.mark.parametrize("ended", [False, True])
def test_a_client_that_leaves_meanwhile(ended: bool) -> None:
    at = gate()
    relay = asked(at)
    relay.response_head(429, b"", LATER, ends=False)
    if ended:
        relay.response_end()
    effects = relay.client_gone()
    recorded(effects, relay)
    assert effects[-1] == Finish(keep_open=False)
    assert [(event.attempt, event.status, event.end_reason, event.cost_source) for event in at.events] == [
        (1, 429, "retried", "not_billed"), (2, None, "client_abort", "not_billed"),
    ]  # fmt: skip
    assert relay.time_passed(client_is_slow=False) == []


@pytest.mark.parametrize("is_connected", [False, True])
def test_a_body_that_cannot_be_read_is_refused(is_connected: bool) -> None:
    at = gate()
    relay = at.relay()
    relay.request_head(inbound(), ends=False, began=0.0)
    if is_connected:
        relay.connected()
    relay.request_data(BODY[:5])
    effects = relay.request_broken("There is no size.")
    recorded(effects, relay)
    assert effects[0] == AbortRequest()
    (head,) = [effect for effect in effects if isinstance(effect, SendResponse)]
    assert (head.status, dict(head.headers)[b"x-metrion-error"]) == (400, b"bad_request")
    assert [(event.status, event.end_reason, event.error_type, event.cost_source) for event in at.events] == [
        (400, "refused", "bad_request", "not_billed"),
    ]  # fmt: skip
    assert relay.state is State.UNREAD


def test_a_body_that_breaks_when_the_answer_has_begun_ends_everything() -> None:
    at = gate()
    relay = asking(at)
    relay.response_head(200, b"OK", JSON, ends=False)
    effects = relay.request_broken("There is no size.")
    recorded(effects, relay)
    assert AbortResponse() in effects
    assert not any(isinstance(effect, SendResponse) for effect in effects)
    assert [event.end_reason for event in at.events] == ["client_abort"]


def test_without_the_policy_everything_is_handed_on() -> None:
    for policies in (None, Policies()):
        at = Gate(forward(timeout=30.0, policies=policies))
        relay = asked(at)
        assert not relay.may_send_again
        assert relay.response_head(429, b"", LATER, ends=False) == [SendResponse(429, b"", LATER)]


# --- falling back -----------------------------------------------------------------------------------------------------

THERE = Origin("https", "api.mistral.ai", 443)
THEIRS = Head(b"/v1/chat/completions", ((b"host", b"api.mistral.ai"), (b"content-length", b"19")))


def falling(*steps: Step, retries: Retries | None = None) -> Gate:
    def elsewhere(first: Forward, step: Step, model: str | None) -> Forward | None:
        assert model == (step.model or "gpt-4o")
        if step.provider == "nowhere":
            return None
        if step.provider is None:
            return first
        route = replace(first.route, provider="mistral", upstream=THERE)
        return replace(first, route=route, wire=THEIRS, policies=None)

    policies = Policies(fallback=Fallback("ladder", steps), retries=retries)
    return Gate(forward(timeout=30.0, policies=policies), elsewhere=elsewhere)


def test_a_request_goes_elsewhere_once_it_is_not_sent_again() -> None:
    at = falling(
        Step(None, "nowhere"),
        Step("small", "mistral"),
        Step("tiny"),
        Step(None, "mistral"),
        retries=Retries("calm", attempts=2),
    )
    relay = asked(at)
    relay.response_head(429, b"", LATER, ends=False)
    relay.response_end()
    goes_again(relay, at, 2.0)
    relay.response_head(503, b"", LATER, ends=False)
    assert relay.response_end() == [Wake(0.0)]
    assert relay.time_passed(client_is_slow=False)[1] == Open(THERE)
    sent, data, _ = relay.connected()
    theirs = Head(b"/v1/chat/completions", ((b"host", b"api.mistral.ai"), (b"content-length", b"18")))
    assert (sent, data) == (SendRequest(b"POST", theirs, ends=False), SendRequestData(b'{"model": "small"}'))
    relay.response_head(429, b"", LATER, ends=False)
    assert relay.response_end() == [Wake(0.0)]
    assert relay.time_passed(client_is_slow=False)[1] == Open(UPSTREAM)
    assert relay.connected()[1] == SendRequestData(b'{"model": "tiny"}')
    for _ in range(2):
        relay.response_head(429, b"", LATER, ends=True)
        relay.response_end()
        at.now += 2.0
        relay.time_passed(client_is_slow=False)
        sent, data, _ = relay.connected()
    assert (sent, data) == (SendRequest(b"POST", THEIRS, ends=False), SendRequestData(BODY))
    answered(relay)
    assert [(event.attempt, event.provider, event.status, event.end_reason) for event in at.events] == [
        (1, "openai", 429, "retried"), (2, "openai", 503, "retried"), (3, "mistral", 429, "retried"),
        (4, "openai", 429, "retried"), (5, "openai", 429, "retried"), (6, "mistral", 200, "complete"),
    ]  # fmt: skip
    assert at.events[-1].policy == {"ladder": "fallback: to mistral"}
    assert at.events[-1].model_requested == "gpt-4o"
    assert at.counted == 1


def test_the_last_step_is_handed_on_and_so_is_what_may_have_been_done() -> None:
    at = falling(Step("small"))
    relay = asked(at)
    relay.response_head(429, b"", ((b"retry-after", b"31536000"),), ends=True)
    relay.response_end()
    relay.time_passed(client_is_slow=False)
    relay.connected()
    assert relay.response_head(429, b"", JSON, ends=False) == [SendResponse(429, b"", JSON)]
    relay = asked(falling(Step("small")))
    assert isinstance(relay.upstream_failed(CLOSED)[1], SendResponse)
    relay = opening(falling(Step("small")))
    assert relay.upstream_failed(CLOSED) == [Wake(0.0)]


@pytest.mark.parametrize(("status", "kept"), [(200, 1), (429, 0)], ids=["its own answer", "another model's"])
def test_only_what_was_asked_for_is_kept_in_the_cache(status: int, kept: int) -> None:
    cache, at = Kept(), falling(Step("small"))
    policies = Policies(fallback=Fallback("ladder", (Step("small"),)), cache=Cache("memory", always=True))
    at.cache, at.decision = cache, forward(timeout=30.0, policies=policies)
    relay = opening(at)
    relay.connected()
    if status != 200:
        relay.response_head(status, b"", JSON, ends=True)
        relay.response_end()
        relay.time_passed(client_is_slow=False)
        relay.connected()
    answered(relay)
    assert (len(at.events), len(cache.answers)) == (2 - kept, kept)


def test_a_body_that_nobody_reads_goes_nowhere_with_another_model() -> None:
    at = falling(Step("small"))
    at.elsewhere = lambda first, *_: first
    relay = at.relay()
    relay.request_head(inbound(), ends=False, began=0.0)
    relay.request_data(b'{"model": "gpt-4o", "model": "gpt-4o"}')
    relay.request_end()
    relay.connected()
    assert relay.response_head(429, b"", JSON, ends=False) == [SendResponse(429, b"", JSON)]
