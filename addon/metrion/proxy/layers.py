"""The HTTP layer that Metrion runs in place of mitmproxy's, so that every stream in it is metered."""

from __future__ import annotations

from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import GetHttpConnection, HttpLayer, HTTPMode, RegisterHttpConnection

from metrion.gateway.gateway import Gateway
from metrion.proxy.admissions import Admissions
from metrion.proxy.pacing import read_little
from metrion.proxy.stream import MeteredStream


class MeteredHttpLayer(HttpLayer):
    """See the module. ``hooks``: other addons see the flows."""

    def __init__(
        self, context: Context, mode: HTTPMode, gateway: Gateway, admissions: Admissions, *, hooks: bool
    ) -> None:
        super().__init__(context, mode)
        self._gateway = gateway
        self._admissions = admissions
        self._hooks = hooks

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Override: a connection of HTTP/2 is read in small pieces, because each may hold many frames."""
        if isinstance(event, events.Start) and self.context.client.alpn == b"h2":
            read_little(self.context, self.context.client)
        yield from super()._handle_event(event)

    def register_connection(self, command: RegisterHttpConnection) -> layer.CommandGenerator[None]:
        """Override: so is one to a provider."""
        if command.connection.alpn == b"h2":
            read_little(self.context, command.connection)
        yield from super().register_connection(command)

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Override: our own stream."""
        stream = MeteredStream(self.context.fork(), stream_id, self._gateway, self._admissions, hooks=self._hooks)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> layer.CommandGenerator[None]:
        """Override: try a server again that could not be reached, where mitmproxy would not until the client leaves."""
        for connection in self.connections:
            if connection is not self.context.client:
                connection.error = None
        yield from super().get_connection(event, reuse=reuse)
