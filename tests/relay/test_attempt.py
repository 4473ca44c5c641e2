"""What an attempt observes of what passes, and the one event that it writes: the parts, without a relay."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from metrion import estimates
from metrion.admission.codes import MISSING_TOKEN
from metrion.endpoints import BATCH, FILES, REALTIME, RESPONSES
from metrion.model import Cost, EndReason, Event, Forward, Headers, Reading, Refusal, Usage
from metrion.pricing import PriceBook
from metrion.relay import attempt as module
from metrion.relay.attempt import Attempt
from metrion.relay.pending_estimate import Estimation, needed_estimation
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request
from tests.relay.ways import JSON, SSE, Nothing, forward, inbound

COMPLETE = EndReason.COMPLETE
ANSWER = b'{"id": "c1", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}'
NO_PRICES = PriceBook({}, "none")


class Unasked(Nothing):
    """Generations of which nobody here has asked for one."""

    def expects(self, *what: str) -> bool:
        return not what


@dataclass
class Journal:
    """What an attempt needs: a clock, and somebody who takes its events."""

    now: float = 10.0
    events: list[Event] = field(default_factory=list)
    generations: Nothing = field(default_factory=Nothing)

    def recorder(self) -> Recorder:
        return Recorder(NO_PRICES, lambda event, _: self.events.append(event), self.generations)

    def attempt(self, decision: Forward | Refusal | None = None, *, method: bytes = b"POST") -> Attempt:
        request = Request(inbound(method), decision or forward(), began=self.now)
        return Attempt(request, self.recorder(), clock=lambda: self.now)

    @property
    def event(self) -> Event:
        (event,) = self.events
        return event


def answered(journal: Journal, headers: Headers = JSON, *, status: int = 200) -> Attempt:
    """An attempt whose response has begun."""
    attempt = journal.attempt()
    decision = attempt.request.decision
    assert isinstance(decision, Forward)
    attempt.request_head_sent()
    attempt.request_data(b'{"model": "gpt-4o"}')
    attempt.response_head(decision.route, status, headers)
    return attempt


# --- what it observes -------------------------------------------------------------------------------------------------


def test_bytes_and_times_are_those_that_passed() -> None:
    journal = Journal()
    attempt = journal.attempt()
    decision = attempt.request.decision
    assert isinstance(decision, Forward)
    journal.now = 10.5
    attempt.request_data(b'{"model":')
    attempt.request_data(b'"gpt-4o"}')
    attempt.request_head_sent()
    assert attempt.last_activity == 10.5
    journal.now = 12.0
    attempt.response_head(decision.route, 200, (*JSON, (b"X-Request-Id", b"req_1")))
    journal.now = 13.0
    attempt.response_data(ANSWER)
    assert attempt.last_activity == 13.0
    journal.now = 14.0
    attempt.finish(COMPLETE)
    event = journal.event
    assert (event.request_bytes, event.response_bytes) == (18, len(ANSWER))
    assert (event.first_byte_ms, event.latency_ms, event.overhead_ms) == (2000, 4000, 0)
    assert (event.status, event.streamed, event.model_requested, event.model) == (200, False, "gpt-4o", "gpt-4o")
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (7, 5, "reported")


@pytest.mark.parametrize(
    ("headers", "pieces", "complete"),
    [
        ((*JSON, (b"content-length", b"4")), [b"ab", b"cd"], [False, True]),
        ((*JSON, (b"content-length", b"0")), [], []),
        (JSON, [b"ab", b"cd"], [False, False]),
        ((*JSON, (b"content-length", b"four")), [b"abcd"], [False]),
        (SSE, [b"data: {}\n\n", b"data: [DONE]\n\n"], [False, True]),
    ],
    ids=["a length", "none to come", "no length", "no number", "a terminal event"],
)
def test_it_is_complete_with_the_bytes_that_complete_it(
    headers: Headers, pieces: list[bytes], complete: list[bool]
) -> None:
    attempt = answered(Journal(), headers)
    seen = []
    for piece in pieces:
        attempt.response_data(piece)
        seen.append(attempt.is_complete)
    assert seen == complete
    assert pieces or attempt.is_complete


@pytest.mark.parametrize(
    ("headers", "piece", "takes"),
    [
        (SSE, b"", True),
        (SSE, b"data: {}\n\n", True),
        (SSE, b"data: {}\r\n\r\n", True),
        (SSE, b"data: {}\r\r", True),
        (SSE, b"data: {}\n", False),
        ((*SSE, (b"content-encoding", b"identity")), b"", True),
        ((*SSE, (b"content-encoding", b"br")), b"", False),
        ((*SSE, (b"content-length", b"9")), b"", False),
        (JSON, b"", False),
    ],
)
def test_an_event_of_ones_own_fits_between_two_events_only(headers: Headers, piece: bytes, takes: bool) -> None:
    attempt = answered(Journal(), headers)
    attempt.response_data(piece)
    assert attempt.takes_events is takes


# --- its event --------------------------------------------------------------------------------------------------------


def test_whoever_finishes_first_decides_how_it_ended() -> None:
    journal = Journal()
    attempt = answered(journal)
    attempt.response_data(ANSWER)
    attempt.finish(EndReason.CLIENT_ABORT)
    attempt.finish(COMPLETE)
    assert (journal.event.end_reason, journal.event.event_id) == ("client_abort", attempt.id)


def test_an_answer_of_ones_own_is_what_the_client_got() -> None:
    journal = Journal()
    attempt = journal.attempt(Refusal(MISSING_TOKEN, "No token.", "openai"))
    attempt.own_response(Refusal(MISSING_TOKEN, "No token."), 60)
    attempt.finish(EndReason.REFUSED)
    event = journal.event
    assert (event.status, event.error_type, event.response_bytes) == (401, "missing_token", 60)
    assert (event.request_bytes, event.usage_source) == (None, "none")


def test_an_error_within_a_stream_is_how_it_ended() -> None:
    journal = Journal()
    attempt = answered(journal, SSE)
    attempt.response_data(b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n')
    attempt.finish(COMPLETE)
    assert journal.event.end_reason == "stream_error"


def test_a_fault_in_metering_costs_the_event_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ValueError("sk-proj-secret")

    journal = Journal()
    attempt = answered(journal)
    monkeypatch.setattr(Recorder, "event", fault)
    attempt.finish(COMPLETE)
    assert (attempt.finished, journal.events) == (True, [])
    assert "An event could not be measured" in caplog.text
    assert "secret" not in caplog.text


def test_what_a_response_reports_of_an_earlier_request_is_noted() -> None:
    """A background response: nothing is billed yet, and a later GET is to bring the usage."""
    route = replace(forward().route, operation=RESPONSES, dialect="openai_responses")
    journal = Journal()
    attempt = journal.attempt(replace(forward(), route=route))
    attempt.response_head(route, 200, JSON)
    attempt.response_data(b'{"id": "resp_1", "object": "response", "status": "queued", "usage": null}')
    attempt.finish(COMPLETE)
    assert journal.generations.noted == [("expect", "openai", "resp_1")]


def test_no_file_keeps_a_key_that_is_repeated_as_an_id() -> None:
    key = "sk-proj-0123456789abcdefghijklmnop"
    route = replace(forward().route, operation=RESPONSES, dialect="openai_responses")
    journal = Journal()
    attempt = journal.attempt(replace(forward(), route=route, credentials=(key.encode(),)))
    attempt.response_head(route, 200, JSON)
    attempt.response_data(f'{{"id": "resp_{key}", "object": "response", "status": "queued"}}'.encode())
    attempt.finish(COMPLETE)
    assert journal.generations.noted == []
    assert journal.event.generation_id == "resp_***"


# --- estimates --------------------------------------------------------------------------------------------------------


def estimation(monkeypatch: pytest.MonkeyPatch, result: Usage | Exception) -> Estimation:
    def estimate(_: object) -> Usage:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(estimates, "estimate", estimate)
    kept = estimates.Kept()
    return Estimation(
        estimates.EstimateInput(dialect="openai_chat", model="gpt-4o", streamed=True, cut=False, response=kept)
    )


def test_an_estimate_is_in_the_event_of_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    attempt = answered(journal, SSE)
    needed = estimation(monkeypatch, Usage(input_tokens=3, output_tokens=4))
    monkeypatch.setattr(module, "needed_estimation", lambda *_, **__: needed)
    assert not attempt.is_estimating
    assert attempt.wants_estimate(COMPLETE)
    assert attempt.is_estimating
    attempt.estimate()
    attempt.finish(COMPLETE)
    assert not attempt.is_estimating
    assert (journal.event.input_tokens, journal.event.usage_source) == (3, "estimated")


def test_an_estimate_that_fails_leaves_the_tokens_unknown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    attempt = answered(journal, SSE)
    needed = estimation(monkeypatch, ValueError("of a prompt"))
    monkeypatch.setattr(module, "needed_estimation", lambda *_, **__: needed)
    assert attempt.wants_estimate(COMPLETE)
    attempt.estimate()
    attempt.finish(COMPLETE)
    assert (journal.event.input_tokens, journal.event.usage_source) == (None, "none")
    assert "of a prompt" not in caplog.text


def test_what_cannot_be_prepared_is_not_estimated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ValueError

    attempt = answered(Journal(), SSE)
    monkeypatch.setattr(module, "needed_estimation", fault)
    assert not attempt.wants_estimate(COMPLETE)
    assert "An estimate could not be prepared" in caplog.text


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_is_not_estimated(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "needed_estimation", lambda *_, **__: pytest.fail("nothing is to be estimated"))
    assert not answered(Journal(), status=status).wants_estimate(COMPLETE)


def test_nothing_is_estimated_that_was_reported_or_not_kept() -> None:
    def reading() -> Reading:
        return Reading(model="gpt-4o", usage=Usage(input_tokens=1, output_tokens=1), finish_reason="stop")

    request = Request(inbound(), forward(), began=0.0)
    assert needed_estimation(request, reading, NO_PRICES, end_reason=COMPLETE, streamed=False) is None
    request.leave_unread()
    assert (
        needed_estimation(request, lambda: pytest.fail("not read"), NO_PRICES, end_reason=COMPLETE, streamed=True)
        is None
    )


# --- WebSocket sessions -----------------------------------------------------------------------------------------------


def in_session(journal: Journal) -> Attempt:
    route = replace(
        forward().route,
        operation=REALTIME,
        dialect="openai_realtime",
        target=b"/v1/realtime?model=m",
        request_id_headers=(b"x-request-id",),
    )
    attempt = journal.attempt(replace(forward(), route=route), method=b"GET")
    attempt.response_head(route, 101, ((b"x-request-id", b"req_2"),))
    return attempt


def test_each_billed_response_of_a_session_has_an_event_and_the_session_one_more() -> None:
    journal = Journal()
    attempt = in_session(journal)
    done = {"type": "response.done", "response": {"id": "r1", "usage": {"input_tokens": 2, "output_tokens": 3}}}
    attempt.session_message(b'{"type": "response.create"}', from_client=True)
    attempt.session_message(json.dumps(done).encode(), from_client=False)
    attempt.session_data(sent=27, received=90)
    attempt.finish(COMPLETE)
    response, session = journal.events
    assert response.request_id == session.request_id
    assert response.event_id != session.event_id
    assert (response.status, response.input_tokens, response.provider_request_id) == (101, 2, "req_2")
    assert (session.status, session.input_tokens) == (101, None)
    assert (session.request_bytes, session.response_bytes) == (27, 90)


def test_a_fault_in_a_session_leaves_its_messages_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> None:
        raise ValueError

    journal = Journal()
    attempt = in_session(journal)
    monkeypatch.setattr(Recorder, "session_event", fault)
    with caplog.at_level(logging.ERROR):
        attempt.session_message(
            b'{"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": 2, "output_tokens": 3}}}',
            from_client=False,
        )
    assert "its session goes on undisturbed" in caplog.text
    assert journal.events == []


# --- limits, and files that may be a batch's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_client", "source", "usd"), [(True, "not_billed", 0), (False, "unknown", None)], ids=["client", "provider"]
)
def test_what_passes_unread_of_a_provider_may_have_been_billed(
    from_client: bool, source: str, usd: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    attempt = in_session(journal)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            attempt.session_unread("a message is too large", from_client=from_client)
    attempt.finish(EndReason.COMPLETE)
    (session,) = journal.events
    assert (session.cost_source, session.cost_usd) == (source, usd)
    assert len(caplog.records) == 1


def test_more_responses_than_can_be_recorded_make_the_cost_unknown() -> None:
    journal = Journal()
    attempt = in_session(journal)
    for _ in range(3000):
        attempt.session_message(b'{"type": "response.done"}', from_client=False)
    attempt.finish(EndReason.COMPLETE)
    assert len(journal.events) < 3000
    assert journal.events[-1].cost_source == "unknown"


def test_the_providers_limits_are_in_the_event() -> None:
    journal = Journal()
    attempt = answered(journal, (*JSON, (b"X-RateLimit-Remaining-Tokens", b"149984"), (b"date", b"today")))
    attempt.response_data(ANSWER)
    attempt.finish(COMPLETE)
    assert journal.event.provider_limits == '{"x-ratelimit-remaining-tokens": "149984"}'


@dataclass
class Known(Nothing):
    """Generations of which all are known, and those in ``pending`` are not settled."""

    known: bool = False
    pending: bool = False

    def expects(self, *_what: str) -> bool:
        return self.pending

    def knows(self, *_what: str) -> bool:
        return self.known


LINE = (
    b'{"custom_id": "1", "response": {"status_code": 200, "body": {"object": "chat.completion", "model": "mistral-1", '
    b'"usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}}}\n'
)


@pytest.mark.parametrize(
    ("known", "pending", "body", "expected"),
    [
        (True, True, LINE, ("unpriced", "reported")),
        (True, False, LINE, ("not_billed", "none")),
        (False, False, LINE, ("unknown", "none")),
        (False, False, LINE * 5000, ("unknown", "none")),
        (False, False, b'{"training": "data"}\n', ("not_billed", "none")),
        (False, False, b"%PDF-1.7 \xff\x00", ("not_billed", "none")),
        (False, False, b"", ("not_billed", "none")),
    ],
    ids=["asked for here", "read before", "of another's batch", "a long one", "lines", "no text", "empty"],
)
def test_a_file_is_a_plain_one_or_the_results_of_a_batch(
    body: bytes, expected: tuple[str, str], *, known: bool, pending: bool
) -> None:
    journal = Journal(generations=Known(known=known, pending=pending))
    usual = forward()
    route = replace(
        usual.route,
        provider="mistral",
        operation=FILES,
        dialect="mistral_batch_output",
        generation_id="f",
        output="files/f",
    )
    attempt = journal.attempt(replace(usual, route=route), method=b"GET")
    attempt.request_head_sent()
    attempt.response_head(route, 200, ((b"content-type", b"application/octet-stream"),))
    for at in range(0, len(body), 1 << 14):
        attempt.response_data(body[at : at + (1 << 14)])
    attempt.finish(COMPLETE)
    assert (journal.event.cost_source, journal.event.usage_source) == expected
    assert journal.event.model == ("mistral-1" if pending else None)


def test_a_batch_is_priced_as_of_the_day_on_which_it_was_done() -> None:
    done = datetime(2026, 11, 1)  # noqa: DTZ001 -- naive UTC, as in events
    journal = Journal(generations=Nothing(done=done))
    days: list[datetime] = []

    class Book(PriceBook):
        def cost(self, **asked: Any) -> Cost:
            days.append(asked["when"])
            return super().cost(**asked)

    recorder = Recorder(Book({}, "none"), lambda event, _: journal.events.append(event), journal.generations)
    usual = forward()
    route = replace(usual.route, operation=BATCH, dialect="anthropic_batch_results", generation_id="msgbatch_1")
    request = Request(inbound(b"GET"), replace(usual, route=route), began=journal.now)
    attempt = Attempt(request, recorder, clock=lambda: journal.now)
    attempt.request_head_sent()
    attempt.response_head(route, 200, ((b"content-type", b"application/x-jsonl"),))
    message = b'{"model": "claude-1", "usage": {"input_tokens": 1, "output_tokens": 2}}'
    attempt.response_data(b'{"custom_id": "1", "result": {"type": "succeeded", "message": %s}}\n' % message)
    attempt.finish(COMPLETE)
    assert days == [done]


@pytest.mark.parametrize(
    ("body", "is_results"),
    [
        (b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": null}\n', True),
        (b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n', False),
        (b"a plain file", False),
    ],
)
def test_a_file_that_nobody_asked_for_may_be_the_results_of_a_batch(body: bytes, *, is_results: bool) -> None:
    journal = Journal(generations=Unasked())
    route = replace(forward().route, dialect="mistral_batch_output", output="files/file-1")
    attempt = journal.attempt(forward(), method=b"GET")
    attempt.request_head_sent()
    attempt.response_head(route, 200, ((b"content-type", b"application/octet-stream"),))
    attempt.response_data(body)
    reading = attempt._final_reading()
    assert (reading.is_results, reading.usage, reading.warnings) == (is_results, None, ())
