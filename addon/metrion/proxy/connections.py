"""What mitmproxy knows of a client's connection, and how a stream of it is woken."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from mitmproxy import ctx
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.utils import asyncio_utils


def connection_handler(context: Context) -> ProxyConnectionHandler | None:
    """Return what serves a client's connection, as long as it does."""
    proxyserver: Proxyserver = ctx.master.addons.get("proxyserver")
    return proxyserver.connections.get(context.client.id)


def is_client_slow(context: Context) -> bool:
    """Whether bytes for the client wait to be read by it; then the silence is not the provider's."""
    handler = connection_handler(context)
    stream = handler.transports.get(context.client) if handler else None
    writer = stream.writer if stream else None
    return isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() > 0


def wake(context: Context) -> None:
    """Give a stream an ``events.Wakeup``.

    mitmproxy's own wakeups cost a task each that sleeps to its end; the timer that calls this can be taken back.
    """
    handler = connection_handler(context)
    if handler is None:
        return
    wakeup = commands.RequestWakeup(0)
    for layer, within in pairwise(context.layers):  # two of them are HTTP layers where there is a tunnel
        if isinstance(layer, HttpLayer):
            layer.command_sources[wakeup] = within
    asyncio_utils.create_task(handler.server_event(events.Wakeup(wakeup)), name="metrion deadline", keep_ref=True)
