"""One sending of a request to a provider, and its response, up to the event.

In: the bytes and times of both directions, as they pass. Out: how the request went, what its response said and, once,
its event. ``finish`` writes the event exactly once, whoever calls it first and however often. Never: a change to what
passes, or an exception from ``finish`` or from whatever reads a body. A fault in metering must not reach the traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from metrion.admission.paths import parameter
from metrion.dialects import SESSIONS
from metrion.faults import log_fault
from metrion.metering.head_fields import is_beyond_plan, provider_limits
from metrion.metering.outcome import Outcome
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Forward, Headers, Reading, Refusal, Route, first_values
from metrion.model.event_id import uuid7
from metrion.relay.pending_estimate import Estimation, needed_estimation
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request, text
from metrion.relay.session import Session

logger = logging.getLogger(__name__)

_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
"""What a server-sent event ends with."""

type Clock = Callable[[], float]
"""Seconds that only ever grow."""


class Attempt:
    """See the module. Byte counts are of bodies as they are on the wire, without chunk framing."""

    def __init__(
        self, request: Request, recorder: Recorder, *, clock: Clock = time.perf_counter, number: int = 1
    ) -> None:
        self.request = request
        self.number = number
        self.id = request.id if number == 1 else uuid7()
        """The id of its event; the first attempt's is the request's."""
        self._notes: dict[tuple[str, str], str] | None = None
        """What policies did at this attempt, by their names and kinds."""
        self.queued_ms: float | None = None
        """How long it waited for its turn."""
        self.from_cache = False
        """Its answer was kept from an earlier request."""
        self._is_share = False
        """Its answer is a part of one to several requests."""
        self.finished = False
        self.last_activity = clock()
        """When a byte last passed, on the clock's scale."""
        self.reached_upstream = False
        """The head went to the provider: from then on it may work, and charge, for this request."""
        self._recorder = recorder
        self._clock = clock
        self._own_time = self.last_activity - request.began if number == 1 else 0.0
        self.status: int | None = None
        """What the client got; ``None``: nothing yet."""
        self.refusal: Refusal | None = None
        """What it got in the provider's place."""
        self._error_type: str | None = None
        self._streamed: bool | None = None
        self._provider_request_id: str | None = None
        self._provider_limits: str | None = None
        self._beyond_plan: bool | None = None
        self._first_byte: float | None = None
        self._response_bytes = 0
        self._expected_bytes: int | None = None
        self._takes_events = False
        self._last_bytes = b"\n\n"
        self._tap: Tap | None = None
        self._reading: Reading | None = None
        self._estimation: Estimation | None = None
        self._session: Session | None = None

    # --- what passes, in order ---

    def request_head_sent(self) -> None:
        """Record that the provider has the head."""
        self.reached_upstream = True

    def request_data(self, chunk: bytes) -> None:
        """Read a piece of the request body as the client sent it."""
        self.last_activity = self._clock()
        self.request.data(chunk)

    def response_head(self, route: Route, status: int, headers: Headers) -> None:
        """Read the provider's head, which goes to the client."""
        self._first_byte = self.last_activity = self._clock()
        self.status = status
        fields = first_values(headers)
        length, coding = text(fields.get(b"content-length")), text(fields.get(b"content-encoding"))
        self._expected_bytes = int(length) if length is not None and length.isdigit() else None
        content_type = text(fields.get(b"content-type"))
        self._streamed = content_type is not None and content_type.lower().startswith("text/event-stream")
        self._takes_events = self._streamed and length is None and coding in (None, "identity")
        for name in route.request_id_headers:
            if (request_id := text(fields.get(name))) is not None:
                self._provider_request_id = request_id
                break
        self._provider_limits = provider_limits(fields)
        if (caller := self.request.decision.caller) is not None and caller.in_plan:
            self._beyond_plan = is_beyond_plan(fields)
        if status == 101 and (form := SESSIONS.get(route.dialect or "")):
            model = parameter(route.target.partition(b"?")[2], b"model")
            self._session = Session(self.request, self._recorder, form.open(model), self._provider_request_id)
        dialect, may_be_results = route.dialect, False
        if route.output is not None:
            if status == 200 and self._recorder.expects(route.provider, route.output):
                content_type = None  # that of a file says nothing of what is in it
            else:
                dialect, may_be_results = None, status in (200, 206)
        self._tap = Tap(
            dialect,
            content_type=content_type,
            content_encoding=coding,
            status=status,
            sample=self.request.response_sample,
            seeks_results=may_be_results,
        )

    def response_data(self, chunk: bytes) -> None:
        """Read a piece of the provider's body, *before* it goes on."""
        at = self.last_activity = self._clock()
        self._response_bytes += len(chunk)
        self._last_bytes = (self._last_bytes + chunk[-4:])[-4:]
        if self._tap is not None and not self.finished:
            self._tap.feed(chunk)
        self._own_time += self._clock() - at

    def own_response(self, refusal: Refusal, size: int) -> None:
        """Record a response of Metrion's own; ``size`` of its body."""
        self._first_byte = self._clock()
        self.refusal = refusal
        self.status = refusal.status
        self._error_type = refusal.code
        self._response_bytes = size

    def note(self, policy: str, kind: str, words: str) -> None:
        """Record what a policy did at this attempt."""
        self._notes = {**(self._notes or {}), (policy, kind): words}

    def failed(self, code: str) -> None:
        """Record that no answer came, where the client does not hear of it."""
        self._error_type = code

    def following(self, *, last_activity: float) -> Attempt:
        """Return the next attempt at the same request. ``last_activity``: when its client last sent something."""
        attempt = Attempt(self.request, self._recorder, clock=self._clock, number=self.number + 1)
        attempt.last_activity = last_activity
        return attempt

    def answer_from_cache(self) -> None:
        """Record that what follows was kept from an earlier request: nothing of it is estimated."""
        self.from_cache = True
        self.request.sample = self.request.response_sample = None

    def take_share(self) -> None:
        """Record that what follows is a part of the answer to several requests that went out as one."""
        self.reached_upstream = self._is_share = True

    @property
    def went_well(self) -> bool:
        """Whether the response, which is over, is one that was asked for, and all of it."""
        reading = self._final_reading()
        if self.status != 200 or reading.stream_error or reading.is_error:
            return False
        return not self._streamed or self.is_complete or reading.finish_reason is not None

    @property
    def is_complete(self) -> bool:
        """Whether the response is complete for its client once everything that was read so far has gone on."""
        return self._response_bytes == self._expected_bytes or (self._tap is not None and self._tap.terminal)

    @property
    def takes_events(self) -> bool:
        """Whether an event of Metrion's own can follow the response as far as it has come."""
        return self._takes_events and self._last_bytes.endswith(_EVENT_ENDS)

    # --- WebSocket sessions ---

    def session_data(self, *, sent: int = 0, received: int = 0) -> None:
        """Count the bytes that pass in a WebSocket session."""
        self.request.bytes += sent
        self._response_bytes += received

    def session_message(self, message: bytes, *, from_client: bool) -> Event | None:
        """Read a message of a WebSocket session *before* it goes on; a billed response has an event of its own.

        Return that event, where this message has completed one.
        """
        return self._session.message(message, from_client=from_client) if self._session is not None else None

    def session_unread(self, why: str, *, from_client: bool) -> None:
        """Record that a part of a WebSocket session passes unread; ``why`` is for the log."""
        if self._session is not None:
            self._session.unread(why, from_client=from_client)

    # --- estimates ---

    def wants_estimate(self, end_reason: EndReason) -> bool:
        """Whether :meth:`estimate`, which takes milliseconds in any thread, has something to do now that it is over."""
        tap = self._tap
        if self.finished or tap is None or not self._succeeded:
            return False
        try:
            self._estimation = needed_estimation(
                self.request, self._final_reading, self._recorder.prices, end_reason=end_reason, streamed=tap.is_stream
            )
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "An estimate could not be prepared; its request went through undisturbed", error)
        return self.is_estimating

    @property
    def is_estimating(self) -> bool:
        """Whether the event waits for an estimate, until :meth:`finish`."""
        return self._estimation is not None

    @property
    def bytes_to_estimate(self) -> int:
        """How much an estimate has to read."""
        return self._estimation.bytes if self._estimation is not None else 0

    def estimate(self) -> None:
        """Estimate the tokens that nobody reported, for the event that follows."""
        if (estimation := self._estimation) is not None:
            estimation.run()

    # --- the event ---

    def finish(self, end_reason: EndReason) -> Event | None:
        """Write the event, unless it is written, and return what was written."""
        if self.finished:
            return None
        self.finished = True
        estimation, self._estimation = self._estimation, None
        try:
            reading = self._final_reading()
            if estimation is not None and estimation.usage is not None:
                reading = replace(reading, usage=estimation.usage, estimated=True)
            if self._is_share and reading.usage is not None:
                reading = replace(reading, usage=replace(reading.usage, raw=None), estimated=True, shared=True)
            if reading.stream_error:
                end_reason = EndReason.STREAM_ERROR
            if self._session is not None and self._session.is_partly_unread:
                reading = replace(reading, cut_short=True)
            outcome = self._outcome(end_reason)
            event = self._recorder.event(self.request, outcome, reading, in_session=self._session is not None)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "An event could not be measured; its request went through undisturbed", error)
            return None
        if event is not None:
            self._recorder.write(event, self.request)
        return event

    def _outcome(self, end_reason: EndReason) -> Outcome:
        request = self.request
        ended = self._clock()
        return Outcome(
            event_id=self.id,
            request_id=request.id.hex,
            started_at=request.started_at,
            end_reason=end_reason,
            status=self.status,
            error_type=self._error_type,
            reached_upstream=self.reached_upstream,
            streamed=self._streamed,
            provider_request_id=self._provider_request_id,
            latency_ms=(ended - request.began) * 1000,
            first_byte_ms=None if self._first_byte is None else (self._first_byte - request.began) * 1000,
            overhead_ms=self._own_time * 1000,
            request_bytes=request.bytes if isinstance(request.decision, Forward) else None,
            response_bytes=self._response_bytes,
            provider_limits=self._provider_limits,
            beyond_plan=self._beyond_plan,
            attempt=self.number,
            policy=self._policy,
            queued_ms=self.queued_ms,
            from_cache=self.from_cache,
        )

    def _final_reading(self) -> Reading:
        """Return what the response said, now that it is over."""
        if self._reading is None and self._tap is not None:
            self._tap.finish()
            self._reading = self._tap.reading
        return self._reading or Reading()

    @property
    def _policy(self) -> dict[str, str] | None:
        """What policies did, to the request and at this attempt."""
        found = self.request.policy
        for (policy, kind), words in (self._notes or {}).items():
            before = (found := dict(found or {})).get(policy)
            found[policy] = f"{before}; {kind}: {words}" if before else f"{kind}: {words}"
        return found

    @property
    def _succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300
