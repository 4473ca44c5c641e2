"""The way of a client's requests to their providers, one after the other.

A request goes out on a connection that waits in the pool, or on a new one. Where a connection was closed while it was
idle, the request goes once more on a new one, unless the system has already taken all of it. While there is no
connection, the client is not read. The owner of the request gets one call: it can go out, or it cannot.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from metrion.faults import log_fault
from metrion.lane import wire
from metrion.lane.brake import CLIENT_SLOW, OPENING, READS_NOTHING, UPSTREAM_SLOW, Brake
from metrion.lane.connect import ConnectError
from metrion.lane.http1 import RequestHead
from metrion.lane.outgoing import RequestWriter
from metrion.lane.pool import Pool
from metrion.lane.upstream import Asker, Upstream
from metrion.model import Origin

logger = logging.getLogger(__name__)


class Owner(Asker, Protocol):
    """Whose requests are sent."""

    def on_connected(self) -> None:
        """Send the request: there is a connection."""

    def on_unreachable(self, why: str | None) -> None:
        """Give up the request: there is no connection. ``why``: fit to be shown."""


class Sender:
    """See the module. ``brake``: the client's."""

    def __init__(self, owner: Owner, pool: Pool[Upstream], brake: Brake) -> None:
        self.request = RequestWriter()
        """What goes out in this turn."""
        self._owner = owner
        self._pool = pool
        self._brake = brake
        self._head: RequestHead
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None

    def open(self, origin: Origin, head: RequestHead) -> bool:
        """Begin a request; return whether there is a connection for it. If not, the owner gets a call."""
        self.request = RequestWriter()
        self._head = head
        if (upstream := self._pool.take(origin)) is None:
            self._connect(origin)
            return False
        self.request.keep()
        self._use(upstream)
        return True

    def flush(self) -> None:
        """Write what goes out in this turn."""
        upstream = self._upstream
        if upstream is not None and (data := self.request.take()):
            upstream.write(data, whole=self.request.ended)
            if self.request.ended and upstream.is_written:
                self.request.forget()

    def stop(self, why: int, *, stopped: bool) -> None:
        """Stop reading the provider for a reason, or end that reason."""
        if self._upstream is not None:
            self._upstream.stop(why, stopped=stopped)

    def abort(self) -> None:
        """Give up the request: close its connection, and open none."""
        self.request.drop()
        self._brake.set(OPENING, holds=False)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None

    # --- what becomes of the connection ---

    def on_end(self) -> None:
        """Give the connection back: the response is whole."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if upstream.is_reusable:
                self._pool.give_back(upstream)
            else:
                upstream.abort()

    def on_failure(self, why: str | None) -> bool:
        """Return whether that ends the request: it had a connection, and does not go on another."""
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return False
        if why is not None and not upstream.has_answered and self.request.again():
            self._brake.set(OPENING, holds=True)
            self._connect(upstream.origin)
            return False
        return True

    def on_slow(self, *, slow: bool) -> None:
        """Do not read the client while its provider does not read as fast."""
        self._brake.set(UPSTREAM_SLOW, holds=slow)
        if not slow and self.request.ended:
            self.request.forget()  # the system has all of it

    # --- within ---

    def _connect(self, origin: Origin) -> None:
        connecting = asyncio.get_running_loop().create_task(self._connected(origin))
        if not connecting.done():
            self._connecting = connecting

    async def _connected(self, origin: Origin) -> None:
        try:
            upstream = await self._pool.connect(origin)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer
            if not isinstance(error, ConnectError):
                log_fault(logger, "A provider could not be connected to", error)
            self._connecting = None
            self._brake.set(OPENING, holds=False)
            self._owner.on_unreachable(str(error) if isinstance(error, ConnectError) else None)
            return
        self._connecting = None
        self._use(upstream)
        self._owner.on_connected()

    def _use(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._brake.set(OPENING | UPSTREAM_SLOW, holds=False)
        upstream.stop(CLIENT_SLOW, stopped=self._brake.holds(READS_NOTHING))
        # A request goes on with all of its header fields, and so may ask its provider to close.
        upstream.ask(self._owner, self._head.method, keep_alive=not wire.says_close(self._head.headers))
