"""Requests after which the connection is no HTTP any more: CONNECT, and the upgrade to a WebSocket session.

What they open is decided by the gateway and by :mod:`metrion.proxy.tunnels`; nothing is decided here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    HttpConnectHook,
    HTTPMode,
    HttpStream,
    RequestHeaders,
    ResponseEndOfMessage,
    SendHttp,
)

from metrion.admission import BlindTunnel, shown
from metrion.gateway.gateway import Gateway
from metrion.lane.deadline import Deadline
from metrion.model import EndReason, Event, Refusal
from metrion.proxy.admissions import Admissions
from metrion.proxy.connections import wake
from metrion.proxy.flows import MARK, NO_EVENT, flow_of_own_answer, replace_head
from metrion.proxy.http1 import Commands
from metrion.proxy.inbound import inbound_tunnel, no_tunnel
from metrion.proxy.tunnels import BlindLayer, open_tunnel
from metrion.proxy.websocket import SessionLayer
from metrion.relay.effects import Effects
from metrion.relay.gathering import GatheringRelay


class SwitchingStream(HttpStream):
    """See the module. Whoever answers and carries out effects is a subclass."""

    def __init__(
        self, context: Context, stream_id: int, gateway: Gateway, admissions: Admissions, *, hooks: bool
    ) -> None:
        super().__init__(context, stream_id)
        self.relay = GatheringRelay(gateway, self, on_turn=lambda: self._deadline.set(0.0))
        self._gateway = gateway
        self._admissions = admissions
        self._hooks = hooks
        """Whether other addons see the flow; where none does, the hooks are not worth their time."""
        self._deadline = Deadline(lambda: wake(self.context))

    @abstractmethod
    def _answer(self, request: http.Request, effects: Effects, replay: http.HTTPFlow | None = None) -> Commands:
        """Show an answer of Metrion's own to other addons, and send it."""

    @abstractmethod
    def _carry_out(self, effects: Effects) -> Commands:
        """Do what the relay says."""

    def _let_through(self, mark: str) -> None:
        """Let the flow through the gate in the addon. The mark is for other scripts to read."""
        self.flow.metadata[MARK] = mark
        self._admissions.let_through(self.flow)

    def _note(self, event: Event | None) -> None:
        """Show what the flow cost, now that its event is written."""
        if event is not None and self._hooks:
            self._admissions.comments.note(self.flow, event, self.relay.attempt.request.redactor)

    # --- CONNECT ---

    def _on_connect(self, event: RequestHeaders, began: float) -> Commands:
        """Open a tunnel: to a provider's host one that is decrypted, to another a blind one, or none."""
        request = event.request
        inbound = inbound_tunnel(request, self.context)
        why_not, is_regular = no_tunnel(request, self.mode), self.mode is HTTPMode.regular
        decision = self._gateway.decide_tunnel(inbound, trouble=why_not, may_be_blind=is_regular)
        replace_head(request, replace(shown(inbound), target=b""))
        opened = (yield from open_tunnel(self.context, decision)) if isinstance(decision, BlindTunnel) else decision
        if isinstance(opened, Refusal):
            yield from self._answer(request, self.relay.answer(inbound, opened, ends=False, began=began))
        elif isinstance(opened, BlindLayer):
            yield from self._pass_blindly(request, opened)
        else:
            yield from self._intercept(event, opened)

    def _pass_blindly(self, request: http.Request, blind: BlindLayer) -> Commands:
        self.flow = flow_of_own_answer(request, self.context)
        self._let_through(NO_EVENT)
        if self._hooks:
            yield HttpConnectHook(self.flow)
        self.child_layer = blind
        yield from self.handle_connect_finish()  # type: ignore[no-untyped-call]  # mitmproxy's

    def _intercept(self, event: RequestHeaders, token: bytes | None) -> Commands:
        """Decrypt what goes through a tunnel, and meter it request by request."""
        if token is not None:
            self._gateway.tunnels[self.context.client.id] = token
        generator, reply = super()._handle_event(event), None
        while True:
            try:
                command = generator.send(reply)
            except StopIteration:
                return
            if isinstance(command, HttpConnectHook):
                self._let_through(NO_EVENT)
            reply = yield command

    # --- WebSocket sessions ---

    def flow_done(self) -> layer.CommandGenerator[None]:
        """Override: a WebSocket session has a layer of our own."""
        if self.flow.websocket is None:
            yield from super().flow_done()
            return
        self.child_layer = SessionLayer(
            self.context,
            self.flow,
            self.relay.attempt,
            is_shown=self._hooks,
            end=self._end_session,
            wake=self._deadline.set,
            note=self._note,
        )
        self._handle_event = self.passthrough
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def _end_session(self, end_reason: EndReason) -> None:
        for _ in self._carry_out(self.relay.session_end(end_reason)):
            pass  # the stream goes with its connection
