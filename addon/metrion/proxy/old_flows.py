"""The bound on the flows that mitmweb and the console keep: finished flows in, in order; the oldest go.

mitmproxy keeps every flow until a person clears them. Flows in flight, marked ones and those that a person loaded from
a file stay. Never: an exception that reaches a request.
"""

from __future__ import annotations

import logging

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.view import View
from mitmproxy.utils import human

from metrion.faults import log_fault

logger = logging.getLogger(__name__)

_MAX_FLOWS = "metrion_max_flows"
_MAX_SIZE = "metrion_max_flows_size"
_FLOW_SIZE = 8_000
"""What a flow takes besides its bodies, about."""


def add_options(loader: Loader) -> None:
    """Add the bounds to mitmproxy's options."""
    loader.add_option(
        _MAX_FLOWS, int, 2000, "Metrion: how many flows mitmweb and the console keep; the oldest go. 0: all."
    )
    loader.add_option(
        _MAX_SIZE, str, "100m", "Metrion: how large the flows may be that they keep, with their bodies. 0: any size."
    )


class OldFlows:
    """See the module."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        """Of finished flows that are kept, by id; the oldest comes first."""
        self._total = 0

    def finished(self, flow: http.HTTPFlow) -> None:
        """Record that a flow is over, and let the oldest go where there are too many."""
        view = ctx.master.addons.get("view")
        if view is None or (flow.websocket is not None and flow.websocket.timestamp_end is None):
            return
        try:
            self._total += (size := _size(flow)) - self._sizes.pop(flow.id, 0)
            self._sizes[flow.id] = size
            self._trim(view)
        except Exception as error:  # noqa: BLE001 -- what is shown must not reach the traffic
            log_fault(logger, "An old flow could not be removed", error)

    def _trim(self, view: View) -> None:
        most, largest = getattr(ctx.options, _MAX_FLOWS), human.parse_size(getattr(ctx.options, _MAX_SIZE)) or 0
        for flow_id in tuple(self._sizes) if self._is_beyond(view, most, largest) else ():
            if not self._is_beyond(view, most, largest):
                break
            flow = view.get_by_id(flow_id)
            if flow is not None and (flow.marked or flow.intercepted or flow.live):
                continue
            self._total -= self._sizes.pop(flow_id)
            if flow is not None:
                view.remove([flow])

    def _is_beyond(self, view: View, most: int, largest: int) -> bool:
        return bool((most and view.store_count() > most) or (largest and self._total > largest))


def _size(flow: http.HTTPFlow) -> int:
    messages = [flow.request, *([flow.response] if flow.response else [])]
    bodies = sum(len(message.raw_content or b"") for message in messages)
    session = flow.websocket.messages if flow.websocket is not None else ()
    return _FLOW_SIZE + bodies + sum(len(message.content) for message in session)
