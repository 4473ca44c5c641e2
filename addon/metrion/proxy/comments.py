"""What each flow cost, beside the flow: events in; its comment, and what the content view shows at its foot, out.

Known by the objects themselves, while mitmproxy keeps them. A comment has amounts, names and ids, never content.
Never: an exception, or a wait; the events are written already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from mitmproxy import ctx, http

from metrion.admission.redaction import Redactor
from metrion.conversations import Total, added, comment, foot
from metrion.faults import log_fault
from metrion.model import Event

logger = logging.getLogger(__name__)


class Comments:
    """See the module."""

    def __init__(self) -> None:
        self._totals: WeakKeyDictionary[http.HTTPFlow, Total] = WeakKeyDictionary()
        self._redactors: WeakKeyDictionary[http.HTTPFlow, Redactor] = WeakKeyDictionary()

    def note(self, flow: http.HTTPFlow, event: Event, redactor: Redactor) -> None:
        """Comment on a flow, whose event has just been written. ``redactor`` masks the credentials of its request."""
        try:
            if event.credential != "pass_through":  # a caller's own key is not remembered
                self._redactors[flow] = redactor
            total = self._totals[flow] = added(self._totals.get(flow), event)
            flow.comment = comment(total)
            # Those who look at flows see the comment after what completes the response has gone out.
            asyncio.get_running_loop().call_soon(_update, flow)
        except Exception as error:  # noqa: BLE001 -- a comment must not reach the traffic
            log_fault(logger, "A flow could not be commented on; its request went through undisturbed", error)

    def below(self, flow: http.HTTPFlow) -> Iterable[tuple[str, str]]:
        """Return what stands at the foot of a flow's view."""
        total = self._totals.get(flow)
        return foot(total) if total is not None else ()

    def mask(self, flow: http.HTTPFlow) -> Callable[[str], str] | None:
        """Return what masks a flow's credentials in a text that repeats them."""
        redactor = self._redactors.get(flow)
        return redactor.text if redactor is not None else None

    def session(self, flow: http.HTTPFlow) -> str | None:
        """Return the id of the session that a flow belongs to."""
        total = self._totals.get(flow)
        return total.last.session_id if total is not None else None


def _update(flow: http.HTTPFlow) -> None:
    if (view := ctx.master.addons.get("view")) is not None:
        view.update([flow])
