"""The WebSocket session that a request has become.

In: its messages, in order, before they go on. Out: an event for each response that its provider bills, and whether
something that may have been billed could not be read. Never: a change to a message, or an exception because of one.
"""

from __future__ import annotations

import logging

from metrion.dialects import SessionReader
from metrion.faults import log_fault
from metrion.metering.outcome import Outcome
from metrion.model import EndReason, Event, Reading
from metrion.model.event_id import uuid7
from metrion.parsing.work_budget import WorkBudget, WorkBudgetError
from metrion.relay.recorder import Recorder
from metrion.relay.request import Request, now

logger = logging.getLogger(__name__)

_ROW_COST = 200
"""Units for an event. A message of a hundred bytes earns them."""


class Session:
    """See the module. ``reader`` understands the messages."""

    __slots__ = ("_budget", "_provider_request_id", "_reader", "_recorder", "_request", "_unread_sides")

    def __init__(
        self, request: Request, recorder: Recorder, reader: SessionReader, provider_request_id: str | None
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._reader = reader
        self._provider_request_id = provider_request_id
        self._budget = WorkBudget()
        self._unread_sides = set[bool]()
        """Of which side something passed unread: of the client (``True``), of the provider."""

    def message(self, message: bytes, *, from_client: bool) -> Event | None:
        """Read a message; write the event of the response that it completes, and return it."""
        try:
            if from_client:
                self._reader.sent(message)
                return None
            self._budget.earn(len(message))
            if (reading := self._reader.received(message)) is not None:
                self._budget.spend(_ROW_COST)
                return self._record(reading)
        except WorkBudgetError:
            self.unread("it reports more responses than can be recorded", from_client=False)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "A realtime response could not be measured; its session goes on undisturbed", error)
            self.unread("Metrion failed", from_client=from_client)
        return None

    @property
    def is_partly_unread(self) -> bool:
        """Whether the provider has sent something that was not read: more may be billed than the events say."""
        return False in self._unread_sides

    def unread(self, why: str, *, from_client: bool) -> None:
        """Record that a part of what a side sends passes unread. ``why`` is for the log, and quotes nothing."""
        if from_client in self._unread_sides:
            return
        self._unread_sides.add(from_client)
        path, who = self._request.inbound.path.decode("latin-1"), "client" if from_client else "provider"
        logger.warning("%s: a part of what the %s sends in this session passes unread: %s", path, who, why)

    def _record(self, reading: Reading) -> Event | None:
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
            self._recorder.write(event, self._request)
        return event
