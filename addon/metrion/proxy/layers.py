"""The HTTP layers that Metrion runs in place of mitmproxy's: a translator between mitmproxy's events and the relay.

mitmproxy's own stream goes on calling hooks and opening connections, so that other scripts and mitmweb see the flow.
Whatever it wants to send is an input of the :class:`~metrion.relay.relay.Relay` instead, and what is sent are the
relay's effects. So the key is in the head on the wire and in no flow, and nothing is decided here.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mitmproxy import flow, http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    HttpConnectHook,
    HttpErrorHook,
    HttpEvent,
    HttpLayer,
    HTTPMode,
    HttpRequestHeadersHook,
    HttpResponseHook,
    HttpStream,
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
    validate_request,
)
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketMessageHook, WebsocketStartHook
from mitmproxy.proxy.mode_specs import LocalMode, ReverseMode, TransparentMode, TunMode, WireGuardMode

from metrion.admission import identified, shown
from metrion.gateway.gateway import Gateway
from metrion.model import EndReason, Forward, Head, Headers, Inbound, Origin, Refusal
from metrion.proxy.deadline import Deadline
from metrion.proxy.http1 import Commands, Interim
from metrion.relay.attempt import Attempt
from metrion.relay.effects import (
    AbortRequest,
    AbortResponse,
    Effects,
    EndRequest,
    EndResponse,
    Estimate,
    Finish,
    Open,
    Record,
    SendInterim,
    SendRequest,
    SendRequestData,
    SendResponse,
    SendResponseData,
    Wake,
)
from metrion.relay.own_answers import refuse
from metrion.relay.relay import Relay
from metrion.relay.rewrites import MOST_HELD
from metrion.relay.states import State

MARK = "metrion"
"""Key in ``flow.metadata`` of a request that a metered stream has let through or answered; its value is our id."""

INTERCEPTING = (TransparentMode, LocalMode, WireGuardMode, TunMode)
"""Modes in which clients do not know of the proxy, and so bring no token."""

WEBSOCKET_HOOKS = (WebsocketStartHook, WebsocketMessageHook, WebsocketEndHook)
CLOSED_WITHOUT_WORD = 1006  # RFC 6455, section 7.4.1
WEBSOCKET_MESSAGES_KEPT = 100
"""Of a WebSocket session, for mitmweb and the console; mitmproxy would keep all."""


@dataclass
class MetrionEstimateHook(commands.StartHook):
    """Asks for an estimate of the tokens that nobody reported. Only the stream that asks waits for it.

    The name becomes that of the addon's method, and must not be one of another script's.
    """

    attempt: Attempt


class MeteredHttpLayer(HttpLayer):
    """An HTTP layer whose streams are metered."""

    def __init__(self, context: Context, mode: HTTPMode, gateway: Gateway, *, hooks: bool) -> None:
        super().__init__(context, mode)
        self._gateway = gateway
        self._hooks = hooks

    def make_stream(self, stream_id: int) -> layer.CommandGenerator[None]:
        """Override: our own stream."""
        stream = MeteredStream(self.context.fork(), stream_id, self._gateway, hooks=self._hooks)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> layer.CommandGenerator[None]:
        """Override: try a server again that could not be reached, where mitmproxy would not until the client leaves."""
        for connection in self.connections:
            if connection is not self.context.client:
                connection.error = None
        yield from super().get_connection(event, reuse=reuse)


class MeteredStream(HttpStream):
    """One request and its response. See the module for what it does and does not do."""

    def __init__(self, context: Context, stream_id: int, gateway: Gateway, *, hooks: bool) -> None:
        super().__init__(context, stream_id)
        self.relay = Relay(gateway, self)
        self._gateway = gateway
        self._hooks = hooks
        """Whether other addons are to see the flow; without any to see it, the hooks are not worth their time."""
        self._alarm = Deadline(self)
        self._client_left = False
        self._holds = False
        """The request goes out when it is whole; mitmproxy's stream collects it, so that scripts may see it."""
        self._request: http.Request
        self._came: http.Response | None = None
        """The provider's response."""
        self._request_trailers: Headers = ()
        self._response_trailers: Headers = ()

    # --- events ---

    def handle_event(self, event: events.Event) -> Commands:
        """Override: a deadline also passes while the stream waits for a connection."""
        waits = self._paused is not None
        return self._on_alarm() if waits and isinstance(event, events.Wakeup) else super().handle_event(event)

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, RequestHeaders):
            return self._on_request_head(event)
        if isinstance(event, events.Wakeup):
            return self._on_alarm()
        if isinstance(event, RequestProtocolError):
            self._client_left = True
        if self._is_answered:
            return self._on_unread(event)
        if isinstance(event, Interim):
            response = event.response
            return self._carry_out(
                self.relay.interim(response.status_code, response.data.reason, response.headers.fields)
            )
        if isinstance(event, ResponseHeaders):
            event.response.stream = True
            if event.response.status_code == 101 and not self._asks_for_websocket():
                return self._carry_out(self._response_head(event.response, ends=True))
        elif isinstance(event, RequestData) and self.flow.response and not self.flow.request.stream:
            self.relay.request_data(event.data)  # another script has answered; only the size counts
        elif isinstance(event, RequestProtocolError):
            return self._on_client_gone(event)
        elif isinstance(event, ResponseEndOfMessage) and self.client_state == self.state_stream_request_body:
            return self._on_early_end()
        return self._translated(super()._handle_event(event))

    def _on_request_head(self, event: RequestHeaders) -> Commands:
        began = time.perf_counter()
        request = self._request = event.request
        inbound = Inbound(request.data.method, request.data.path, request.headers.fields, self._origin(request))
        if inbound.method == b"CONNECT":
            yield from self._on_connect(event, inbound, began)
            return
        client = self.context.client
        tunnel = self._gateway.tunnels.get(client.id)
        if tunnel or (self.mode is HTTPMode.regular and inbound.origin):
            inbound = identified(inbound, tunnel)
        effects = self.relay.request_head(
            inbound,
            ends=event.end_stream,
            began=began,
            trouble=lambda forward: self._trouble(forward, inbound, request),
            intercepted=isinstance(client.proxy_mode, INTERCEPTING),
        )
        decision = self.relay.decision
        replace_head(request, decision.shown if isinstance(decision, Forward) else shown(inbound))
        if not isinstance(decision, Forward):
            yield from self._answer(request, effects)
            return
        request.headers.pop("expect", None)  # the relay sees to it
        self._aim(request)
        self._holds = self.relay.state is State.HOLDING
        request.stream = not self._holds
        yield from self._carry_out(effects)
        yield from self._translated(super()._handle_event(event))

    def _trouble(self, forward: Forward, inbound: Inbound, request: http.Request) -> Refusal | None:
        """Return what is wrong with a request beside its route and its caller."""
        error = validate_request(self.mode, request, self.context.options.validate_inbound_headers)
        if any(b"\n" in value for _, value in inbound.headers):
            error = "A header field goes on over several lines, which no server has to accept."
        if self.context.client.state is ConnectionState.CLOSED:
            error = "The framing of the request body cannot be understood."
        return None if error is None else refuse(forward, 400, "bad_request", error)

    def _on_connect(self, event: RequestHeaders, inbound: Inbound, began: float) -> Commands:
        """Open a tunnel to a provider's host; what goes through it is decrypted, and metered request by request."""
        request = event.request
        inbound = replace(inbound, target=b"/", origin=Origin("https", request.data.host.lower(), request.data.port))
        decision = self._gateway.decide_tunnel(inbound)
        replace_head(request, replace(shown(inbound), target=b""))
        if isinstance(decision, Refusal):
            yield from self._answer(request, self.relay.answer(inbound, decision, ends=False, began=began))
            return
        if decision is not None:
            self._gateway.tunnels[self.context.client.id] = decision
        generator, reply = super()._handle_event(event), None
        while True:
            try:
                command = generator.send(reply)
            except StopIteration:
                return
            if isinstance(command, HttpConnectHook):
                self.flow.metadata[MARK] = "-"
            reply = yield command

    def _origin(self, request: http.Request) -> Origin | None:
        """Return the server that a request is for, ``None`` where it is addressed to the proxy itself."""
        if self.mode is HTTPMode.transparent:
            server = self.context.server
            host, port = server.address or ("", 0)
            origin = Origin("https" if server.tls else "http", host.lower(), port)
            by_path = isinstance(self.context.client.proxy_mode, ReverseMode) and not self._gateway.router.knows(origin)
            return None if by_path else origin
        if not request.data.host:
            return None
        origin = Origin(request.scheme or "https", request.data.host.lower(), request.data.port)
        # HTTP/2 always names a host. One that is no provider's is the proxy's own name, whatever that is.
        return origin if not request.is_http2 or self._gateway.router.knows(origin) else None

    def _on_client_gone(self, event: RequestProtocolError) -> Commands:
        yield from self._carry_out(self.relay.client_gone())
        yield from self._translated(super()._handle_event(event))

    def _on_early_end(self) -> Commands:
        """End a response that the provider has given in full without waiting for the whole request.

        mitmproxy's stream would end it after the request only, for which the client may wait in turn.
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

    def _on_alarm(self) -> Commands:
        was_answered = self._is_answered
        yield from self._carry_out(self.relay.time_passed(client_is_slow=self._alarm.is_client_slow()))
        if self._is_answered and not was_answered:
            yield from self._tell_of_error("Metrion's timeout")

    # --- commands ---

    def _translated(self, generator: layer.CommandGenerator[None]) -> Commands:
        """Let mitmproxy's stream do its work; what it wants to send goes by the relay."""
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
                if self._hooks:
                    reply = yield command
                elif isinstance(command, WEBSOCKET_HOOKS):
                    yield from self.passthrough(events.HookCompleted(command))
                if isinstance(command, HttpRequestHeadersHook) and self.flow.response:
                    self.flow.request.stream = False  # another script has answered, and mitmproxy does no longer stream
            elif isinstance(command, DropStream):
                pass  # the relay says when
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
        """Tell the relay what mitmproxy's stream wants to send."""
        relay = self.relay
        match event:
            case RequestHeaders():
                return [*(self._whole_request() if self._holds else ()), *relay.connected()]
            case RequestData() | RequestTrailers() | RequestEndOfMessage() if self._holds:
                pass  # it has gone out with the head
            case RequestData(data=data):
                return relay.request_data(data)
            case RequestTrailers(trailers=trailers):
                self._request_trailers = trailers.fields
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

    def _whole_request(self) -> Effects:
        effects = self.relay.request_data(self.flow.request.raw_content or b"")
        trailers = self.flow.request.trailers
        effects += self.relay.request_end(trailers.fields if trailers else ())
        if not self.context.options.store_streamed_bodies:
            self.flow.request.raw_content = None
        return effects

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:
        """Override: a body that is too long to be held goes on as it came."""
        if not request or not self._holds or len(self.request_body_buf) <= MOST_HELD:
            return (yield from super().check_body_size(request))
        self._holds, self.flow.request.stream = False, True
        yield from self._carry_out(self.relay.request_data(bytes(self.request_body_buf)))
        self.request_body_buf.clear()
        yield from self.start_request_stream()
        return False

    def _response_head(self, response: http.Response, *, ends: bool) -> Effects:
        self._came = response
        return self.relay.response_head(response.status_code, response.data.reason, response.headers.fields, ends=ends)

    def _failed(self, event: ResponseProtocolError) -> Effects:
        left = self._client_left or any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue)
        if left:
            return self.relay.client_gone()
        if event.code is ErrorCode.KILL:
            return self.relay.cut(EndReason.UPSTREAM_ERROR)
        # Only these messages of mitmproxy's never quote what the server sent.
        quotable = event.code is ErrorCode.CONNECT_FAILED or event.message == "server closed connection"
        return self.relay.upstream_failed(event.message if quotable else None)

    def _carry_out(self, effects: Effects) -> Commands:
        client, server = self.context.client, self.context.server
        for effect in effects:
            match effect:
                case Open():
                    pass  # mitmproxy's stream does
                case Estimate():
                    if self._paused is None:
                        yield MetrionEstimateHook(self.relay.attempt)
                case Record(end_reason):
                    self._gateway.finish(self.relay.attempt, end_reason)
                case Wake(seconds):
                    self._alarm.cancel() if seconds is None else self._alarm.set(seconds)
                case Finish():
                    self._gateway.forget(self)
                    self.flow.live = False
                    yield DropStream(self.stream_id)
                case AbortRequest():
                    if self.relay.attempt.reached_upstream:
                        gone = RequestProtocolError(self.stream_id, "nobody waits any more", ErrorCode.CANCEL)
                        yield SendHttp(gone, server)
                case AbortResponse():
                    if not self._client_left:
                        cut = ResponseProtocolError(self.stream_id, "the response is not whole", ErrorCode.CANCEL)
                        yield SendHttp(cut, client)
                case SendRequest() | SendRequestData() | EndRequest():
                    for event in self._to_server(effect):
                        yield SendHttp(event, server)
                case _:
                    for event in self._to_client(effect):
                        yield SendHttp(event, client)

    def _to_server(self, effect: SendRequest | SendRequestData | EndRequest) -> Iterator[HttpEvent]:
        match effect:
            case SendRequest(_, head, ends):
                yield self._wire(head, ends=ends)
            case SendRequestData(data):
                yield RequestData(self.stream_id, data)
            case EndRequest(trailers):
                if trailers:
                    yield RequestTrailers(self.stream_id, http.Headers(trailers))
                yield RequestEndOfMessage(self.stream_id)

    def _to_client(self, effect: SendInterim | SendResponse | SendResponseData | EndResponse) -> Iterator[HttpEvent]:
        match effect:
            case SendInterim(status, reason, headers):
                yield ResponseHeaders(self.stream_id, self._response(status, reason, headers))
            case SendResponse(status, reason, headers, ends):
                yield ResponseHeaders(self.stream_id, self._response(status, reason, headers), ends)
            case SendResponseData(data):
                yield ResponseData(self.stream_id, data)
            case EndResponse(trailers):
                if trailers:
                    yield ResponseTrailers(self.stream_id, http.Headers(trailers))
                yield ResponseEndOfMessage(self.stream_id)

    def _response(self, status: int, reason: bytes, headers: Headers) -> http.Response:
        if not self._request.is_http11:
            dropped = {b"transfer-encoding"} | ({b"connection"} if self._request.is_http2 else set())
            headers = tuple(field for field in headers if field[0].lower() not in dropped)
        came = self._came
        if came is not None and came.headers.fields is headers and came.status_code == status:
            return came
        version, now = came.data.http_version if came is not None else b"HTTP/1.1", time.time()
        return http.Response(version, status, reason, http.Headers(headers), None, None, now, now)

    def _wire(self, head: Head, *, ends: bool) -> RequestHeaders:
        """Return the head with the provider's key on. It must reach nothing but the upstream connection."""
        forward = self.relay.decision
        assert isinstance(forward, Forward)  # noqa: S101 -- nothing else is sent
        http2 = self.flow.request.is_http2
        request = http.Request.__new__(http.Request)  # its constructor looks at the type of each of its fields
        request.data = copy.copy(self.flow.request.data)
        request.data.content = request.data.trailers = None
        # HTTP/2 has the host in a field of its own.
        request.data.authority = forward.route.upstream.authority if http2 else b""
        replace_head(request, head)
        if http2:
            del request.headers["host"]
            if not ends and self.context.server.alpn != b"h2" and "content-length" not in request.headers:
                request.headers["transfer-encoding"] = "chunked"
        return RequestHeaders(self.stream_id, request, ends)

    # --- WebSocket sessions ---

    def passthrough(self, event: events.Event) -> Commands:
        """Override: count what passes after an upgrade; without other addons, answer the hooks at once."""
        if self.relay.state is State.UPGRADED:
            if isinstance(event, RequestData):
                self.relay.attempt.session_data(sent=len(event.data))
            elif isinstance(event, ResponseData):
                self.relay.attempt.session_data(received=len(event.data))
        for command in super().passthrough(event):
            if isinstance(command, WEBSOCKET_HOOKS):
                self._on_websocket(command)
                if not self._hooks:
                    yield from self.passthrough(events.HookCompleted(command))
                    continue
            yield command

    def _on_websocket(self, hook: commands.StartHook) -> None:
        session = self.flow.websocket
        if session is None:
            return
        if isinstance(hook, WebsocketMessageHook):
            message = session.messages[-1]
            self.relay.attempt.session_message(message.content, from_client=message.from_client)
            kept = WEBSOCKET_MESSAGES_KEPT if self._hooks else 1  # the one under way
            del session.messages[:-kept]
        elif isinstance(hook, WebsocketEndHook):
            lost = session.close_code == CLOSED_WITHOUT_WORD
            by_whom = EndReason.CLIENT_ABORT if session.closed_by_client else EndReason.UPSTREAM_ERROR
            for _ in self._carry_out(self.relay.session_end(by_whom if lost else EndReason.COMPLETE)):
                pass  # mitmproxy's stream drops itself

    # --- what flows show ---

    @property
    def _is_answered(self) -> bool:
        """Whether the client has, or will get, no more: whatever mitmproxy's stream still wants is dropped."""
        return self.relay.state in (State.UNREAD, State.OVER)

    def _asks_for_websocket(self) -> bool:
        asked: str = self.flow.request.headers.get("upgrade", "")
        return asked.lower() == "websocket"

    def _mark(self) -> None:
        """Let the flow through the gate in the addon, and aim it where the decision says."""
        self.flow.metadata[MARK] = str(self.relay.attempt.id)
        self._aim(self.flow.request)

    def _aim(self, request: http.Request) -> None:
        """Set where mitmproxy connects to. Done twice, because in reverse mode it fills in the mode's target."""
        forward = self.relay.decision
        assert isinstance(forward, Forward)  # noqa: S101 -- nothing else is sent
        upstream = forward.route.upstream
        request.data.host, request.data.port = upstream.host, upstream.port
        request.data.scheme = upstream.scheme.encode()

    def _answer(self, request: http.Request, effects: Effects) -> Commands:
        """Show an answer of Metrion's own to other addons, and send it."""
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = request
        if not request.data.host:  # addressed to the proxy itself
            request.data.host, request.data.port = self.context.client.sockname[:2]
            request.data.scheme = b"http"
        refused = isinstance(self.relay.decision, Refusal)
        self.flow.metadata[MARK] = str(self.relay.attempt.id) if refused else "-"
        if self._hooks:
            yield HttpRequestHeadersHook(self.flow)
        self.flow.response = self._shown_answer(effects)
        if self._hooks:
            yield HttpResponseHook(self.flow)
        if self.context.client.state & ConnectionState.CAN_WRITE:
            yield from self._carry_out(effects)
        else:  # mitmproxy's parser has answered already, and closed
            yield from self._carry_out([each for each in effects if isinstance(each, Record | Wake | Finish)])

    def _shown_answer(self, effects: Effects) -> http.Response:
        head = next(effect for effect in effects if isinstance(effect, SendResponse))
        response = self._response(head.status, head.reason, head.headers)
        response.data.content = b"".join(effect.data for effect in effects if isinstance(effect, SendResponseData))
        return response

    def _tell_of_error(self, message: str) -> Commands:
        if self._hooks:
            self.flow.error = flow.Error(message)
            hook = HttpErrorHook(self.flow)
            hook.blocking = False  # nobody waits for it: the stream is over
            yield hook


def replace_head(request: http.Request, head: Head) -> None:
    """Give a request another head."""
    request.data.path = head.target
    request.data.headers = http.Headers(head.headers)
