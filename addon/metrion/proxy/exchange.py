"""One request and its response, from the head to the journal.

An exchange is told what passes and never changes it. ``finish`` writes the event exactly once, whoever calls it first
and however often; it and everything that reads bodies never raises: a fault in metering must not reach the traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from metrion import estimates
from metrion.control.generations import Generations
from metrion.dialects import SESSIONS, SessionReader
from metrion.estimates.speech import DIALECT as SPEECH
from metrion.event_id import uuid7
from metrion.meter import Outcome, measure
from metrion.model import EndReason, Event, Forward, Headers, Inbound, Reading, Refusal, Route, Usage
from metrion.pricing import PER_CHARACTER, PriceBook
from metrion.proxy.logs import log_fault
from metrion.routing import parameter
from metrion.tap import RequestReader, Tap

logger = logging.getLogger(__name__)

EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")
"""What a server-sent event ends with."""

type Clock = Callable[[], float]
"""Seconds that only ever grow."""


class Exchange:
    """See the module. Byte counts are of bodies as they stand on the wire, without chunk framing."""

    def __init__(
        self,
        inbound: Inbound,
        decision: Forward | Refusal,
        prices: PriceBook,
        record: Callable[[Event], None],
        generations: Generations,
        *,
        clock: Clock = time.perf_counter,
        began: float | None = None,
    ) -> None:
        self.inbound = inbound
        self.decision = decision
        self.id = uuid7()
        self.finished = False
        self.last_activity = clock()
        """When a byte last passed, on the clock's scale."""
        self._prices = prices
        self._record = record
        self._generations = generations
        self._clock = clock
        self._began = self.last_activity if began is None else began
        self._own_time = self.last_activity - self._began
        self._started_at = _now()
        self.reached_upstream = False
        """The head went to the provider: from then on it may work, and charge, for this request."""
        self._request_bytes = 0
        self._request_reader: RequestReader | None = None
        self._request_sample: estimates.Sample | None = None
        self._response_sample: estimates.Sample | None = None
        if isinstance(decision, Forward) and inbound.method == b"POST":
            self._request_sample, self._response_sample = estimates.samples(decision.route.dialect)
            self._request_reader = RequestReader(
                content_type=header(inbound.headers, b"content-type"),
                content_encoding=header(inbound.headers, b"content-encoding"),
                sample=self._request_sample,
            )
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
        self._material: estimates.Material | None = None
        self._estimated: Usage | None = None
        self._session: SessionReader | None = None

    # --- what passes, in order ---

    def request_head_sent(self) -> None:
        """Take note that the provider has the head."""
        self.reached_upstream = True

    def request_data(self, chunk: bytes) -> None:
        """Take note of a piece of the request body as the client sent it."""
        self.last_activity = self._clock()
        self._request_bytes += len(chunk)
        if self._request_reader is not None:
            self._request_reader.feed(chunk)

    def response_head(self, route: Route, status: int, headers: Headers) -> None:
        """Take note of the provider's head, which goes to the client."""
        self._first_byte = self.last_activity = self._clock()
        self._status = status
        length = header(headers, b"content-length")
        self._expected_bytes = int(length) if length is not None and length.isdigit() else None
        content_type = header(headers, b"content-type")
        self._streamed = content_type is not None and content_type.lower().startswith("text/event-stream")
        self._takes_events = (
            self._streamed and length is None and header(headers, b"content-encoding") in (None, "identity")
        )
        for name in route.request_id_headers:
            if (request_id := header(headers, name)) is not None:
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
            content_encoding=header(headers, b"content-encoding"),
            status=status,
            sample=self._response_sample,
        )

    def response_data(self, chunk: bytes) -> None:
        """Read a piece of the provider's body, *before* it goes on."""
        now = self.last_activity = self._clock()
        self._response_bytes += len(chunk)
        self._last_bytes = (self._last_bytes + chunk[-4:])[-4:]
        if self._tap is not None and not self.finished:
            self._tap.feed(chunk)
        self._own_time += self._clock() - now

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
        self._request_bytes += sent
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
            request_id=self.id.hex,
            started_at=_now(),
            end_reason=EndReason.STREAM_ERROR if reading.stream_error else EndReason.COMPLETE,
            status=self._status,
            reached_upstream=True,
            streamed=True,
            provider_request_id=self._provider_request_id,
        )
        event = measure(self.inbound, self.decision, outcome, reading, self._prices, settles=True)
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
        route, tap = self.decision.route, self._tap
        if self.finished or route is None or tap is None or self._request_sample is None or not self._succeeded:
            return False
        try:
            reading = self._final_reading()
            model_requested = route.model or self._model_requested
            self._material = estimates.material(
                dialect=route.dialect,
                reading=reading,
                end_reason=end_reason,
                model_requested=model_requested,
                streamed=tap.is_stream,
                request=self._request_sample,
                response=self._response_sample,
                by_character=route.dialect == SPEECH
                and self._prices.is_billed_by(
                    PER_CHARACTER,
                    provider=route.provider,
                    model=reading.model,
                    model_requested=model_requested,
                    when=self._started_at,
                ),
            )
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "An estimate could not be prepared; its request went through undisturbed", error)
        return self.is_estimating

    @property
    def is_estimating(self) -> bool:
        """Whether the event waits for an estimate, until :meth:`finish`."""
        return self._material is not None

    @property
    def bytes_to_estimate(self) -> int:
        """How much an estimate has to read."""
        kept = (self._material.request, self._material.response) if self._material else ()
        return sum(each.kept for each in kept if each is not None)

    def estimate(self) -> None:
        """Estimate the tokens that nobody reported, for the event that follows."""
        material = self._material
        try:
            self._estimated = estimates.estimate(material) if material else None
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "Tokens could not be estimated; their request went through undisturbed", error)

    def finish(self, end_reason: EndReason) -> None:
        """Write the event, unless it is written."""
        if self.finished:
            return
        self.finished = True
        self._material = None
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
            logger.warning("%s %s: %s", self.provider, self.inbound.path.decode("latin-1"), warning)
        if self._estimated is not None:
            reading = replace(reading, usage=self._estimated, estimated=True)
        if reading.stream_error:
            end_reason = EndReason.STREAM_ERROR
        now = self._clock()
        outcome = Outcome(
            event_id=self.id,
            request_id=self.id.hex,
            started_at=self._started_at,
            end_reason=end_reason,
            status=self._status,
            error_type=self._error_type,
            reached_upstream=self.reached_upstream,
            streamed=self._streamed,
            provider_request_id=self._provider_request_id,
            latency_ms=(now - self._began) * 1000,
            first_byte_ms=None if self._first_byte is None else (self._first_byte - self._began) * 1000,
            overhead_ms=self._own_time * 1000,
            request_bytes=self._request_bytes if isinstance(self.decision, Forward) else None,
            response_bytes=self._response_bytes,
        )
        return measure(
            self.inbound,
            self.decision,
            outcome,
            reading,
            self._prices,
            model_requested=self._model_requested,
            settles=self._settles(reading, end_reason),
        )

    def _final_reading(self) -> Reading:
        """Return what the response said, now that it is over."""
        if self._reading is None and self._tap is not None:
            self._tap.finish()
            self._reading = self._tap.reading
        return self._reading or Reading()

    def _settles(self, reading: Reading, end_reason: EndReason) -> bool:
        """Whether this response is the first to tell what an earlier request of its provider is billed for."""
        if self._status == 101:
            return self._session is None  # else each billed response has its own row
        route = self.decision.route
        generation_id = reading.generation_id or (route.generation_id if route else None)
        if route is None or generation_id is None:
            return False
        if route.output is not None:
            return self._settles_output(route.provider, route.output, reading, end_reason)
        if reading.pending:
            if self.inbound.method == b"POST":
                self._generations.expect(route.provider, generation_id)
            return False
        is_read_back = self.inbound.method != b"POST"
        if reading.output is not None and is_read_back:
            self._generations.replace(route.provider, route.generation_id or generation_id, reading.output)
            return False
        # A run that waited for a tool's output ends in the answer to another POST, which is billed as such.
        if reading.usage is None or not (is_read_back or route.operation == "runs"):
            return False
        if end_reason is not EndReason.COMPLETE:
            return False  # the results of a batch that broke off are read again, whole
        return self._generations.settle(route.provider, route.generation_id or generation_id) and is_read_back

    def _settles_output(self, provider: str, output: str, reading: Reading, end_reason: EndReason) -> bool:
        """Whether this response, which a batch may have named as its output, is the first to tell what is in it."""
        if end_reason is not EndReason.COMPLETE:
            return False  # one that broke off is read again, whole
        if reading.output is not None:
            following = output.partition("?")[0] + reading.output
            return self._generations.replace(provider, output, following) and reading.usage is not None
        return reading.usage is not None and self._generations.settle(provider, output)

    @property
    def _succeeded(self) -> bool:
        return self._status is not None and 200 <= self._status < 300

    @property
    def _model_requested(self) -> str | None:
        if self._request_reader is None:
            return None
        self._request_reader.finish()
        return self._request_reader.model

    @property
    def provider(self) -> str:
        """The provider's name, for the log."""
        route = self.decision.route
        return route.provider if route else "-"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header field, ``name`` in lower case."""
    for candidate, value in headers:
        if candidate.lower() == name:
            with suppress(UnicodeDecodeError):
                return value.decode("utf-8")
            return value.decode("latin-1")
    return None
