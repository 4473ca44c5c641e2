"""A worker of ``metrion serve``: serves on sockets that listen already, on the lane or by mitmproxy's layers.

Runs until SIGTERM or SIGINT, then stops listening, lets requests in flight end (for at most the drain time) and
returns. The end of the lifeline, which the supervisor holds, ends it at once. A second signal does nothing, because one
to the whole process group reaches a worker twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
from typing import TYPE_CHECKING

from metrion.faults import log_fault
from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.lane.accepting import Acceptor, raise_descriptor_limit
from metrion.lane.connect import tls_context
from metrion.lane.lane import Lane
from metrion.lane.loop import new_event_loop
from metrion.lane.pool import Pool
from metrion.lane.upstream import Upstream
from metrion.logs.output import write_from_thread
from metrion.logs.request_log import RequestLog
from metrion.providers import PROVIDERS
from metrion.serving.configuration import Configuration
from metrion.serving.stop_signals import STOP_SIGNALS
from metrion.serving.worker_context import WorkerContext

if TYPE_CHECKING:
    from metrion.proxy.inner import Inner

logger = logging.getLogger(__name__)

_ROAD = "METRION_ROAD"
"""If this environment variable is ``mitmproxy``, its layers serve every connection. For tests and comparisons."""
_DRAIN_POLL_SECONDS = 0.05
_CLOSE_SECONDS = 1.0
"""How long idle connections may take to close at the end."""


def work(
    configuration: Configuration,
    context: WorkerContext,
    drain_seconds: float,
    tls: ssl.SSLContext | None,
    log: RequestLog,
) -> None:
    """Serve until a signal stops it. :data:`STOP_SIGNALS` may be blocked before; they are unblocked once handled."""
    raise_descriptor_limit()
    outlet = write_from_thread()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_Worker(configuration, context, drain_seconds, tls, log).run())
    finally:
        outlet.close()


class _Worker:
    def __init__(
        self,
        configuration: Configuration,
        context: WorkerContext,
        drain_seconds: float,
        tls: ssl.SSLContext | None,
        log: RequestLog,
    ) -> None:
        self._settings = configuration.settings
        self._context = context
        self._drain_seconds = drain_seconds
        self._tls = tls
        self._over = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._gateway = Gateway(self._settings, context.slot, log, configuration.prices())
        self._estimator = Estimator()
        self._inner: asyncio.Task[Inner] | None = None
        self._acceptors: list[Acceptor] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._lane = Lane(self._gateway, self._estimator, self._pool(), self._hand_over)
        self._estimator.prepare()
        if os.environ.get(_ROAD) == "mitmproxy":
            inner = await self._started_inner()
            for listener in self._context.listeners:
                self._acceptors.append(Acceptor(listener, lambda: _streams(inner), self._tls))
        else:
            self._lane.listen(self._context.listeners, self._tls)
        for signum in STOP_SIGNALS:
            loop.add_signal_handler(signum, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        loop.add_reader(self._context.lifeline, self._end)
        loop.add_reader(self._context.orders, self._take_order)
        self._context.on_listening()
        try:
            await self._over.wait()
        finally:
            self._gateway.close()
            self._estimator.close()
            self._lane.close()
            if (running := self._running_inner()) is not None:
                await running.close()

    @staticmethod
    def _pool() -> Pool[Upstream]:
        trust = tls_context(os.environ.get("SSL_CERT_FILE"))  # as with OpenSSL, curl and the SDKs
        hosts = {provider.upstream.host for provider in PROVIDERS.values()}
        return Pool(Upstream, tls=lambda _: trust, is_known=lambda origin: origin.host in hosts)

    # --- what the lane does not serve ---

    def _hand_over(self, transport: asyncio.Transport, data: bytes, alpn: bytes | None, *, ended: bool) -> None:
        if (inner := self._running_inner()) is not None:
            inner.take_over(transport, data, alpn, ended=ended)
            return
        transport.pause_reading()

        def take_over(started: asyncio.Future[Inner]) -> None:
            if transport.is_closing():
                return
            error = None if started.cancelled() else started.exception()
            if isinstance(error, Exception):
                log_fault(logger, "A connection could not be handed over to mitmproxy", error)
            if started.cancelled() or error is not None:
                transport.abort()
                return
            started.result().take_over(transport, data, alpn, ended=ended)
            transport.resume_reading()

        asyncio.ensure_future(self._started_inner()).add_done_callback(take_over)

    def _running_inner(self) -> Inner | None:
        started = self._inner is not None and self._inner.done() and self._inner.exception() is None
        return self._inner.result() if started and self._inner is not None else None

    async def _started_inner(self) -> Inner:
        if self._inner is None or (self._inner.done() and self._inner.exception() is not None):
            self._inner = asyncio.ensure_future(self._start_inner())
        return await asyncio.shield(self._inner)

    async def _start_inner(self) -> Inner:
        # Others are served while a thread imports what takes half a second.
        module = await asyncio.to_thread(_import_inner)
        inner = module(self._settings, self._gateway, self._estimator)
        await inner.start()
        return inner

    # --- orders ---

    def _take_order(self) -> None:
        try:
            configuration = self._context.orders.read()
        except EOFError:  # the lifeline says it, too
            asyncio.get_running_loop().remove_reader(self._context.orders)
            return
        if configuration is not None:
            self._reloading = asyncio.get_running_loop().create_task(self._reload(configuration))

    async def _reload(self, configuration: Configuration) -> None:
        try:
            # It takes 50 ms.
            prices = await asyncio.to_thread(configuration.prices)
            self._gateway.reload(configuration.settings, prices)
        except Exception as error:  # noqa: BLE001 -- this worker goes on as it was, and is replaced
            log_fault(logger, "A worker could not reload", error)
            self._context.orders.confirm(taken=False)
            return
        self._settings = configuration.settings
        self._context.orders.confirm(taken=True)

    # --- the end ---

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._context.lifeline)
        self._over.set()

    def _stop(self) -> None:
        if self._draining is None:
            self._context.on_draining()
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        self._lane.drain()
        loop = asyncio.get_running_loop()
        inner = self._running_inner()
        deadline = loop.time() + self._drain_seconds
        while self._is_busy(inner) and loop.time() < deadline:  # noqa: ASYNC110 -- an event would be set at the end of every request
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        if inner is not None:
            await inner.close_idle()
        self._lane.close_idle()
        deadline = loop.time() + _CLOSE_SECONDS
        while self._has_connections(inner) and loop.time() < deadline:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        self._over.set()

    def _is_busy(self, inner: Inner | None) -> bool:
        return bool(self._gateway.live) or self._lane.is_busy or (inner is not None and inner.is_busy)

    def _has_connections(self, inner: Inner | None) -> bool:
        return bool(self._lane.connections) or (inner is not None and inner.has_connections)


def _streams(inner: Inner) -> asyncio.StreamReaderProtocol:
    """Return the protocol of a connection that mitmproxy's layers serve from its start."""
    loop = asyncio.get_running_loop()
    return asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), inner.serve, loop=loop)


def _import_inner() -> type[Inner]:
    from metrion.proxy.inner import Inner

    return Inner
