"""Calls a stream back after some seconds, as an event of its connection."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from mitmproxy import ctx
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.utils import asyncio_utils


class Deadline:
    """Rings as an ``events.Wakeup``.

    Costs a timer that can be taken back; mitmproxy's own wakeups cost a task each that sleeps to its end.
    """

    def __init__(self, stream: HttpStream) -> None:
        self._context = stream.context
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Ring once, this many seconds from now, and not when set before."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring, seconds)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_client_slow(self) -> bool:
        """Whether bytes for the client wait to be read by it; then the silence is not the provider's."""
        handler = connection_handler(self._context)
        stream = handler.transports.get(self._context.client) if handler else None
        writer = stream.writer if stream else None
        return isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() > 0

    def _ring(self, seconds: float) -> None:
        handler = connection_handler(self._context)
        if handler is None:
            return
        wakeup = commands.RequestWakeup(seconds)
        for layer, within in pairwise(self._context.layers):  # two of them are HTTP layers where there is a tunnel
            if isinstance(layer, HttpLayer):
                layer.command_sources[wakeup] = within
        asyncio_utils.create_task(handler.server_event(events.Wakeup(wakeup)), name="metrion alarm", keep_ref=True)


def connection_handler(context: Context) -> ProxyConnectionHandler | None:
    """Return what serves a client's connection, as long as it does."""
    proxyserver: Proxyserver = ctx.master.addons.get("proxyserver")
    return proxyserver.connections.get(context.client.id)
