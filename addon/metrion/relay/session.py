"""The WebSocket session that a request has become.

In: its messages, in order, before they go on. Out: an event for each response that its provider bills. Never: a change
to a message, or an exception because of one.
"""

from __future__ import annotations

import logging

from metrion.dialects import SessionReader
from metrion.faults import log_fault
from metrion.metering.outcome import Outcome
from metrion.model import EndReason, Reading
from metrion.model.event_id import uuid7
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request, now

logger = logging.getLogger(__name__)


class Session:
    """See the module. ``reader`` understands the messages."""

    __slots__ = ("_provider_request_id", "_reader", "_recorder", "_request")

    def __init__(
        self, request: Request, recorder: Recorder, reader: SessionReader, provider_request_id: str | None
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._reader = reader
        self._provider_request_id = provider_request_id

    def message(self, message: bytes, *, from_client: bool) -> None:
        """Read a message; write the event of the response that it completes."""
        try:
            if from_client:
                self._reader.sent(message)
            elif (reading := self._reader.received(message)) is not None:
                self._record(reading)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "A realtime response could not be measured; its session goes on undisturbed", error)

    def _record(self, reading: Reading) -> None:
        outcome = Outcome(
            event_id=uuid7(),
            request_id=self._request.id.hex,
            started_at=now(),
            end_reason=EndReason.STREAM_ERROR if reading.stream_error else EndReason.COMPLETE,
            status=101,
            reached_upstream=True,
            streamed=True,
            provider_request_id=self._provider_request_id,
        )
        event = self._recorder.session_event(self._request, outcome, reading)
        if event is not None:
            self._recorder.write(event)
