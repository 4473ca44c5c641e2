"""The way of a request, as tables: what comes in, and what goes out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from metrion.admission.codes import MISSING_TOKEN
from metrion.model import Answer, EndReason, ErrorShape, Head, Refusal
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effect,
    Effects,
    EndRequest,
    EndResponse,
    Estimate,
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
from metrion.relay.relay import UNREAD_BODY_BYTES, UNREAD_BODY_SECONDS, Relay
from metrion.relay.states import BEGUN, NEXT, UNDER_WAY, Input, State
from tests.relay.ways import (
    JSON,
    SSE,
    UPSTREAM,
    WIRE,
    Gate,
    answering,
    asked,
    asking,
    begun,
    forward,
    inbound,
    recorded,
)

COMPLETE, ABORT = Record(EndReason.COMPLETE), Record(EndReason.CLIENT_ABORT)
LENGTH = (*JSON, (b"content-length", b"4"))
DONE = b"data: [DONE]\n\n"
INTERIM = SendInterim(103, b"Early Hints", ())
OVER: Effects = [Wake(None), Finish()]
CUT: Effects = [AbortResponse(), Wake(None), Finish(keep_open=False)]
GONE: Effects = [ABORT, AbortRequest(), *CUT]


def kinds(effects: Effects) -> list[type[Effect]]:
    return [type(effect) for effect in effects]


# --- from the head to the last byte -----------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    relay = Gate().relay()
    assert relay.request_head(inbound(), ends=False, began=0.0) == [Open(UPSTREAM)]
    assert relay.request_data(b"{") == []
    assert not relay.reads_body
    assert relay.connected() == [SendRequest(b"POST", WIRE, ends=False), SendRequestData(b"{")]
    assert relay.reads_body
    assert relay.request_data(b"}") == [SendRequestData(b"}")]
    assert relay.request_end() == [EndRequest()]
    assert relay.response_head(200, b"OK", LENGTH, ends=False) == [SendResponse(200, b"OK", LENGTH)]
    assert relay.response_data(b"{}") == [SendResponseData(b"{}")]
    assert relay.response_data(b"  ") == [COMPLETE, SendResponseData(b"  ")]
    relay.attempt.finish(EndReason.COMPLETE)
    assert relay.response_end() == [EndResponse(), *OVER]
    assert relay.state is State.OVER


def test_a_request_that_is_whole_before_there_is_a_connection() -> None:
    relay = begun(Gate())
    assert relay.request_data(b"{}") + relay.request_end(((b"x-sum", b"1"),)) == []
    assert relay.connected() == [
        SendRequest(b"POST", WIRE, ends=False),
        SendRequestData(b"{}"),
        EndRequest(((b"x-sum", b"1"),)),
    ]


def test_a_request_without_a_body() -> None:
    relay = begun(Gate(), method=b"GET", ends=True)
    assert relay.connected() == [SendRequest(b"GET", WIRE, ends=True), EndRequest()]
    assert relay.response_head(204, b"No Content", (), ends=True) == [
        COMPLETE,
        SendResponse(204, b"No Content", (), ends=True),
    ]


@pytest.mark.parametrize(
    ("headers", "pieces", "at"),
    [
        (LENGTH, [b"ab", b"cd"], 1),
        (JSON, [b"ab", b"cd"], None),
        (SSE, [b"data: {}\n\n", DONE, b": trailing\n\n"], 1),
        (SSE, [b"data: {}\n\n" + DONE], 0),
        (SSE, [b"data: [DO", b"NE]\n", b"\n"], 2),
        (SSE, [b"data: {}\n\n"], None),
    ],
    ids=["length", "to the end", "done", "in one", "cut", "no done"],
)
def test_the_event_comes_before_the_bytes_that_complete_the_response(
    headers: tuple[tuple[bytes, bytes], ...], pieces: list[bytes], at: int | None
) -> None:
    """``None``: with the end of the body."""
    gate = Gate()
    relay = answering(gate, headers)
    for number, piece in enumerate(pieces):
        effects = relay.response_data(piece)
        assert effects == [*([COMPLETE] if number == at else []), SendResponseData(piece)]
        recorded(effects, relay)
    effects = relay.response_end()
    assert effects == [*([COMPLETE] if at is None else []), EndResponse(), *OVER]
    recorded(effects, relay)
    assert [event.end_reason for event in gate.events] == ["complete"]


# --- what goes out, from each state -----------------------------------------------------------------------------------

STATES: dict[State, Callable[[Gate], Relay]] = {
    State.OPENING: begun,
    State.ASKING: asking,
    State.ASKED: asked,
    State.ANSWERING: answering,
}


@pytest.mark.parametrize("state", STATES)
def test_a_client_that_leaves(state: State) -> None:
    relay = STATES[state](Gate())
    assert relay.state is state
    assert relay.client_gone() == GONE
    assert relay.client_gone() == relay.response_end() == relay.upstream_failed("gone") == []


@pytest.mark.parametrize(
    ("state", "whole"), [(State.OPENING, False), (State.ASKING, False), (State.ASKED, True)], ids=lambda of: str(of)
)
def test_an_upstream_that_fails_before_its_answer(state: State, whole: bool) -> None:
    gate = Gate()
    relay = STATES[state](gate)
    effects = relay.upstream_failed("connection refused")
    head, data = effects[1], effects[2]
    assert isinstance(head, SendResponse)
    assert isinstance(data, SendResponseData)
    fields = dict(head.headers)
    assert (effects[0], head.status, fields[b"x-metrion-error"]) == (
        Record(EndReason.UPSTREAM_ERROR), 502, b"upstream_unreachable",
    )  # fmt: skip
    assert json.loads(data.data)["error"]["message"] == (
        "No usable answer from openai at https://api.openai.com: connection refused."
    )
    assert fields[b"connection"] == b"close"
    assert (fields.get(b"x-should-retry") == b"false") is whole
    after: Effects = [Wake(None), Finish(keep_open=False)] if whole else [Wake(UNREAD_BODY_SECONDS)]
    assert effects[3:] == [EndResponse(), *after]


def test_what_is_no_http_is_not_quoted() -> None:
    _, _, data, *_ = asked(Gate()).upstream_failed(None)
    assert isinstance(data, SendResponseData)
    assert b"what it sent is not HTTP" in data.data


def test_an_upstream_that_fails_within_its_answer() -> None:
    assert answering(Gate()).upstream_failed("gone") == [Record(EndReason.UPSTREAM_ERROR), *CUT]


def test_interim_responses_pass_until_there_is_a_final_one() -> None:
    relay = asked(Gate())
    assert relay.interim(100, b"Continue", ()) == []
    assert relay.interim(103, b"Early Hints", ()) == [INTERIM]
    relay.response_head(200, b"OK", JSON, ends=False)
    assert relay.interim(103, b"Early Hints", ()) == []


def test_continue_is_said_to_a_client_that_expects_it_and_is_let_through() -> None:
    expecting = inbound(b"POST", (b"Expect", b"100-Continue"))
    said = SendInterim(100, b"Continue", ())
    assert Gate().relay().request_head(expecting, ends=False, began=0.0) == [said, Open(UPSTREAM)]
    refused = Gate(Refusal(MISSING_TOKEN, "No token.", "openai")).relay()
    assert SendInterim not in kinds(refused.request_head(expecting, ends=False, began=0.0))


@pytest.mark.parametrize("ends", [False, True])
def test_an_answer_before_the_request_is_over(ends: bool) -> None:
    relay = asking(Gate())
    effects = relay.response_head(307, b"Temporary Redirect", (), ends=ends)
    assert effects == [*([COMPLETE] if ends else []), SendResponse(307, b"Temporary Redirect", (), ends)]
    recorded(effects, relay)
    record = [] if ends else [COMPLETE]
    assert relay.response_end() == [*record, EndResponse(), AbortRequest(), Wake(UNREAD_BODY_SECONDS)]
    assert relay.request_data(b"x") == []
    assert relay.request_end() == [Wake(None), Finish(keep_open=False)]


@pytest.mark.parametrize("asks", [False, True])
def test_a_switch_of_protocols(asks: bool) -> None:
    headers = ((b"upgrade", b"WebSocket"),) if asks else ()
    relay = Gate().relay()
    relay.request_head(inbound(b"GET", *headers), ends=True, began=0.0)
    relay.connected()
    effects = relay.response_head(101, b"Switching Protocols", (), ends=True)
    if asks:
        assert effects == [Wake(None), SendResponse(101, b"Switching Protocols", (), ends=True)]
        assert relay.time_passed(client_is_slow=False) == relay.response_end() == []
        assert relay.session_end(EndReason.COMPLETE) == [COMPLETE, Finish(keep_open=False)]
    else:
        assert effects[:2] == [AbortRequest(), Record(EndReason.UPSTREAM_ERROR)]
        assert isinstance(effects[2], SendResponse)
        assert effects[2].status == 502


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSAL = Refusal(MISSING_TOKEN, "No Metrion token.", "openai", ErrorShape.OPENAI)


@pytest.mark.parametrize("by_limits", [False, True])
@pytest.mark.parametrize("ends", [False, True])
def test_a_refusal_comes_at_once(ends: bool, by_limits: bool) -> None:
    gate = Gate(limited=REFUSAL) if by_limits else Gate(REFUSAL)
    relay = gate.relay()
    record, head, data, end, *after = relay.request_head(inbound(), ends=ends, began=0.0)
    assert (record, end) == (Record(EndReason.REFUSED), EndResponse())
    assert isinstance(head, SendResponse)
    assert isinstance(data, SendResponseData)
    assert (head.status, head.reason, json.loads(data.data)["error"]["code"]) == (401, b"Unauthorized", "missing_token")
    assert (dict(head.headers).get(b"connection") == b"close") is not ends
    assert after == (OVER if ends else [Wake(UNREAD_BODY_SECONDS)])
    assert gate.counted == by_limits


def test_trouble_refuses_what_would_pass_and_counts_nothing() -> None:
    gate = Gate()
    effects = gate.relay().request_head(inbound(), ends=True, began=0.0, trouble=lambda _: REFUSAL)
    assert effects[0] == Record(EndReason.REFUSED)
    assert gate.counted == 0


def test_a_head_request_gets_no_body() -> None:
    effects = Gate(REFUSAL).relay().request_head(inbound(b"HEAD"), ends=True, began=0.0)
    assert kinds(effects) == [Record, SendResponse, EndResponse, Wake, Finish]


@pytest.mark.parametrize(
    ("then", "out"),
    [
        (lambda relay: relay.request_data(b"x" * UNREAD_BODY_BYTES), []),
        (lambda relay: relay.request_data(b"x" * (UNREAD_BODY_BYTES + 1)), [Wake(None), *CUT[:1], CUT[2]]),
        (lambda relay: relay.unread(UNREAD_BODY_BYTES + 1), [Wake(None), *CUT[:1], CUT[2]]),
        (lambda relay: relay.time_passed(client_is_slow=False), [Wake(None), *CUT[:1], CUT[2]]),
        (lambda relay: relay.client_gone(), [Wake(None), *CUT[:1], CUT[2]]),
        (lambda relay: relay.request_end(), [Wake(None), Finish(keep_open=False)]),
    ],
    ids=["within bounds", "too long", "too long on the wire", "too late", "gone", "over"],
)
def test_what_is_left_of_a_refused_request_is_dropped_within_bounds(
    then: Callable[[Relay], Effects], out: Effects
) -> None:
    assert then(begun(Gate(REFUSAL))) == out


def test_an_answer_of_ones_own_has_no_event() -> None:
    gate = Gate(Answer(200, ((b"content-length", b"2"),), b"ok"))
    effects = gate.relay().request_head(inbound(b"GET"), ends=True, began=0.0)
    assert kinds(effects) == [SendResponse, SendResponseData, EndResponse, Wake, Finish]
    assert gate.events == []


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_time_passes_again_and_again_as_long_as_bytes_come() -> None:
    gate = Gate(forward(timeout=30))
    relay = gate.relay()
    assert relay.request_head(inbound(), ends=False, began=0.0) == [Wake(30), Open(UPSTREAM)]
    relay.connected()
    gate.now = 10.0
    relay.request_data(b"{}")
    gate.now = 30.0
    assert relay.time_passed(client_is_slow=False) == [Wake(10.0)]
    gate.now = 41.0
    assert relay.time_passed(client_is_slow=True) == [Wake(30)]
    assert relay.time_passed(client_is_slow=False)[:2] == [AbortRequest(), Record(EndReason.TIMEOUT)]


@pytest.mark.parametrize(("state", "whole"), [(State.OPENING, False), (State.ASKING, False), (State.ASKED, True)])
def test_a_silent_provider_is_a_504(state: State, whole: bool) -> None:
    gate = Gate(forward(timeout=30))
    relay = STATES[state](gate)
    gate.now = 31.0
    abort, record, head, *_ = relay.time_passed(client_is_slow=False)
    assert (abort, record) == (AbortRequest(), Record(EndReason.TIMEOUT))
    assert isinstance(head, SendResponse)
    fields = dict(head.headers)
    assert (head.status, fields[b"x-metrion-error"], fields[b"x-should-retry"]) == (504, b"timeout", b"false")


@pytest.mark.parametrize(
    ("headers", "piece", "takes_words"),
    [
        (SSE, b"data: {}\n\n", True),
        (SSE, b"data: {}\r\n\r\n", True),
        (SSE, b"data: {", False),
        ((*SSE, (b"content-length", b"99")), b"data: {}\n\n", False),
        ((*SSE, (b"content-encoding", b"gzip")), b"data: {}\n\n", False),
        (JSON, b"{\n\n", False),
    ],
    ids=["between events", "CRLF", "within an event", "with a length", "encoded", "no stream"],
)
def test_a_stalled_stream_ends_with_words_where_it_can(
    headers: tuple[tuple[bytes, bytes], ...], piece: bytes, takes_words: bool
) -> None:
    gate = Gate(forward(timeout=30))
    relay = answering(gate, headers)
    relay.response_data(piece)
    gate.now = 31.0
    abort, record, *after = relay.time_passed(client_is_slow=False)
    assert (abort, record) == (AbortRequest(), Record(EndReason.TIMEOUT))
    if takes_words:
        words, *end = after
        assert isinstance(words, SendResponseData)
        assert b'"code": "timeout"' in words.data
        assert end == [EndResponse(), *OVER]
    else:
        assert after == CUT


# --- estimates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "after"),
    [
        (lambda relay: relay.response_end(), [COMPLETE, EndResponse(), *OVER]),
        (lambda relay: relay.client_gone(), GONE),
        (lambda relay: relay.upstream_failed("gone"), [Record(EndReason.UPSTREAM_ERROR), *CUT]),
    ],
    ids=["complete", "left", "failed"],
)
def test_an_estimate_comes_before_the_event(
    end: Callable[[Relay], Effects], after: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = answering(Gate())
    monkeypatch.setattr(relay.attempt, "wants_estimate", lambda _: True)
    assert end(relay) == [Estimate(), *after]


def test_a_deadline_does_not_pass_while_an_estimate_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(forward(timeout=30))
    relay = answering(gate)
    gate.now = 31.0
    monkeypatch.setattr(type(relay.attempt), "is_estimating", True)
    assert relay.time_passed(client_is_slow=False) == [Wake(30)]


# --- rewrites ---------------------------------------------------------------------------------------------------------

ASKS = b'{"model": "gpt-4o", "stream": true}'
INJECTED = b'{"model": "gpt-4o", "stream": true,"stream_options":{"include_usage":true}}'
INJECTING = Head(WIRE.target, (*WIRE.headers, (b"content-length", b"%d" % len(ASKS))))
CHUNK = b'data: {"id": "c", "choices": [{"index": 0}], "usage": null}\n\n'
USAGE = b'data: {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'


def injecting() -> Relay:
    relay = Gate(forward(inject=True, wire=INJECTING)).relay()
    assert relay.request_head(inbound(), ends=False, began=0.0) == []
    return relay


def test_a_rewrite_holds_the_request_and_filters_the_response() -> None:
    relay = injecting()
    assert relay.request_data(ASKS[:9]) + relay.request_data(ASKS[9:]) == []
    assert relay.request_end() == [Open(UPSTREAM)]
    send, data, end = relay.connected()
    assert isinstance(send, SendRequest)
    headers = dict(send.head.headers)
    assert (headers[b"content-length"], headers[b"accept-encoding"]) == (b"%d" % len(INJECTED), b"identity")
    assert (data, end) == (SendRequestData(INJECTED), EndRequest())
    head = relay.response_head(200, b"OK", (*SSE, (b"content-length", b"9")), ends=False)
    assert head == [SendResponse(200, b"OK", (*SSE, (b"transfer-encoding", b"chunked")))]
    assert relay.response_data(CHUNK) == [SendResponseData(CHUNK.replace(b', "usage": null', b""))]
    assert relay.response_data(USAGE) == []
    assert relay.response_data(b"data: [DONE]\n") == []
    assert relay.response_end() == [COMPLETE, SendResponseData(b"data: [DONE]\n"), EndResponse(), *OVER]


def test_a_body_with_nothing_to_rewrite_leaves_the_response_alone() -> None:
    relay = injecting()
    relay.request_data(b'{"model": "gpt-4o"}')
    relay.request_end()
    send, data, _ = relay.connected()
    assert (send, data) == (SendRequest(b"POST", INJECTING, ends=False), SendRequestData(b'{"model": "gpt-4o"}'))
    relay.response_head(200, b"OK", SSE, ends=False)
    assert relay.response_data(USAGE) == [SendResponseData(USAGE)]


def test_a_body_too_long_to_be_held_goes_out_as_it_came() -> None:
    relay = injecting()
    assert relay.request_data(b"x" * (32 << 20)) == []
    assert relay.request_data(b"yz") == [Open(UPSTREAM)]
    _, data = relay.connected()
    assert isinstance(data, SendRequestData)
    assert (len(data.data), data.data[-2:]) == ((32 << 20) + 2, b"yz")


def test_a_response_that_is_not_in_its_coding_is_cut() -> None:
    relay = injecting()
    relay.request_data(ASKS)
    relay.request_end()
    relay.connected()
    relay.response_head(200, b"OK", (*SSE, (b"content-encoding", b"gzip")), ends=False)
    assert relay.response_data(gzip.compress(CHUNK)[:20]) == []
    effects = relay.response_data(b"no gzip at all, whatever the head says")
    assert effects == [AbortRequest(), Record(EndReason.UPSTREAM_ERROR), *CUT]


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "added"),
    [
        ((), b"https://a.example", False),
        (("https://a.example",), b"https://a.example", True),
        (("https://a.example",), b"https://b.example", False),
        (("*",), b"https://b.example", True),
    ],
)
def test_a_page_may_see_the_response_where_its_origin_is_allowed(
    origins: tuple[str, ...], origin: bytes, added: bool
) -> None:
    relay = Gate(cors_origins=origins).relay()
    relay.request_head(inbound(b"POST", (b"origin", origin)), ends=True, began=0.0)
    relay.connected()
    (head,) = relay.response_head(200, b"OK", JSON, ends=False)
    assert isinstance(head, SendResponse)
    assert (dict(head.headers).get(b"access-control-allow-origin") == origin) is added


# --- the table of states ----------------------------------------------------------------------------------------------


def test_the_table_has_no_way_back_and_no_dead_end() -> None:
    assert {state for state, _ in NEXT} | set(NEXT.values()) == set(State) - {State.NEW}
    assert not any(state in (State.OVER, State.UPGRADED, State.NEW) for state, _ in NEXT)
    assert BEGUN < UNDER_WAY
    assert {event for _, event in NEXT} == set(Input)


@pytest.mark.parametrize("state", list(STATES))
def test_what_comes_out_of_turn_changes_nothing(state: State) -> None:
    relay = STATES[state](Gate())
    if (state, Input.RESPONSE_END) not in NEXT:
        assert relay.response_end() == []
        assert relay.response_data(b"x") == []
    if state is not State.OPENING:
        assert relay.connected() == []
    assert relay.session_end(EndReason.COMPLETE) == []
    assert relay.state is state
