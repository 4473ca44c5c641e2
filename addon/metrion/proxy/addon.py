"""The hook class: plugs Metrion into a mitmproxy, whichever program runs it.

Every HTTP layer that mitmproxy would run is replaced by Metrion's. A connection that is not HTTP is closed. A flow that
reaches a hook without having passed a metered stream is refused. A fault in any of this refuses; it never lets pass.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Set as AbstractSet

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import HttpLayer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.proxy.tunnel import TunnelLayer

from metrion.admission.codes import INTERNAL
from metrion.admission.refusals import render
from metrion.faults import log_fault
from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.gateway.ingestion import CHECK_SECONDS, Ingestion
from metrion.gateway.scoreboard import Scoreboard
from metrion.logs.output import LogOptions
from metrion.logs.request_log import RequestLog
from metrion.model import EndReason, Refusal
from metrion.proxy import content_view, http1, http2, old_flows, playback
from metrion.proxy.admissions import Admissions
from metrion.proxy.commands import Commands
from metrion.proxy.layers import MeteredHttpLayer
from metrion.proxy.logs import add_options, choose, install_filter, warn_of_plain_http
from metrion.proxy.pacing import pace
from metrion.proxy.stream import MeteredStream
from metrion.proxy.tunnels import Search, Targets
from metrion.relay.attempt import Attempt
from metrion.settings import Settings

logger = logging.getLogger(__name__)

_OPTIONS: dict[str, object] = {
    "connection_strategy": "lazy",  # connect when the request is known, not before
    "rawtcp": False,  # bytes that are not HTTP would go upstream unauthenticated
}


_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"


class _ClosedLayer(layer.Layer):
    """Closes the client's connection. Runs in place of anything that cannot be metered."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


class MetrionAddon:
    """See the module.

    Without a ``gateway`` it is the whole proxy: with one of its own, an ingester, and other addons that see the flows.
    """

    name = "metrion"

    def __init__(
        self, settings: Settings, *, gateway: Gateway | None = None, estimator: Estimator | None = None
    ) -> None:
        self.settings = settings
        self._hooks = gateway is None
        """Whether other addons see the flows."""
        self._own_scoreboard: Scoreboard | None = None
        if gateway is None:
            self._own_scoreboard = Scoreboard()
            log = RequestLog.of(settings.providers, LogOptions())
            gateway = Gateway(settings, self._own_scoreboard.take(0, os.getpid()), log)
        self.gateway = gateway
        self._ingestion: Ingestion | None = None
        self._watch: asyncio.Task[None] | None = None
        self._estimator = estimator or Estimator()
        self._admissions = Admissions()
        self._targets = Targets(lambda: gateway.router.hosts)
        self._old_flows = old_flows.OldFlows()
        self.addons = [Commands(settings, self._admissions.comments)] if self._hooks else []
        """What mitmproxy adds besides, if it is the program."""

    def load(self, loader: Loader) -> None:
        """Set the options that metering and fail-closed routing rely on."""
        if self._own_scoreboard is not None:
            add_options(loader)
            old_flows.add_options(loader)
            content_view.install(self._admissions.comments)
        install_filter()
        http1.install()
        playback.install(self._admissions, self.gateway)
        http2.install()
        if (trusted := os.environ.get("SSL_CERT_FILE")) and not ctx.options.ssl_verify_upstream_trusted_ca:
            ctx.options.update(ssl_verify_upstream_trusted_ca=trusted)  # as with OpenSSL, curl and the SDKs
        timeouts = [plan.timeout or 0 for plan in self.settings.plans.values()]
        timeouts += [provider.timeout or 0 for provider in self.settings.providers.values()]
        # mitmproxy closes idle connections by itself; the deadlines of requests are Metrion's.
        ctx.options.update(**_OPTIONS, tcp_timeout=int(max(3600, 2 * max(timeouts))))

    def configure(self, updated: AbstractSet[str]) -> None:
        """Set the options back where another script or a command line has changed them."""
        changed = {
            name: value for name, value in _OPTIONS.items() if name in updated and getattr(ctx.options, name) != value
        }
        if self._own_scoreboard is not None:
            choose(self.gateway.log, ctx.options, updated)
        if changed:
            logger.warning("Metrion needs %s; set back.", ", ".join(f"{k}={v}".lower() for k, v in changed.items()))
            ctx.options.update(**changed)

    def running(self) -> None:
        """Start the ingester, where it is this process's own, and prepare estimates (mitmproxy's hook after start)."""
        if self._own_scoreboard is not None:
            self._estimator.prepare()
            warn_of_plain_http(ctx.master.addons.get("proxyserver").servers)
            self._watch = asyncio.get_running_loop().create_task(self._keep_ingesting(self._own_scoreboard))

    async def _keep_ingesting(self, scoreboard: Scoreboard) -> None:
        self._ingestion = ingestion = await asyncio.to_thread(Ingestion, self.settings, scoreboard)
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(ingestion.tend)

    def done(self) -> None:
        """Write the events of what is still in flight."""
        self._targets.close()
        if self._own_scoreboard is None:
            return
        if self._watch is not None:
            self._watch.cancel()
        self.gateway.close()
        self._estimator.close()
        if self._ingestion is not None:
            self._ingestion.close()

    # --- layers ---

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Let mitmproxy choose the next layer, then put ours in the place of its HTTP layer."""
        try:
            if nextlayer.data_client().startswith(_HTTP2_PREFACE):
                nextlayer.context.client.alpn = b"h2"  # what TLS would have said
            stock = ctx.master.addons.get("nextlayer")
            stock.next_layer(nextlayer)
            if nextlayer.layer is not None:
                nextlayer.layer = self._metered(nextlayer.layer)
        except Exception as error:  # noqa: BLE001 -- an exception here would let the connection pass unmetered
            log_fault(logger, "A connection was closed while its layer was chosen", error)
            nextlayer.layer = _ClosedLayer(nextlayer.context)

    def _metered(self, top: layer.Layer) -> layer.Layer:
        parent: layer.Layer | None = None
        current: layer.Layer = top
        while isinstance(current, TunnelLayer) and getattr(current, "child_layer", None) is not None:
            parent, current = current, current.child_layer
        if isinstance(current, HttpLayer):
            context = current.context
            context.layers.remove(current)
            metered = MeteredHttpLayer(context, current.mode, self.gateway, self._admissions, hooks=self._hooks)
            if parent is None:
                return metered
            parent.child_layer = metered  # type: ignore[attr-defined]  # a TunnelLayer, see above
            return top
        if isinstance(current, layer.NextLayer):
            return top  # what is inside the TLS is asked for when it is there
        return _ClosedLayer(top.context)

    async def metrion_estimate(self, attempt: Attempt) -> None:
        """Estimate off the event loop; the stream of the attempt waits (the hook of Metrion's own streams)."""
        await self._estimator.estimate(attempt)

    async def metrion_tunnel(self, search: Search) -> None:
        """Find the addresses to which a blind tunnel may lead (the hook of Metrion's own streams)."""
        try:
            search.found = await self._targets.addresses(search.tunnel)
        except Exception as error:  # noqa: BLE001 -- a tunnel whose address is not checked is refused
            log_fault(logger, "A tunnel was refused", error)

    # --- connections ---

    def client_connected(self, client: Client) -> None:
        """Pace what is read of a client."""
        pace(ctx.master.addons.get("proxyserver").connections.get(client.id), client)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Pace what is read of a provider."""
        pace(ctx.master.addons.get("proxyserver").connections.get(data.client.id), data.server)

    # --- gates ---

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Refuse a flow that no metered stream has let through."""
        if not self._admissions.passes(flow):
            answer = render(Refusal(INTERNAL, "This request did not pass Metrion's checks and was refused."))
            flow.request.stream = False
            flow.response = http.Response.make(answer.status, answer.body, answer.headers)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Refuse a tunnel that no metered stream has let through."""
        self.requestheaders(flow)

    # --- flows that are over ---

    def response(self, flow: http.HTTPFlow) -> None:
        """Keep no more flows than there may be."""
        self._old_flows.finished(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """Do the same for one that failed."""
        self._old_flows.finished(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        """Do the same for a session."""
        self._old_flows.finished(flow)

    def client_disconnected(self, client: Client) -> None:
        """Finish what a connection leaves unfinished, in case its layers have not."""
        self.gateway.tunnels.pop(client.id, None)
        # mitmproxy forgets to close a connection whose end comes while it waits for its turn to read.
        handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
        stream = handler.transports.get(client) if handler else None
        if stream is not None and stream.writer is not None:
            stream.writer.close()
        for stream, attempt in tuple(self.gateway.live.items()):
            if isinstance(stream, MeteredStream) and stream.context.client is client and not attempt.is_estimating:
                self.gateway.finish(attempt, EndReason.CLIENT_ABORT)
                self.gateway.forget(stream)
