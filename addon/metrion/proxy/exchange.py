"""One request and its response, from the head to the journal.

An exchange is told what passes and never changes it. ``finish`` writes the event exactly once, whoever calls it first
and however often; it and everything that reads bodies never raises: a fault in metering must not reach the traffic.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from metrion.event_id import uuid7
from metrion.meter import Outcome, measure
from metrion.model import EndReason, Event, Forward, Headers, Inbound, Reading, Refusal, Route
from metrion.pricing import PriceBook
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
        self._clock = clock
        self._began = self.last_activity if began is None else began
        self._own_time = self.last_activity - self._began
        self._started_at = datetime.now(UTC).replace(tzinfo=None)
        self.reached_upstream = False
        """The head went to the provider: from then on it may work, and charge, for this request."""
        self._request_bytes = 0
        self._request_reader: RequestReader | None = None
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

    # --- what passes, in order ---

    def request_head_sent(self) -> None:
        """Take note that the provider has the head."""
        self.reached_upstream = True
        if isinstance(self.decision, Forward) and self.inbound.method == b"POST":
            headers = self.inbound.headers
            self._request_reader = RequestReader(
                content_type=header(headers, b"content-type"), content_encoding=header(headers, b"content-encoding")
            )

    def request_data(self, chunk: bytes) -> None:
        """Take note of a piece of the request body, after it has been sent."""
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
        self._tap = Tap(
            route.dialect,
            content_type=content_type,
            content_encoding=header(headers, b"content-encoding"),
            status=status,
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

    def own_response(self, status: int, code: str, size: int) -> None:
        """Take note of a response of Metrion's own: ``code`` as in ``x-metrion-error``, ``size`` of its body."""
        self._first_byte = self._clock()
        self._status = status
        self._error_type = code
        self._response_bytes = size

    def finish(self, end_reason: EndReason) -> None:
        """Write the event, unless it is written."""
        if self.finished:
            return
        self.finished = True
        try:
            event = self._measure(end_reason)
        except Exception:
            logger.exception("An event could not be measured; its request went through undisturbed.")
            return
        if event is not None:
            self._record(event)

    def _measure(self, end_reason: EndReason) -> Event | None:
        reading = Reading()
        if self._tap is not None:
            self._tap.finish()
            reading = self._tap.reading
            for warning in reading.warnings:
                logger.warning("%s %s: %s", self.provider, self.inbound.path.decode("latin-1"), warning)
        if self._request_reader is not None:
            self._request_reader.finish()
        if reading.stream_error:
            end_reason = EndReason.STREAM_ERROR
        now = self._clock()
        outcome = Outcome(
            event_id=self.id,
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
            model_requested=self._request_reader.model if self._request_reader else None,
        )

    @property
    def provider(self) -> str:
        """The provider's name, for the log."""
        route = self.decision.route
        return route.provider if route else "-"


def header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header field, ``name`` in lower case."""
    for candidate, value in headers:
        if candidate.lower() == name:
            with suppress(UnicodeDecodeError):
                return value.decode("utf-8")
            return value.decode("latin-1")
    return None
