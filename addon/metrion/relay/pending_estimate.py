"""The estimate of what a response cost its provider, where nobody reported it.

In: a request and what its response said. Out: the usage, or nothing where somebody reported it. Reads texts that a
request keeps for it; never raises once it runs, and may run in any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from metrion import estimates
from metrion.estimates.speech import BY_CHARACTER
from metrion.faults import log_fault
from metrion.model import EndReason, Reading, Usage
from metrion.pricing import PER_CHARACTER, PriceBook
from metrion.relay.request import Request

logger = logging.getLogger(__name__)


class Estimation:
    """One estimate, from the decision that it is needed to its result."""

    __slots__ = ("_input", "usage")

    def __init__(self, estimate_input: estimates.EstimateInput) -> None:
        self._input = estimate_input
        self.usage: Usage | None = None
        """The result; ``None`` before it runs, and where there is none."""

    @property
    def bytes(self) -> int:
        """How much it has to read."""
        return sum(each.kept for each in (self._input.request, self._input.response) if each is not None)

    def run(self) -> None:
        """Estimate. Takes milliseconds."""
        try:
            self.usage = estimates.estimate(self._input)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "Tokens could not be estimated; their request went through undisturbed", error)


def needed_estimation(
    request: Request, final_reading: Callable[[], Reading], prices: PriceBook, *, end_reason: EndReason, streamed: bool
) -> Estimation | None:
    """Return the estimate that a successful response needs, ``None`` where it needs none.

    ``final_reading`` is called only where an estimate is possible at all. ``streamed``: the response is a stream of
    events.
    """
    route = request.decision.route
    if route is None or request.sample is None:
        return None
    reading = final_reading()
    model_requested = request.sent_model or route.model or request.model
    estimate_input = estimates.estimate_input(
        dialect=route.dialect,
        reading=reading,
        end_reason=end_reason,
        model_requested=model_requested,
        streamed=streamed,
        request=request.sample,
        response=request.response_sample,
        by_character=route.dialect in BY_CHARACTER
        and prices.is_billed_by(
            PER_CHARACTER,
            provider=route.provider,
            model=reading.model,
            model_requested=model_requested,
            when=request.started_at,
        ),
    )
    return Estimation(estimate_input) if estimate_input is not None else None
