"""A request on mitmproxy's road: a translator between the events of mitmproxy's stream and the relay.

mitmproxy's own stream goes on calling hooks and opening connections, so that other scripts and mitmweb see the flow.
What it wants to send becomes an input of the :class:`~metrion.relay.relay.Relay` instead, and what is sent are the
relay's effects. So the key is in the head on the wire and in no flow. Nothing is decided here.
"""

from __future__ import annotations

import time

from mitmproxy import flow, http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    HttpErrorHook,
    HttpEvent,
    HttpRequestHeadersHook,
    HttpResponseHook,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)

from metrion.admission import shown, token_of
from metrion.gateway.gateway import Gateway
from metrion.model import Forward, Headers, Inbound, Refusal
from metrion.proxy.admissions import Admissions
from metrion.proxy.again import SendingAgain
from metrion.proxy.bodies import Interim, RequestBroken
from metrion.proxy.connections import is_client_slow
from metrion.proxy.flows import NO_EVENT, aim, asks_for_websocket, flow_of_own_answer, replace_head
from metrion.proxy.hooks import MetrionEstimateHook
from metrion.proxy.http1 import Commands
from metrion.proxy.inbound import inbound_request, is_intercepted, trouble
from metrion.proxy.logs import without_quotes
from metrion.proxy.messages import Messages
from metrion.proxy.replay import replayed
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effects,
    EndRequest,
    Estimate,
    Finish,
    Open,
    Record,
    SendRequest,
    SendRequestData,
    Wake,
)
from metrion.relay.states import PARKED, State

_PAUSED_SECONDS = 0.01
"""How long a second sending is put off while another script is asked about the flow."""


class MeteredStream(SendingAgain):
    """One request and its response. See the module for what it does and does not do."""

    def __init__(
        self, context: Context, stream_id: int, gateway: Gateway, admissions: Admissions, *, hooks: bool
    ) -> None:
        super().__init__(context, stream_id, gateway, admissions, hooks=hooks)
        self._messages = Messages(stream_id)
        self._token: bytes | None = None
        """The caller's, if a replay of the request may use it."""
        self._holds = False
        """The request goes out when it is whole; mitmproxy's stream collects it, so that scripts may see it."""
        self._request_trailers: Headers = ()
        self._response_trailers: Headers = ()

    # --- events ---

    def handle_event(self, event: events.Event) -> Commands:
        """Override: a deadline also passes while the stream waits for a connection."""
        if self._paused is None or not isinstance(event, events.Wakeup):
            return super().handle_event(event)
        if self.relay.state not in PARKED:
            return self._on_due()
        self._deadline.set(_PAUSED_SECONDS)  # a connection cannot be asked for now
        return self._carry_out([])

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, RequestHeaders):
            return self._on_request_head(event)
        if isinstance(event, events.Wakeup):
            return self._on_due()
        if isinstance(event, RequestProtocolError):
            self._client_left = True
        if self._is_answered:
            return self._on_unread(event)
        if isinstance(event, RequestBroken):
            return self._on_broken(event)
        if (unseen := self._unseen(event)) is not None:
            return unseen
        if isinstance(event, Interim):
            response = event.response
            return self._carry_out(
                self.relay.interim(response.status_code, response.data.reason, response.headers.fields)
            )
        if isinstance(event, ResponseHeaders):
            event.response.stream = True
            if event.response.status_code == 101 and not asks_for_websocket(self.flow.request):
                return self._carry_out(self._response_head(event.response, ends=True))
        elif isinstance(event, RequestTrailers):
            # What other scripts see is masked; what goes out is what came.
            self._request_trailers = event.trailers.fields
            masked = shown(Inbound(b"", b"", self._request_trailers))
            event = RequestTrailers(event.stream_id, http.Headers(masked.headers))
        elif isinstance(event, RequestData) and self.flow.response and not self.flow.request.stream:
            self.relay.attempt.request_data(event.data)  # another script has answered; only the size counts
        elif isinstance(event, RequestData) and self._holds:
            return self._on_held_data(event)
        elif isinstance(event, RequestProtocolError):
            return self._on_client_gone(event)
        elif isinstance(event, ResponseEndOfMessage) and self.client_state == self.state_stream_request_body:
            return self._on_early_end()
        return self._translated(super()._handle_event(event))

    def _on_request_head(self, event: RequestHeaders) -> Commands:
        began = time.perf_counter()
        request, refusal = event.request, None
        self._messages.request = request
        masked = None
        if event.replay_flow is not None:
            masked = shown(Inbound(request.data.method, request.data.path, request.headers.fields))
            inbound, refusal = replayed(event.replay_flow, self._admissions, self._gateway)
        elif request.data.method == b"CONNECT":
            yield from self._on_connect(event, began)
            return
        else:
            inbound = inbound_request(request, self.context, self.mode, self._gateway)
        if refusal is not None:
            effects = self.relay.answer(inbound, refusal, ends=event.end_stream, began=began)
        else:
            effects = self.relay.request_head(
                inbound,
                ends=event.end_stream,
                began=began,
                trouble=lambda forward: trouble(forward, inbound, request, self.context, self.mode),
                intercepted=is_intercepted(self.context) and masked is None,
            )
        decision = self.relay.decision
        if not isinstance(decision, Forward):
            replace_head(request, masked or shown(inbound))
            yield from self._answer(request, effects, event.replay_flow)
            return
        replace_head(request, masked or decision.shown)
        self._token = token_of(inbound) if decision.caller.credential != "pass_through" else None
        request.headers.pop("expect", None)  # the relay sees to it
        aim(request, decision.route.upstream)
        self._holds = self.relay.state is State.HOLDING
        request.stream = not self._holds
        yield from self._carry_out(effects)
        yield from self._translated(super()._handle_event(event))

    def _on_client_gone(self, event: RequestProtocolError) -> Commands:
        yield from self._carry_out(self.relay.client_gone())
        yield from self._translated(super()._handle_event(event))

    def _on_broken(self, event: RequestBroken) -> Commands:
        yield from self._carry_out(self.relay.request_broken(event.why))
        yield from self._report_error("The body of the request cannot be read")

    def _on_held_data(self, event: RequestData) -> Commands:
        """Take a piece of a body that mitmproxy's stream collects, if it can still be held."""
        yield from self._carry_out(self.relay.request_held(len(self.request_body_buf) + len(event.data)))
        if self._is_answered:
            self.request_body_buf.clear()
            yield from self._report_error("Metrion answered, and asked nobody")
        else:
            yield from self._translated(super()._handle_event(event))

    def _on_early_end(self) -> Commands:
        """End a response that the provider has given in full without waiting for the whole request.

        mitmproxy's stream would end it after the request only, and the client may wait for it before it sends the rest.
        """
        if self.relay.state is State.ASKING and self.flow.response is not None:  # it has no body
            yield from self._carry_out(self._response_head(self.flow.response, ends=True))
        yield from self._carry_out(self.relay.response_end(self._response_trailers))

    def _on_unread(self, event: events.Event) -> Commands:
        """After the answer: drop what is left of the request."""
        if isinstance(event, RequestData):
            yield from self._carry_out(self.relay.request_data(event.data))
        elif isinstance(event, RequestEndOfMessage):
            yield from self._carry_out(self.relay.request_end())
        elif isinstance(event, RequestProtocolError):
            yield from self._carry_out(self.relay.client_gone())

    def _on_due(self) -> Commands:
        was_answered = self._is_answered
        yield from self._carry_out(self.relay.time_passed(client_is_slow=is_client_slow(self.context)))
        if self._is_answered and not was_answered:
            is_refused = self.relay.attempt.refusal is not None
            yield from self._report_error("Metrion's timeout" if is_refused else "Metrion answered, out of a batch")

    # --- commands ---

    def _translated(self, generator: layer.CommandGenerator[None]) -> Commands:
        """Let mitmproxy's stream do its work; what it wants to send goes to the relay."""
        reply: object = None
        while True:
            try:
                command = generator.send(reply)
            except StopIteration:
                return
            reply = None
            if isinstance(command, SendHttp):
                yield from self._send(command)
            elif isinstance(command, commands.StartHook):
                if isinstance(command, HttpRequestHeadersHook):
                    self._mark()
                elif isinstance(command, HttpErrorHook) and self.flow.error is not None:
                    self.flow.error.msg = without_quotes(self.flow.error.msg)
                if self._hooks:
                    reply = yield command
                if isinstance(command, HttpRequestHeadersHook) and self.flow.response:
                    self.flow.request.stream = False  # another script has answered, and mitmproxy does no longer stream
            elif isinstance(command, DropStream):
                pass  # the relay says when
            elif isinstance(command, GetHttpConnection):
                if self._holds and (yield from self._refuses_held()):
                    generator.close()
                    return
                # The key is for the provider, wherever another script has sent the flow; the body may have said which.
                upstream = self._forward.route.upstream
                command.address, command.tls = (upstream.host, upstream.port), upstream.scheme == "https"
                reply = yield from self._connection(command)
            elif not isinstance(command, commands.Log):
                reply = yield command
            if self._is_answered and command.blocking:
                # The deadline passed while mitmproxy's stream waited: what it would do next must not happen.
                generator.close()
                return

    def _send(self, command: SendHttp) -> Commands:
        if self.relay.state is State.UPGRADED:
            yield command  # of the upgrade; the session has just begun
        else:
            yield from self._carry_out(self._input(command.event))

    def _input(self, event: HttpEvent) -> Effects:
        """Give the relay what mitmproxy's stream wants to send."""
        relay = self.relay
        match event:
            case RequestHeaders():
                return relay.connected()
            case RequestData() | RequestTrailers() | RequestEndOfMessage() if self._holds:
                pass  # it has gone out with the head
            case RequestData(data=data):
                return relay.request_data(data)
            case RequestTrailers():
                pass  # they are there as they came
            case RequestEndOfMessage():
                return relay.request_end(self._request_trailers)
            case ResponseHeaders(response=response, end_stream=ends):
                return self._response_head(response, ends=ends)
            case ResponseData(data=data):
                return relay.response_data(data)
            case ResponseTrailers(trailers=trailers):
                self._response_trailers = trailers.fields
            case ResponseEndOfMessage():
                return relay.response_end(self._response_trailers)
            case ResponseProtocolError():
                return self._failed(event)
        return []

    def _refuses_held(self) -> layer.CommandGenerator[bool]:
        """Give the relay the body that mitmproxy's stream has collected; return whether it goes no further."""
        yield from self._carry_out(self._whole_request())
        if self._is_answered:
            yield from self._report_error("Metrion answered, and asked nobody")
        return self._is_answered

    def _whole_request(self) -> Effects:
        effects = self.relay.request_data(self.flow.request.raw_content or b"")
        effects += self.relay.request_end(self._request_trailers)
        if not self.context.options.store_streamed_bodies:
            self.flow.request.raw_content = None
        return effects

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:
        """Override: a body that can no longer be held goes on as it came; no option lets a held one go on."""
        if not request or not self._holds:
            return (yield from super().check_body_size(request))
        if self.relay.state is State.HOLDING:
            return False
        self._holds, self.flow.request.stream = False, True
        yield from self._carry_out(self.relay.request_data(bytes(self.request_body_buf)))
        self.request_body_buf.clear()
        yield from self.start_request_stream()
        return False

    def check_invalid(self, request: bool) -> layer.CommandGenerator[bool]:
        """Override: our own reader has judged the framing of a response of HTTP/1."""
        if not request and self.flow.response is not None and not self.flow.response.is_http2:
            return False
        return (yield from super().check_invalid(request))

    def _response_head(self, response: http.Response, *, ends: bool) -> Effects:
        self._messages.came = response
        return self.relay.response_head(response.status_code, response.data.reason, response.headers.fields, ends=ends)

    def _carry_out(self, effects: Effects) -> Commands:
        client, server = self.context.client, self.context.server
        for effect in effects:
            match effect:
                case Open(upstream):
                    if self._opens:
                        yield from self._open_again(upstream)
                case Estimate():
                    if self._paused is None:
                        yield MetrionEstimateHook(self.relay.attempt)
                case Record(end_reason):
                    self._note(self._gateway.finish(self.relay.attempt, end_reason))
                case Wake(seconds):
                    self._deadline.set(seconds)
                case Finish():
                    self._deadline.close()
                    self._gateway.forget(self)
                    self.flow.live = False
                    yield DropStream(self.stream_id)
                case AbortRequest():
                    if self._has_asked:
                        self._has_asked = False
                        gone = RequestProtocolError(self.stream_id, "nobody waits any more", ErrorCode.CANCEL)
                        yield SendHttp(gone, server)
                case AbortResponse():
                    if not self._client_left:
                        cut = ResponseProtocolError(self.stream_id, "the response is not whole", ErrorCode.CANCEL)
                        yield SendHttp(cut, client)
                case SendRequest(_, head, ends):
                    self._has_asked = True
                    upstream, alpn = self._forward.route.upstream, server.alpn
                    shown_request = self.flow.request
                    event = self._messages.request_head(head, shown_request, upstream, ends=ends, server_alpn=alpn)
                    yield SendHttp(event, server)
                case SendRequestData() | EndRequest():
                    for message in self._messages.to_server(effect):
                        yield SendHttp(message, server)
                case _:
                    for message in self._messages.to_client(effect):
                        yield SendHttp(message, client)

    # --- what flows show ---

    @property
    def _is_answered(self) -> bool:
        """Whether the client gets no more than the relay has sent: what mitmproxy's stream still wants is dropped."""
        return self.relay.state in (State.UNREAD, State.OVER)

    @property
    def _forward(self) -> Forward:
        decision = self.relay.decision
        assert isinstance(decision, Forward)  # noqa: S101 -- nothing else is sent
        return decision

    def _mark(self) -> None:
        """Let the flow through the gate in the addon, and aim it again: in reverse mode mitmproxy does so meanwhile."""
        self._let_through(str(self.relay.attempt.id))
        self._admissions.remember(self.flow, self._token)
        aim(self.flow.request, self._forward.route.upstream)

    def _answer(self, request: http.Request, effects: Effects, replay: http.HTTPFlow | None = None) -> Commands:
        """Show an answer of Metrion's own to other addons, and send it."""
        refused = isinstance(self.relay.decision, Refusal)
        self.flow = replay or flow_of_own_answer(request, self.context)
        self._let_through(str(self.relay.attempt.id) if refused else NO_EVENT)
        if self._hooks:
            yield HttpRequestHeadersHook(self.flow)
        self.flow.response = self._messages.whole_response(effects)
        if self._hooks:
            yield HttpResponseHook(self.flow)
        if self.context.client.state & ConnectionState.CAN_WRITE:
            yield from self._carry_out(effects)
        else:  # mitmproxy's parser has answered already, and closed
            yield from self._carry_out([each for each in effects if isinstance(each, Record | Wake | Finish)])

    def _report_error(self, message: str) -> Commands:
        if self._hooks:
            self.flow.error = flow.Error(message)
            hook = HttpErrorHook(self.flow)
            hook.blocking = False  # nobody waits for it: the stream is over
            yield hook
