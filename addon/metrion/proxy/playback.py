"""Replays through metered streams what mitmproxy is asked to replay: in mitmweb, by ``-C FILE`` and by commands."""

from __future__ import annotations

from mitmproxy import ctx, http
from mitmproxy.addons import clientplayback
from mitmproxy.options import Options
from mitmproxy.proxy.layers.http import HTTPMode

from metrion.gateway.gateway import Gateway
from metrion.proxy.admissions import Admissions
from metrion.proxy.layers import MeteredHttpLayer


def install(admissions: Admissions, gateway: Gateway) -> None:
    """Have mitmproxy replay through metered streams: it names the class, and offers no other way to choose."""

    class MeteredReplay(clientplayback.ReplayHandler):
        """Replays one flow."""

        def __init__(self, flow: http.HTTPFlow, options: Options) -> None:
            super().__init__(flow, options)
            stock = self.layer
            context = stock.context
            context.layers.remove(stock)
            # Not as in transparent mode: the server's name is that of the address, not what the flow says.
            mode = HTTPMode.regular if stock.mode is HTTPMode.transparent else stock.mode
            self.layer = MeteredHttpLayer(context, mode, gateway, admissions, hooks=True)
            self.layer.connections[self.client] = clientplayback.MockServer(flow, context.fork())
            flow.server_conn = context.server

        async def replay(self) -> None:
            """Override: the connection is known to the proxy as any other, so that its timeout counts."""
            with ctx.master.addons.get("proxyserver").register_connection(self.client.id, self):
                await super().replay()

    clientplayback.ReplayHandler = MeteredReplay  # type: ignore[misc]  # a subclass in its place
