"""The small mitmproxy inside a worker of ``metrion serve``: it takes connections over, and has no port of its own.

It has only the addons that the path needs. It is made when the first connection comes that the lane does not serve,
because importing mitmproxy takes half a second and 20 MB.
"""

from __future__ import annotations

import asyncio

from mitmproxy import options
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master
from mitmproxy.proxy import layer, layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context

from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.proxy.addon import MetrionAddon
from metrion.proxy.authority import authority_folder, make_authority
from metrion.settings import Settings


class InnerMode(mode_specs.RegularMode):
    """mitmproxy's regular mode, on connections that others accept."""


class InnerInstance(mode_servers.AsyncioServerInstance[InnerMode]):
    """Takes connections over for :class:`InnerMode`."""

    def make_top_layer(self, context: Context) -> layer.Layer:
        """Override: as the regular mode does."""
        return layers.modes.HttpProxy(context)

    async def listen(self, host: str, port: int) -> list[asyncio.Server]:  # type: ignore[override]  # a list of others too
        """Override: nowhere."""
        del host, port
        return []


class Inner:
    """See the module. Lives on one event loop."""

    def __init__(self, settings: Settings, gateway: Gateway, estimator: Estimator) -> None:
        make_authority(settings.home)
        opts = options.Options(mode=[InnerMode.type_name])
        opts.confdir = str(authority_folder(settings.home))
        self._started = asyncio.Event()
        self._master = Master(opts)
        self._server = proxyserver.Proxyserver()
        addon = MetrionAddon(settings, gateway=gateway, estimator=estimator)
        self._master.addons.add(core.Core(), self._server, next_layer.NextLayer(), tlsconfig.TlsConfig(), addon, self)

    async def start(self) -> None:
        """Return once it can take connections over."""
        self._running = asyncio.get_running_loop().create_task(self._master.run())
        await self._started.wait()
        (self._instance,) = self._server.servers

    def running(self) -> None:
        """Record that mitmproxy has started (its hook after start)."""
        self._started.set()

    def take_over(self, transport: asyncio.Transport, data: bytes, alpn: bytes | None, *, ended: bool) -> None:
        """Serve a connection from now on. ``data`` has been read of it; ``ended``: there is no more."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.serve(reader, writer, alpn)

        protocol = asyncio.StreamReaderProtocol(reader, serve, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if data:
            protocol.data_received(data)
        if ended:  # the loop does not say it twice
            protocol.eof_received()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, alpn: bytes | None = None
    ) -> None:
        """Serve a connection to its end."""
        if alpn is None and (tls := writer.get_extra_info("ssl_object")) is not None:
            alpn = (tls.selected_alpn_protocol() or "").encode() or None
        instance = self._instance
        handler = mode_servers.ProxyConnectionHandler(self._master, reader, writer, self._master.options, instance.mode)
        handler.layer = instance.make_top_layer(handler.layer.context)
        handler.client.alpn = alpn
        with self._server.register_connection(handler.client.id, handler):
            await handler.handle_client()

    @property
    def is_busy(self) -> bool:
        """Whether the end of a response still waits for its client to read it."""
        writers = (
            stream.writer
            for connection in self._server.connections.values()
            for stream in connection.transports.values()
        )
        return any(
            isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() for writer in writers
        )

    async def close_idle(self) -> None:
        """Close all connections. None of them has a request in flight."""
        for connection in tuple(self._server.connections.values()):
            await connection.on_timeout()  # what mitmproxy does to an idle connection: close it

    @property
    def has_connections(self) -> bool:
        """Whether a connection is open."""
        return bool(self._server.connections)

    async def close(self) -> None:
        """End all of it."""
        self._master.shutdown()
        await self._running
