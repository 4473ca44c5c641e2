"""What waits for a body, and what becomes of it: a gate that decides by it, on the way of a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metrion.admission.codes import BODY_TOO_LARGE, NOT_ALLOWED, RATE_LIMITED
from metrion.model import EndReason, Forward, Head, Refusal
from metrion.relay.effects import (
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
from metrion.relay.held_body import MOST_HELD, MOST_HELD_TOGETHER, HeldBody, Room
from metrion.relay.relay import UNREAD_BODY_SECONDS, Relay
from metrion.relay.states import State
from tests.relay.ways import JSON, UPSTREAM, WIRE, Gate, forward, inbound, recorded

BODY = b'{"model": "gpt-4o"}'
OTHER_HEAD = Head(b"/v1/other", WIRE.headers)
ALLOWED: Callable[[Forward], Forward | Refusal] = lambda given: given  # noqa: E731 -- one of three decisions


def refusing(given: Forward) -> Refusal:
    return Refusal.of_routed(given.route, NOT_ALLOWED, "Not this one.", caller=given.caller)


def too_large(given: Forward) -> Refusal:
    return Refusal.of_routed(given.route, BODY_TOO_LARGE, "Too large.", caller=given.caller)


def waiting(gate: Gate, *headers: tuple[bytes, bytes]) -> Relay:
    relay = gate.relay()
    assert Open(UPSTREAM) not in relay.request_head(inbound(b"POST", *headers), ends=False, began=0.0)
    assert relay.state is State.HOLDING
    assert relay.reads_body
    return relay


def answer(effects: Effects) -> tuple[int, bool]:
    """The status that the client gets, and whether its connection goes on."""
    (head,) = [effect for effect in effects if isinstance(effect, SendResponse)]
    return head.status, (b"connection", b"close") not in head.headers


def test_a_body_that_is_allowed_goes_out_as_it_came() -> None:
    gate = Gate(judged=ALLOWED)
    relay = waiting(gate)
    assert relay.request_data(BODY[:9]) == []
    assert gate.counted == 0
    assert relay.request_data(BODY[9:]) == []
    assert relay.request_end(((b"x-sum", b"1"),)) == [Open(UPSTREAM)]
    assert [asked.models for asked in gate.asked] == [("gpt-4o",)]
    assert gate.counted == 1
    assert relay.connected() == [
        SendRequest(b"POST", WIRE, ends=False),
        SendRequestData(BODY),
        EndRequest(((b"x-sum", b"1"),)),
    ]
    assert gate.room.left == MOST_HELD_TOGETHER


def test_what_the_gate_makes_of_a_request_goes_out() -> None:
    gate = Gate(judged=lambda _: forward(wire=OTHER_HEAD))
    relay = waiting(gate)
    relay.request_data(BODY)
    relay.request_end()
    assert relay.connected()[0] == SendRequest(b"POST", OTHER_HEAD, ends=False)
    assert relay.decision is relay.attempt.request.decision


def test_a_body_that_is_refused_goes_nowhere() -> None:
    gate = Gate(judged=refusing)
    relay = waiting(gate)
    relay.request_data(BODY)
    effects = relay.request_end()
    assert effects[0] == Record(EndReason.REFUSED)
    assert answer(effects) == (403, True)
    assert effects[-3:] == [EndResponse(), Wake(None), Finish(keep_open=True)]
    assert not any(isinstance(effect, Open | SendRequest) for effect in effects)
    recorded(effects, relay)
    (event,) = gate.events
    assert (event.status, event.end_reason, event.error_type) == (403, "refused", "not_allowed")
    assert (event.model_requested, event.cost_source) == (None, "not_billed")
    assert (event.account, event.token_name) == ("default", "tests")
    assert gate.counted == 0
    assert gate.room.left == MOST_HELD_TOGETHER
    assert relay.request_data(b"x") == relay.request_end() == relay.client_gone() == relay.connected() == []


def test_a_limit_is_counted_last() -> None:
    given = forward()
    gate = Gate(judged=ALLOWED, limited=Refusal.of_routed(given.route, RATE_LIMITED, "Slow.", caller=given.caller))
    relay = waiting(gate)
    relay.request_data(BODY)
    assert answer(relay.request_end()) == (429, True)
    assert gate.counted == 1


def test_100_continue_comes_before_the_body_is_asked_for() -> None:
    relay = Gate(judged=refusing).relay()
    effects = relay.request_head(inbound(b"POST", (b"expect", b"100-continue")), ends=False, began=0.0)
    assert effects == [SendInterim(100, b"Continue", ())]
    relay.request_data(BODY)
    assert answer(relay.request_end()) == (403, True)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-encoding", b"gzip")],
        [(b"content-type", b"multipart/form-data; boundary=x")],
        [(b"content-length", b"%d" % (MOST_HELD + 1))],
    ],
)
def test_what_nobody_can_read_is_decided_by_its_head(headers: list[tuple[bytes, bytes]]) -> None:
    gate = Gate(judged=refusing)
    relay = gate.relay()
    effects = relay.request_head(inbound(b"POST", (b"expect", b"100-continue"), *headers), ends=False, began=0.0)
    assert answer(effects) == (403, False)
    assert not any(isinstance(effect, SendInterim) for effect in effects)
    assert gate.asked[0].unread
    gate = Gate(judged=ALLOWED)
    assert gate.relay().request_head(inbound(b"POST", *headers), ends=False, began=0.0) == [Open(UPSTREAM)]
    assert gate.counted == 1


def test_a_request_without_a_body_asks_for_nothing() -> None:
    gate = Gate(judged=ALLOWED)
    assert gate.relay().request_head(inbound(), ends=True, began=0.0) == [Open(UPSTREAM)]
    assert (gate.asked[0].models, gate.asked[0].unread) == ((), None)
    assert gate.counted == 1


def test_a_request_that_needs_no_body_is_not_asked_about() -> None:
    gate = Gate()
    assert gate.relay().request_head(inbound(), ends=False, began=0.0) == [Open(UPSTREAM)]
    assert (gate.asked, gate.counted) == ([], 1)


PIECE = bytes(1 << 20)


@pytest.mark.parametrize("by_shell", [False, True])
def test_a_body_that_is_larger_than_is_held_is_refused(*, by_shell: bool) -> None:
    """``by_shell``: whoever owns the connections holds it, and says how much there is."""
    gate = Gate(judged=too_large)
    relay = waiting(gate)
    for held in range(MOST_HELD // len(PIECE)):
        assert relay.request_held((held + 1) << 20) == [] if by_shell else relay.request_data(PIECE) == []
    assert gate.room.left == MOST_HELD_TOGETHER - MOST_HELD
    effects = relay.request_held(MOST_HELD + 1) if by_shell else relay.request_data(b"x")
    assert answer(effects) == (413, False)
    assert effects[-1] == Wake(UNREAD_BODY_SECONDS)
    assert gate.asked[0].too_large
    assert gate.room.left == MOST_HELD_TOGETHER
    assert relay.request_end() == [Wake(None), Finish(keep_open=False)]


def test_a_body_that_is_larger_than_is_held_goes_on_where_that_is_allowed() -> None:
    gate = Gate(judged=ALLOWED, room=Room(10))
    relay = waiting(gate)
    assert relay.request_data(b"0123456789") == []
    assert relay.request_data(b"a") == [Open(UPSTREAM)]
    assert relay.connected() == [SendRequest(b"POST", WIRE, ends=False), SendRequestData(b"0123456789a")]
    assert relay.request_data(b"b") == [SendRequestData(b"b")]
    assert gate.room.left == 10


def test_bodies_share_their_room() -> None:
    room = Room(10)
    first, second = Gate(judged=too_large, room=room), Gate(judged=too_large, room=room)
    one, other = waiting(first), waiting(second)
    assert one.request_data(b"123456") == []
    assert answer(other.request_data(b"12345")) == (413, False)
    third = waiting(second)
    assert third.request_data(b"1234") == []
    assert room.left == 0
    one.client_gone()
    assert room.left == 6
    assert third.request_data(b"123456") == []


@pytest.mark.parametrize(
    "end",
    [
        lambda relay: relay.client_gone(),
        lambda relay: relay.upstream_failed("closed"),
        lambda relay: relay.request_end() + relay.connected(),
        lambda relay: relay.request_end() + relay.client_gone(),
        lambda relay: relay.request_end() + relay.upstream_failed(None),
        lambda relay: relay.response_head(200, b"OK", JSON, ends=True) + relay.response_end(),
        lambda relay: relay.cut(EndReason.UPSTREAM_ERROR),
    ],
)
def test_room_is_given_back_however_a_request_ends(end: Callable[[Relay], Effects]) -> None:
    gate = Gate(judged=ALLOWED)
    relay = waiting(gate)
    relay.request_data(BODY)
    assert gate.room.left == MOST_HELD_TOGETHER - len(BODY)
    end(relay)
    assert gate.room.left == MOST_HELD_TOGETHER


def test_a_client_that_leaves_while_its_body_is_held_has_asked_nobody() -> None:
    gate = Gate(judged=refusing)
    relay = waiting(gate)
    relay.request_data(BODY)
    effects = relay.client_gone()
    assert AbortResponse() in effects
    recorded(effects, relay)
    assert [(event.status, event.end_reason, event.cost_source) for event in gate.events] == [
        (None, "client_abort", "not_billed")
    ]
    assert gate.asked == []


def test_a_held_body() -> None:
    held = HeldBody(Room(3))
    held.add(b"a")
    held.add(b"b")
    assert held.fits()
    assert (held.whole, held.whole) == (b"ab", b"ab")
    assert not held.fits(4)
    assert held.take() == b"ab"
    assert held.take() == b""
    held.replace(b"new")
    assert held.take() == b"new"


def test_the_answer_to_head_has_no_body() -> None:
    gate = Gate(judged=refusing)
    relay = gate.relay()
    relay.request_head(inbound(b"HEAD"), ends=False, began=0.0)
    relay.request_data(b"{}")
    assert not any(isinstance(effect, SendResponseData) for effect in relay.request_end())
