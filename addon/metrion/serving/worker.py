"""The small mitmproxy in each worker of ``metrion serve``: one port, only the addons that the path needs.

Runs until SIGTERM or SIGINT, then stops listening, lets requests in flight end (for at most the drain time) and
returns. The end of the lifeline, which the supervisor holds, ends it at once; a second signal does nothing, since one
to the whole process group reaches a worker twice.
"""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import certs, options
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master
from mitmproxy.proxy import layer, layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context

from metrion.gateway.board import Slot
from metrion.proxy.addon import MetrionAddon
from metrion.serving.listening import BACKLOG
from metrion.settings import Settings

DRAIN_POLL_SECONDS = 0.05
CLOSE_SECONDS = 1.0
"""How long idle connections may take to close at the end."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given by its supervisor."""

    listeners: Sequence[socket.socket]
    """Sockets that listen already."""
    slot: Slot
    lifeline: int
    """A descriptor that can be read when the supervisor is gone."""
    on_listening: Callable[[], None]
    on_draining: Callable[[], None]


def work(settings: Settings, place: Place, drain_seconds: float) -> None:
    """Serve until told to stop. :data:`SIGNALS` may be blocked until then; they are unblocked when they are handled."""
    asyncio.run(_Runner(settings, place, drain_seconds).run())


def prepare_certificates(settings: Settings) -> None:
    """Make the certificate authority for intercepted TLS, once for all workers."""
    folder = _certificates(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another `serve` in the same home
        certs.CertStore.from_store(folder, options.CONF_BASENAME, options.KEY_SIZE)


def _certificates(settings: Settings) -> Path:
    # Metrion's own, not the user's mitmproxy's.
    return settings.home / "ca"


class WorkerMode(mode_specs.RegularMode):
    """mitmproxy's regular mode, on sockets that listen already."""


class WorkerInstance(mode_servers.AsyncioServerInstance[WorkerMode]):
    """Accepts connections for :class:`WorkerMode`."""

    def make_top_layer(self, context: Context) -> layer.Layer:
        """Override: as the regular mode does."""
        return layers.modes.HttpProxy(context)

    async def listen(self, host: str, port: int) -> list[asyncio.Server]:  # type: ignore[override]  # a list of others too
        """Override: host and port are those of the sockets."""
        del host, port
        assert isinstance(self.manager, _WorkerServer)  # noqa: S101 -- the only one that starts this mode
        return [
            await asyncio.start_server(self.handle_stream, sock=listener, backlog=BACKLOG)
            for listener in self.manager.listeners
        ]


class _WorkerServer(proxyserver.Proxyserver):
    name = "proxyserver"  # by which mitmproxy finds it

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no annotations
        self.listeners = listeners


class _Runner:
    def __init__(self, settings: Settings, place: Place, drain_seconds: float) -> None:
        self._settings = settings
        self._place = place
        self._drain_seconds = drain_seconds
        self._started = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    async def run(self) -> None:
        opts = options.Options(mode=[WorkerMode.type_name])
        opts.confdir = str(_certificates(self._settings))
        self._master = Master(opts)
        self._server = _WorkerServer(self._place.listeners)
        self._addon = MetrionAddon(self._settings, hooks=False, slot=self._place.slot)
        self._master.addons.add(
            core.Core(), self._server, next_layer.NextLayer(), tlsconfig.TlsConfig(), self._addon, self
        )
        loop = asyncio.get_running_loop()
        for signum in SIGNALS:
            loop.add_signal_handler(signum, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        loop.add_reader(self._place.lifeline, self._end)
        await self._master.run()

    def running(self) -> None:
        """Say that connections are accepted (mitmproxy's hook after start)."""
        for server in self._server.servers:
            if server.last_exception is not None:
                raise server.last_exception
        self._started.set()
        self._place.on_listening()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._place.lifeline)
        self._master.shutdown()

    def _stop(self) -> None:
        if self._draining is None:
            self._place.on_draining()
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._started.wait()
        for server in self._server.servers:
            await server.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain_seconds
        while self._is_busy() and loop.time() < deadline:  # noqa: ASYNC110 -- an event would be set at every request's end
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        connections = self._server.connections
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
            for connection in self._server.connections.values()
            for stream in connection.transports.values()
        )
        return bool(self._addon.gateway.live) or any(
            isinstance(writer, asyncio.StreamWriter) and writer.transport.get_write_buffer_size() for writer in writers
        )
