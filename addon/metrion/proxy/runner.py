"""The small mitmproxy behind ``metrion serve``: one port, only the addons that the path needs.

Runs until SIGTERM or SIGINT, then stops listening, lets requests in flight end (for at most the drain time) and
returns. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import options
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master

from metrion.proxy.addon import MetrionAddon
from metrion.settings import Settings
from metrion.store import wait_until_ready

DRAIN_POLL_SECONDS = 0.05
CLOSE_SECONDS = 1.0
"""How long idle connections may take to close at the end."""
STORE_SECONDS = 30.0
"""How long the store may take to be ready: another process may be ingesting into it."""


class ServeError(Exception):
    """The proxy cannot run. The message says why and the way out."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the proxy listens, once it does."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL of the proxy itself."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def run(
    settings: Settings, *, host: str, port: int, drain_seconds: float, on_listening: Callable[[Listening], None]
) -> None:
    """Serve until told to stop.

    :raises ServeError: the port cannot be listened on.
    """
    logging.getLogger("mitmproxy.addons.proxyserver").setLevel(logging.CRITICAL)  # what it says is said by `ServeError`
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_Runner(settings, host, port, drain_seconds, on_listening).run())


class _Runner:
    def __init__(
        self,
        settings: Settings,
        host: str,
        port: int,
        drain_seconds: float,
        on_listening: Callable[[Listening], None],
    ) -> None:
        self._settings = settings
        self._host = host
        self._port = port
        self._drain_seconds = drain_seconds
        self._on_listening = on_listening
        self._draining: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def run(self) -> None:
        opts = options.Options(listen_host=self._host, listen_port=self._port, mode=["regular"])
        # Certificates for intercepted TLS are Metrion's own business, not the user's mitmproxy's.
        opts.confdir = str(self._settings.home / "ca")
        self._master = Master(opts)
        self._proxyserver = proxyserver.Proxyserver()
        self._addon = MetrionAddon(self._settings, hooks=False)
        # The store is there, with its view, before anything listens.
        wait_until_ready(self._addon.start_ingester(), STORE_SECONDS)
        self._master.addons.add(
            core.Core(), self._proxyserver, next_layer.NextLayer(), tlsconfig.TlsConfig(), self._addon, self
        )
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop)
        await self._master.run()
        if self._failure is not None:
            raise self._failure

    def running(self) -> None:
        """Say where the servers listen, or why they do not (mitmproxy's hook after start)."""
        addresses = self._proxyserver.listen_addrs()
        if addresses:
            try:
                self._on_listening(Listening(self._host, addresses[0][1]))
            except Exception as error:  # noqa: BLE001 -- mitmproxy would log it and go on; it is raised from `run`
                self._fail(error)
            return
        reasons = [server.last_exception for server in self._proxyserver.servers if server.last_exception]
        why = getattr(reasons[0], "__cause__", None) or reasons[0] if reasons else "no reason given"
        self._fail(
            ServeError(
                f"cannot listen on {self._host}:{self._port}: {why}. "
                "Another program may hold the port; choose one with --port, or `listen` in metrion.yaml."
            )
        )

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._master.shutdown()

    def _stop(self) -> None:
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self._master.shutdown()

    async def _drain(self) -> None:
        self._addon.gateway.draining = True
        for server in self._proxyserver.servers:
            await server.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_seconds
        while self._is_busy() and loop.time() < deadline:  # noqa: ASYNC110 -- an event would be set at every request's end
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        connections = self._proxyserver.connections
        for connection in tuple(connections.values()):
            await connection.on_timeout()  # what mitmproxy does to an idle connection: close it
        deadline = loop.time() + CLOSE_SECONDS
        while connections and loop.time() < deadline:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        self._master.shutdown()

    def _is_busy(self) -> bool:
        """Whether a request is in flight, or the end of a response still waits for its client to read it."""
        writers = (
            stream.writer
            for connection in self._proxyserver.connections.values()
            for stream in connection.transports.values()
        )
        return bool(self._addon.gateway.live) or any(
            isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() for writer in writers
        )
