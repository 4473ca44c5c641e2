"""Writes what is to be said of requests with :mod:`logging`: the thin shell around this room.

In: decisions and ends, as they happen in one process. Out: log records, each a whole line. It never raises, never
waits, and costs one check where nothing is to be written. It is called after the event is written, never before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrion.addresses import address_of
from metrion.admission.client_address import client_address
from metrion.faults import log_fault
from metrion.logs.access import access_line
from metrion.logs.decisions import asked, decided, ended
from metrion.logs.notices import Notice, Notices
from metrion.logs.output import ACCESS, LogOptions
from metrion.logs.remembered import Remembered
from metrion.model import Answer, Event, Forward, Inbound, Refusal

if TYPE_CHECKING:
    from metrion.relay.attempt import Attempt
    from metrion.settings import ProviderSettings, Settings

notices_logger = logging.getLogger("metrion.notices")
access_logger = logging.getLogger(ACCESS)
decisions_logger = logging.getLogger("metrion.decisions")


@dataclass(slots=True)
class RequestLog:
    """See the module."""

    notices: Notices | None = None
    access: bool = False
    decisions: bool = False

    @classmethod
    def of(
        cls,
        providers: Mapping[str, ProviderSettings],
        wanted: LogOptions,
        remembered: Remembered | None = None,
    ) -> RequestLog:
        """Return the log of a process. ``remembered``: what all processes of its proxy have said."""
        says = wanted.level in ("debug", "info", "warning")
        notices = Notices(providers, remembered or Remembered(providers)) if says else None
        return cls(notices, wanted.access, wanted.level == "debug")

    def use(self, settings: Settings) -> None:
        """Know providers by these settings."""
        if self.notices is not None:
            self.notices.providers = settings.providers

    def decided(self, inbound: Inbound, decision: Forward | Refusal) -> None:
        """Write what was decided about a request."""
        if not self.decisions:
            return
        try:
            decisions_logger.debug("%s", decided(inbound, decision))
        except Exception as error:  # noqa: BLE001 -- a line of the log must not reach the traffic
            _fault(error)

    def finished(self, attempt: Attempt, event: Event | None) -> None:
        """Write what there is to say of a request that is over; ``event``: its row, if it has one."""
        request, refusal = attempt.request, attempt.refusal
        try:
            if self.notices is not None:
                if event is not None:
                    _write(self.notices.finished(event, refusal))
                elif refusal is not None:
                    path = "" if refusal.provider else asked(request.inbound, refusal)
                    _write(self.notices.refused(refusal, path))
            if self.access:
                line = access_line(
                    request.inbound,
                    status=attempt.status,
                    seconds=time.perf_counter() - request.began if event is None else (event.latency_ms or 0) / 1000,
                    now=request.started_at.replace(tzinfo=UTC),
                    decision=request.decision,
                    event=event,
                    address=_address(request.inbound),
                )
                access_logger.info("%s", line)
            if self.decisions and event is not None:
                decisions_logger.debug("%s", ended(request.inbound, request.decision, event))
        except Exception as error:  # noqa: BLE001 -- as above
            _fault(error)

    def answered(self, inbound: Inbound, answer: Answer, *, began: float) -> None:
        """Write about a request that Metrion answers itself, such as ``GET /health``."""
        if not (self.access or self.decisions):
            return
        try:
            if self.access:
                seconds, address = time.perf_counter() - began, _address(inbound)
                line = access_line(
                    inbound, status=answer.status, seconds=seconds, now=datetime.now(UTC), address=address
                )
                access_logger.info("%s", line)
            if self.decisions:
                decisions_logger.debug("%s", decided(inbound, answer))
        except Exception as error:  # noqa: BLE001 -- as above
            _fault(error)

    def unreadable(self, status: int, message: str, peer: object) -> None:
        """Write about a head that could not be read. ``message``: Metrion's own words."""
        try:
            if self.notices is not None:
                _write(self.notices.unreadable(status, message))
            if self.access:
                line = access_line(None, status=status, seconds=0.0, now=datetime.now(UTC), address=address_of(peer))
                access_logger.info("%s", line)
            if self.decisions:
                decisions_logger.debug("A head could not be read, refused with %d: %s", status, message)
        except Exception as error:  # noqa: BLE001 -- as above
            _fault(error)


def _address(inbound: Inbound) -> str | None:
    address = client_address(inbound)
    return None if address is None else str(address)


def _write(notices: Iterable[Notice]) -> None:
    for kind, level, text in notices:
        notices_logger.log(level, "%s", text, extra={"notice": kind})


def _fault(error: Exception) -> None:
    log_fault(notices_logger, "A line of the log could not be written", error)
