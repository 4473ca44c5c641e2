"""Makes events of what was observed, and writes them: one object for all requests of a process.

In: a request, how it went, and what its response said. Out: its event, priced, and the bill of an earlier request
settled where this response is the first to report it. Never: an event that is written by itself; whoever owns the
attempt decides when, and guards it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from metrion.dialects import FORMATS
from metrion.dialects.reading import growing_usage
from metrion.dialects.reading.usage_check import check
from metrion.metering.meter import measure
from metrion.metering.outcome import Outcome
from metrion.model import Event, Reading, Route, Usage
from metrion.pricing import PriceBook
from metrion.relay.request import Request
from metrion.relay.settlement import Generations, carry_out, settlement

logger = logging.getLogger(__name__)


class Recorder:
    """See the module. ``write`` takes an event for good, with the request that it is of; it must not raise."""

    def __init__(self, prices: PriceBook, write: Callable[[Event, Request], None], generations: Generations) -> None:
        self.prices = prices
        self.write = write
        self._generations = generations

    def expects(self, provider: str, generation_id: str) -> bool:
        """Whether the usage of something that a provider works at has not been reported yet."""
        return self._generations.expects(provider, generation_id)

    def event(self, request: Request, outcome: Outcome, reading: Reading, *, in_session: bool) -> Event | None:
        """Return the event of a request; ``None`` for one that named no provider.

        ``in_session``: each billed response of the WebSocket session has an event of its own.
        """
        inbound, decision = request.inbound, request.decision
        route, redactor = decision.route, request.redactor
        for warning in reading.warnings:
            path = redactor.text(inbound.path.decode("latin-1"))
            logger.warning("%s %s: %s", route.provider if route else "-", path, redactor.text(warning))
        names = _names(route, reading)
        # No file may hold a credential, not even as the id of what is billed later.
        is_storable = not any(map(redactor.repeats, (*names, reading.output or "")))
        if route is not None and reading.done_at is not None and is_storable:
            for name in names:
                self._generations.finish(route.provider, name, reading.done_at)
        if reading.growing and reading.usage is not None and reading.usage.raw is not None:
            reading = replace(reading, usage=replace(reading.usage, raw=redactor.json(reading.usage.raw)))
        decided = settlement(
            route if is_storable else None,
            inbound.method,
            outcome.status,
            reading,
            outcome.end_reason,
            in_session=in_session,
        )
        carried_out = carry_out(decided, self._generations)
        settles = carried_out is not False
        if reading.growing and reading.usage is not None and is_storable:
            reading = _since(reading, reading.usage, carried_out)
        if route is not None and settles and reading.done_at is None:
            days = (self._generations.done_at(route.provider, name) for name in names)
            reading = replace(reading, done_at=next((day for day in days if day is not None), None))
        is_known = self._generations.knows
        asked_here = route is not None and reading.is_results and any(is_known(route.provider, each) for each in names)
        return measure(
            inbound,
            decision,
            outcome,
            reading,
            self.prices,
            model_requested=request.model,
            settles=settles,
            asked_here=asked_here,
            fields=request.fields,
            redactor=redactor,
            policy=outcome.policy,
            model_sent=request.sent_model,
        )

    def session_event(self, request: Request, outcome: Outcome, reading: Reading) -> Event | None:
        """Return the event of one billed response in a WebSocket session."""
        return measure(
            request.inbound,
            request.decision,
            outcome,
            reading,
            self.prices,
            settles=True,
            fields=request.fields,
            redactor=request.redactor,
            policy=request.policy,
        )


def _since(reading: Reading, usage: Usage, before: bool | str) -> Reading:
    """Return the reading with what was used since the usage ``before`` was reported; ``False``: nothing was."""
    if before is False and not usage.unbilled:
        return replace(reading, usage=Usage(raw=usage.raw, unbilled=True))
    form = FORMATS.get(reading.wire_format or "")
    if isinstance(before, bool) or form is None or usage.raw is None:
        return reading
    document, text = growing_usage.both(usage.raw, before)
    checked = check(document, form, model=reading.model, source=text)
    return replace(reading, usage=replace(checked.usage, raw=text), doubtful=reading.doubtful or checked.is_doubtful)


def _names(route: Route | None, reading: Reading) -> tuple[str, ...]:
    """Return the names under which something may be expected that a response is about."""
    names = (route.output, route.generation_id, reading.generation_id) if route is not None else ()
    return tuple(name for name in names if name is not None)
