"""One sending of a request to a provider, and its response, up to the event.

An attempt is told what passes and never changes it. ``finish`` writes the event exactly once, whoever calls it first
and however often; it and everything that reads bodies never raises: a fault in metering must not reach the traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from metrion import estimates
from metrion.admission.routing import parameter
from metrion.dialects import SESSIONS, SessionReader
from metrion.estimates.speech import BY_CHARACTER
from metrion.faults import log_fault
from metrion.metering.meter import Outcome, measure
from metrion.metering.tap import Tap
from metrion.model import EndReason, Event, Forward, Headers, Reading, Route, Usage, first_values
from metrion.model.event_id import uuid7
from metrion.pricing import PER_CHARACTER, PriceBook
from metrion.relay.request import Request, now, text
from metrion.relay.settlement import Generations, carry_out, settlement

logger = logging.getLogger(__name__)

EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
"""What a server-sent event ends with."""

type Clock = Callable[[], float]
"""Seconds that only ever grow."""


class Attempt:
    """See the module. Byte counts are of bodies as they stand on the wire, without chunk framing."""

    def __init__(
        self,
        request: Request,
        prices: PriceBook,
        record: Callable[[Event], None],
        generations: Generations,
        *,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.request = request
        self.finished = False
        self.last_activity = clock()
        """When a byte last passed, on the clock's scale."""
        self.reached_upstream = False
        """The head went to the provider: from then on it may work, and charge, for this request."""
        self._prices = prices
        self._record = record
        self._generations = generations
        self._clock = clock
        self._own_time = self.last_activity - request.began
        self._status: int | None = None
        self._error_type: str | None = None
        self._streamed: bool | None = None
        self._provider_request_id: str | None = None
        self._first_byte: float | None = None
        self._response_bytes = 0
        self._expected_bytes: int | None = None
        self._takes_events = False
        self._last_bytes = b"\n\n"
        self._tap: Tap | None = None
        self._reading: Reading | None = None
        self._estimate_input: estimates.EstimateInput | None = None
        self._estimated: Usage | None = None
        self._session: SessionReader | None = None

    # --- what passes, in order ---

    def request_head_sent(self) -> None:
        """Take note that the provider has the head."""
        self.reached_upstream = True

    def request_data(self, chunk: bytes) -> None:
        """Take note of a piece of the request body as the client sent it."""
        self.last_activity = self._clock()
        self.request.data(chunk)

    def response_head(self, route: Route, status: int, headers: Headers) -> None:
        """Take note of the provider's head, which goes to the client."""
        self._first_byte = self.last_activity = self._clock()
        self._status = status
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
        if status == 101 and (session := SESSIONS.get(route.dialect or "")):
            self._session = session(parameter(route.target.partition(b"?")[2], b"model"))
        dialect = route.dialect
        if route.output is not None:
            if status == 200 and self._generations.expects(route.provider, route.output):
                content_type = None  # that of a file says nothing of what is in it
            else:
                dialect = None
        self._tap = Tap(
            dialect,
            content_type=content_type,
            content_encoding=coding,
            status=status,
            sample=self.request.response_sample,
        )

    def response_data(self, chunk: bytes) -> None:
        """Read a piece of the provider's body, *before* it goes on."""
        at = self.last_activity = self._clock()
        self._response_bytes += len(chunk)
        self._last_bytes = (self._last_bytes + chunk[-4:])[-4:]
        if self._tap is not None and not self.finished:
            self._tap.feed(chunk)
        self._own_time += self._clock() - at

    @property
    def is_complete(self) -> bool:
        """Whether the response is complete for its client once what has been noted so far goes on."""
        return self._response_bytes == self._expected_bytes or (self._tap is not None and self._tap.terminal)

    @property
    def takes_events(self) -> bool:
        """Whether an event of Metrion's own can be put at the end of the response as it stands."""
        return self._takes_events and self._last_bytes.endswith(EVENT_ENDS)

    def session_data(self, *, sent: int = 0, received: int = 0) -> None:
        """Take note of what passes in a WebSocket session, in bytes."""
        self.request.bytes += sent
        self._response_bytes += received

    def session_message(self, message: bytes, *, from_client: bool) -> None:
        """Read a message of a WebSocket session *before* it goes on; a billed response has an event of its own."""
        if self._session is None:
            return
        try:
            if from_client:
                self._session.sent(message)
            elif (reading := self._session.received(message)) is not None:
                self._record_response(reading)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "A realtime response could not be measured; its session goes on undisturbed", error)

    def _record_response(self, reading: Reading) -> None:
        outcome = Outcome(
            event_id=uuid7(),
            request_id=self.request.id.hex,
            started_at=now(),
            end_reason=EndReason.STREAM_ERROR if reading.stream_error else EndReason.COMPLETE,
            status=self._status,
            reached_upstream=True,
            streamed=True,
            provider_request_id=self._provider_request_id,
        )
        event = measure(self.request.inbound, self.request.decision, outcome, reading, self._prices, settles=True)
        if event is not None:
            self._record(event)

    def own_response(self, status: int, code: str, size: int) -> None:
        """Take note of a response of Metrion's own: ``code`` as in ``x-metrion-error``, ``size`` of its body."""
        self._first_byte = self._clock()
        self._status = status
        self._error_type = code
        self._response_bytes = size

    def wants_estimate(self, end_reason: EndReason) -> bool:
        """Whether :meth:`estimate`, which takes milliseconds in any thread, has something to do now that it is over."""
        route, tap = self.request.decision.route, self._tap
        if self.finished or route is None or tap is None or self.request.sample is None or not self._succeeded:
            return False
        try:
            reading = self._final_reading()
            model_requested = route.model or self.request.model
            self._estimate_input = estimates.estimate_input(
                dialect=route.dialect,
                reading=reading,
                end_reason=end_reason,
                model_requested=model_requested,
                streamed=tap.is_stream,
                request=self.request.sample,
                response=self.request.response_sample,
                by_character=route.dialect in BY_CHARACTER
                and self._prices.is_billed_by(
                    PER_CHARACTER,
                    provider=route.provider,
                    model=reading.model,
                    model_requested=model_requested,
                    when=self.request.started_at,
                ),
            )
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "An estimate could not be prepared; its request went through undisturbed", error)
        return self.is_estimating

    @property
    def is_estimating(self) -> bool:
        """Whether the event waits for an estimate, until :meth:`finish`."""
        return self._estimate_input is not None

    @property
    def bytes_to_estimate(self) -> int:
        """How much an estimate has to read."""
        kept = (self._estimate_input.request, self._estimate_input.response) if self._estimate_input else ()
        return sum(each.kept for each in kept if each is not None)

    def estimate(self) -> None:
        """Estimate the tokens that nobody reported, for the event that follows."""
        estimate_input = self._estimate_input
        try:
            self._estimated = estimates.estimate(estimate_input) if estimate_input else None
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "Tokens could not be estimated; their request went through undisturbed", error)

    def finish(self, end_reason: EndReason) -> None:
        """Write the event, unless it is written."""
        if self.finished:
            return
        self.finished = True
        self._estimate_input = None
        try:
            event = self._measure(end_reason)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "An event could not be measured; its request went through undisturbed", error)
            return
        if event is not None:
            self._record(event)

    def _measure(self, end_reason: EndReason) -> Event | None:
        reading = self._final_reading()
        for warning in reading.warnings:
            logger.warning("%s %s: %s", self.provider, self.request.inbound.path.decode("latin-1"), warning)
        if self._estimated is not None:
            reading = replace(reading, usage=self._estimated, estimated=True)
        if reading.stream_error:
            end_reason = EndReason.STREAM_ERROR
        ended = self._clock()
        outcome = Outcome(
            event_id=self.id,
            request_id=self.request.id.hex,
            started_at=self.request.started_at,
            end_reason=end_reason,
            status=self._status,
            error_type=self._error_type,
            reached_upstream=self.reached_upstream,
            streamed=self._streamed,
            provider_request_id=self._provider_request_id,
            latency_ms=(ended - self.request.began) * 1000,
            first_byte_ms=None if self._first_byte is None else (self._first_byte - self.request.began) * 1000,
            overhead_ms=self._own_time * 1000,
            request_bytes=self.request.bytes if isinstance(self.request.decision, Forward) else None,
            response_bytes=self._response_bytes,
        )
        return measure(
            self.request.inbound,
            self.request.decision,
            outcome,
            reading,
            self._prices,
            model_requested=self.request.model,
            settles=self._settles(reading, end_reason),
            fields=self.request.fields,
        )

    def _final_reading(self) -> Reading:
        """Return what the response said, now that it is over."""
        if self._reading is None and self._tap is not None:
            self._tap.finish()
            self._reading = self._tap.reading
        return self._reading or Reading()

    def _settles(self, reading: Reading, end_reason: EndReason) -> bool:
        """Whether this response is the first to tell what an earlier request of its provider is billed for."""
        in_session = self._session is not None
        decision, method = self.request.decision, self.request.inbound.method
        decided = settlement(decision.route, method, self._status, reading, end_reason, in_session=in_session)
        return carry_out(decided, self._generations)

    @property
    def _succeeded(self) -> bool:
        return self._status is not None and 200 <= self._status < 300

    @property
    def id(self) -> UUID:
        """Of its event; the first attempt's is the request's."""
        return self.request.id

    @property
    def provider(self) -> str:
        """The provider's name, for the log."""
        route = self.request.decision.route
        return route.provider if route else "-"
