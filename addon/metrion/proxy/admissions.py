"""What this process knows of the flows that it has let through: by the objects themselves, and while they are kept.

mitmproxy keeps flows, in files too, with their credentials masked. A replay may take the place of a caller only if this
process let that very flow through, with a Metrion token and a stored key: that token is remembered beside the flow.
Nothing that is in a flow counts, neither its id nor its metadata, so that none lets itself through.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import http

from metrion.proxy.comments import Comments


class Admissions:
    """Which flows are let through at this moment, and with whose token flows were. Known by the objects themselves."""

    def __init__(self) -> None:
        self._passing: WeakSet[http.HTTPFlow] = WeakSet()
        self._tokens: WeakKeyDictionary[http.HTTPFlow, bytes] = WeakKeyDictionary()
        self.comments = Comments()

    def let_through(self, flow: http.HTTPFlow) -> None:
        """Let a flow through the gate, once."""
        self._passing.add(flow)

    def passes(self, flow: http.HTTPFlow) -> bool:
        """Whether a flow was let through; not a second time."""
        passes = flow in self._passing
        self._passing.discard(flow)
        return passes

    def remember(self, flow: http.HTTPFlow, token: bytes | None) -> None:
        """Remember whose request a flow is. ``None``: nobody's that a replay may take the place of."""
        if token is None:
            self._tokens.pop(flow, None)
        else:
            self._tokens[flow] = token

    def token(self, flow: http.HTTPFlow) -> bytes | None:
        """Return the token of the caller whose request a flow is."""
        return self._tokens.get(flow)
