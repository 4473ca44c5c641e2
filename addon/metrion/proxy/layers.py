"""The HTTP layers that Metrion runs in place of mitmproxy's.

A :class:`MeteredStream` decides on the request head, before mitmproxy's own stream sees it. It then lets that stream
do its work and stands in the way of its commands only: the head that goes upstream is swapped for the one with the
provider's key (so that the key is in no flow), the event is written before the bytes that complete the response go
on, and what mitmproxy would say in HTML is said in the provider's JSON. Bodies pass untouched and unheld.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mitmproxy import flow, http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import status_codes
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    DropStream,
    ErrorCode,
    GetHttpConnection,
    HttpConnectHook,
    HttpErrorHook,
    HttpLayer,
    HTTPMode,
    HttpRequestHeadersHook,
    HttpResponseHook,
    HttpStream,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
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

from metrion.callers import identified, shown
from metrion.cors import allowed_origin, allowing
from metrion.encodings import DecodingError
from metrion.model import Answer, EndReason, Forward, Head, Inbound, Origin, Refusal
from metrion.proxy.alarm import Alarm
from metrion.proxy.exchange import Exchange
from metrion.proxy.gateway import Gateway
from metrion.proxy.http1 import Commands, Interim
from metrion.proxy.injection import MOST_HELD, Injection
from metrion.refusals import error_event, render

MARK = "metrion"
"""Key in ``flow.metadata`` of a request that a metered stream has let through or answered; its value is our id."""

INTERCEPTING = (TransparentMode, LocalMode, WireGuardMode, TunMode)
"""Modes in which clients do not know of the proxy, and so bring no token."""

WEBSOCKET_HOOKS = (WebsocketStartHook, WebsocketMessageHook, WebsocketEndHook)
CLOSED_WITHOUT_WORD = 1006  # RFC 6455, section 7.4.1
WEBSOCKET_MESSAGES_KEPT = 100
"""Of a WebSocket session, for mitmweb and the console; mitmproxy would keep all."""

UNREAD_BODY_BYTES = 1_000_000
UNREAD_BODY_SECONDS = 2.0
"""How much of a refused request's body is read and dropped before closing: a reset may destroy the answer."""


@dataclass
class MetrionEstimateHook(commands.StartHook):
    """Asks for an estimate of the tokens that nobody reported. Only the stream that asks waits for it.

    The name becomes that of the addon's method, and must not be one of another script's.
    """

    exchange: Exchange


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
    """One request and its response. See the module for what it does and does not touch."""

    _exchange: Exchange
    """Set when the head has arrived, unless the answer is Metrion's own and no refusal."""
    _forward: Forward
    """Set when the request goes on."""

    def __init__(self, context: Context, stream_id: int, gateway: Gateway, *, hooks: bool) -> None:
        super().__init__(context, stream_id)
        self._gateway = gateway
        self._hooks = hooks
        """Whether other addons are to see the flow; without any to see it, the hooks are not worth their time."""
        self._alarm = Alarm(self)
        self._cors_origin: bytes | None = None
        self._response_begun = False
        self._upgraded = False
        self._closed = False
        """The client has, or will get, no more from us: whatever mitmproxy's stream still wants is dropped."""
        self._client_left = False
        self._injection: Injection | None = None
        self._unread = 0

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
        if self._closed:
            return self._on_unread(event)
        if isinstance(event, Interim):
            return self._on_interim(event)
        if isinstance(event, ResponseHeaders):
            event.response.stream = True
            if event.response.status_code == 101 and not self._asks_for_websocket():
                return self._on_unasked_upgrade()
        elif isinstance(event, RequestData):
            return self._on_request_data(event)
        elif isinstance(event, RequestProtocolError):
            self._client_left = True
        elif isinstance(event, ResponseEndOfMessage) and self.client_state == self.state_stream_request_body:
            return self._on_early_end(event)
        return self._watched(super()._handle_event(event))

    def _on_request_head(self, event: RequestHeaders) -> Commands:
        began = time.perf_counter()
        request = event.request
        inbound = Inbound(request.data.method, request.data.path, request.headers.fields, self._origin(request))
        if inbound.method == b"CONNECT":
            yield from self._on_connect(event, inbound, began)
            return
        decision = self._decide(inbound, request)
        wear(request, decision.shown if isinstance(decision, Forward) else shown(inbound))
        if isinstance(decision, Answer):
            yield from self._answer(decision, request, mark="-", keep_open=event.end_stream)
            return
        self._exchange = self._gateway.begin(self, inbound, decision, began=began)
        if isinstance(decision, Refusal):
            yield from self._refuse(decision, request, keep_open=event.end_stream)
            return
        self._forward = decision
        self._cors_origin = allowed_origin(inbound, self._gateway.settings.cors.origins)
        self._aim(request)
        if decision.route.inject_usage and Injection.suits(request):
            self._injection = Injection()
        request.stream = self._injection is None
        if decision.caller.timeout:
            self._alarm.set(decision.caller.timeout)
        yield from self._watched(super()._handle_event(event))

    def _on_request_data(self, event: RequestData) -> Commands:
        yield from self._watched(super()._handle_event(event))
        self._exchange.request_data(event.data)

    def _decide(self, inbound: Inbound, request: http.Request) -> Forward | Refusal | Answer:
        client = self.context.client
        tunnel = self._gateway.tunnels.get(client.id)
        if tunnel or (self.mode is HTTPMode.regular and inbound.origin):
            inbound = identified(inbound, tunnel)
        decision = self._gateway.decide(inbound, intercepted=isinstance(client.proxy_mode, INTERCEPTING))
        if not isinstance(decision, Forward):
            return decision
        error = validate_request(self.mode, request, self.context.options.validate_inbound_headers)
        if any(b"\n" in value for _, value in inbound.headers):
            error = "A header field goes on over several lines, which no server has to accept."
        if client.state is not ConnectionState.OPEN:
            error = "The framing of the request body cannot be understood."
        return self._gateway.within_limits(decision) if error is None else refuse(decision, 400, "bad_request", error)

    def _on_connect(self, event: RequestHeaders, inbound: Inbound, began: float) -> Commands:
        """Open a tunnel to a provider's host; what goes through it is decrypted, and metered request by request."""
        request = event.request
        inbound = replace(inbound, target=b"/", origin=Origin("https", request.data.host.lower(), request.data.port))
        decision = self._gateway.decide_tunnel(inbound)
        wear(request, replace(shown(inbound), target=b""))
        if isinstance(decision, Refusal):
            self._exchange = self._gateway.begin(self, inbound, decision, began=began)
            yield from self._refuse(decision, request, keep_open=False)
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
        if request.data.host:
            return Origin(request.scheme or "https", request.data.host.lower(), request.data.port)
        return None

    # --- commands ---

    def _watched(self, generator: layer.CommandGenerator[None]) -> Commands:
        """Pass mitmproxy's commands on, with ours in place of some; see the module."""
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
                if not self._closed:
                    self._alarm.cancel()
                # It comes before the end of the message goes on, or in place of it.
                ended_well = self.server_state == self.state_done
                yield from self._end(EndReason.COMPLETE if ended_well else self._who_broke_off())
                yield from self._drop()
            elif not isinstance(command, commands.Log):
                reply = yield command
            if self._closed and command.blocking:
                # The deadline passed while mitmproxy's stream waited: what it would do next must not happen.
                generator.close()
                return

    def _send(self, command: SendHttp) -> Commands:
        exchange, event, injection = self._exchange, command.event, self._injection
        if isinstance(event, RequestHeaders):
            head = self._wire(event)
            if injection is not None and (body := self.flow.request.raw_content) is not None:
                injection.ask(head.request, body)
            yield SendHttp(head, command.connection)
            exchange.request_head_sent()
            return
        if isinstance(event, RequestData) and injection is not None:
            event.data = injection.asked(event.data)
            if not self.context.options.store_streamed_bodies:
                self.flow.request.raw_content = None
        elif isinstance(event, ResponseHeaders):
            self._on_response_head(event)
        elif isinstance(event, ResponseEndOfMessage) and self._upgraded:
            pass  # of the upgrade; the session has just begun
        elif isinstance(event, ResponseData):
            exchange.response_data(event.data)
            if injection is not None:
                try:
                    event.data = injection.seen(event.data)
                except DecodingError as error:  # nor could the client have read it
                    yield from self._break_off(str(error))
                    return
            if exchange.is_complete:
                yield from self._end(EndReason.COMPLETE)
            if not event.data:
                return
        elif isinstance(event, ResponseTrailers | ResponseEndOfMessage):  # in HTTP/2 the trailers are the end
            yield from self._end(EndReason.COMPLETE)
            yield from self._send_rest()
        elif isinstance(event, ResponseProtocolError) and not self._closed:
            if not self._response_begun and event.code is not ErrorCode.KILL:
                yield from self._answer_failure(event)
                return
            yield from self._end(self._who_broke_off())
            yield from self._send_rest()
        yield command

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:
        """Override: a body that is too long to be held goes on as it came."""
        if not request or self._injection is None or len(self.request_body_buf) <= MOST_HELD:
            return (yield from super().check_body_size(request))
        self._injection, self.flow.request.stream = None, True
        held = bytes(self.request_body_buf)
        self.request_body_buf.clear()
        yield from self.start_request_stream()
        yield from self.client_state(RequestData(self.stream_id, held))
        return False

    def _break_off(self, reason: str) -> Commands:
        """End a response in its middle, on both sides, so that the client sees that it is not whole."""
        self._closed = True
        self._alarm.cancel()
        yield SendHttp(RequestProtocolError(self.stream_id, reason, ErrorCode.CANCEL), self.context.server)
        yield from self._end(EndReason.UPSTREAM_ERROR)
        yield SendHttp(ResponseProtocolError(self.stream_id, reason, ErrorCode.CANCEL), self.context.client)
        yield from self._drop()
        yield from self._tell_of_error(reason)

    def _send_rest(self) -> Commands:
        if self._injection is not None and (rest := self._injection.rest()):
            yield SendHttp(ResponseData(self.stream_id, rest), self.context.client)

    def _on_response_head(self, event: ResponseHeaders) -> None:
        response = event.response
        status = response.status_code
        self._upgraded = status == 101
        if status < 200 and not self._upgraded:
            return
        self._response_begun = True
        self._exchange.response_head(self._forward.route, status, response.headers.fields)
        if self._cors_origin is not None:
            response.headers.fields += allowing(self._cors_origin, response.headers.fields)
        if self._injection is not None:
            self._injection.open_response(self.flow.request, response)
        if self._upgraded:
            self._alarm.cancel()
        elif event.end_stream:
            self._finish(EndReason.COMPLETE)

    def _on_interim(self, event: Interim) -> Commands:
        """Pass on what is no final response; ``100 Continue`` has been said already."""
        if event.response.status_code != 100:
            yield SendHttp(ResponseHeaders(self.stream_id, event.response), self.context.client)

    def _asks_for_websocket(self) -> bool:
        asked: str = self.flow.request.headers.get("upgrade", "")
        return asked.lower() == "websocket"

    def _on_unasked_upgrade(self) -> Commands:
        error = ResponseProtocolError(self.stream_id, "an upgrade that was not asked for", ErrorCode.CANCEL)
        yield commands.CloseConnection(self.context.server)
        yield from self._watched(super()._handle_event(error))

    def _on_early_end(self, event: ResponseEndOfMessage) -> Commands:
        """End a response that the provider has given in full without waiting for the whole request.

        mitmproxy's stream would end it after the request only, for which the client may wait in turn.
        """
        yield from self._end(EndReason.COMPLETE)
        self._closed = True
        self._alarm.set(UNREAD_BODY_SECONDS)
        yield SendHttp(event, self.context.client)
        unfinished = RequestProtocolError(self.stream_id, "answered before its end", ErrorCode.CANCEL)
        yield SendHttp(unfinished, self.context.server)

    def _mark(self) -> None:
        """Let the flow through the gate in the addon, and aim it where the decision says."""
        self.flow.metadata[MARK] = str(self._exchange.id)
        self._aim(self.flow.request)

    def _aim(self, request: http.Request) -> None:
        """Set where mitmproxy connects to. Done twice, because in reverse mode it fills in the mode's target."""
        upstream = self._forward.route.upstream
        request.data.host, request.data.port = upstream.host, upstream.port
        request.data.scheme = upstream.scheme.encode()

    def _wire(self, event: RequestHeaders) -> RequestHeaders:
        """Return the head with the provider's key on. It must reach nothing but the upstream connection."""
        request = event.request.copy()
        wear(request, self._forward.wire)
        # HTTP/2 has the host in a field of its own.
        request.data.authority = self._forward.route.upstream.authority if request.is_http2 else b""
        if request.is_http2:
            del request.headers["host"]
            if not event.end_stream and self.context.server.alpn != b"h2" and "content-length" not in request.headers:
                request.headers["transfer-encoding"] = "chunked"
        return RequestHeaders(event.stream_id, request, event.end_stream)

    # --- WebSocket sessions ---

    def passthrough(self, event: events.Event) -> Commands:
        """Override: count what passes after an upgrade; without other addons, answer the hooks at once."""
        if self._upgraded:
            if isinstance(event, RequestData):
                self._exchange.session_data(sent=len(event.data))
            elif isinstance(event, ResponseData):
                self._exchange.session_data(received=len(event.data))
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
            self._exchange.session_message(message.content, from_client=message.from_client)
            kept = WEBSOCKET_MESSAGES_KEPT if self._hooks else 1  # the one under way
            del session.messages[:-kept]
        elif isinstance(hook, WebsocketEndHook):
            lost = session.close_code == CLOSED_WITHOUT_WORD
            by_whom = EndReason.CLIENT_ABORT if session.closed_by_client else EndReason.UPSTREAM_ERROR
            self._finish(by_whom if lost else EndReason.COMPLETE)
            self._gateway.forget(self)

    # --- endings ---

    def _end(self, end_reason: EndReason) -> Commands:
        """Write the event, with estimated tokens where nobody reported any."""
        if self._paused is None and self._exchange.wants_estimate(end_reason):
            yield MetrionEstimateHook(self._exchange)
        self._finish(end_reason)

    def _who_broke_off(self) -> EndReason:
        left = self._client_left or any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue)
        return EndReason.CLIENT_ABORT if left else EndReason.UPSTREAM_ERROR

    def _finish(self, end_reason: EndReason) -> None:
        self._gateway.finish(self._exchange, end_reason)

    def _refuse(self, refusal: Refusal, request: http.Request, *, keep_open: bool) -> Commands:
        answer = self._take_note(refusal, EndReason.REFUSED)
        if self.context.client.state is ConnectionState.OPEN:
            yield from self._answer(answer, request, mark=str(self._exchange.id), keep_open=keep_open)
        else:  # mitmproxy's parser has answered already, and closed
            self._closed = True

    def _take_note(self, refusal: Refusal, end_reason: EndReason) -> Answer:
        """Write the event of a request that ends with a response of our own; return that response."""
        answer = render(refusal)
        self._exchange.own_response(answer.status, refusal.code, len(answer.body))
        self._finish(end_reason)
        return answer

    def _answer(self, answer: Answer, request: http.Request, *, mark: str, keep_open: bool) -> Commands:
        """Send a response of our own at once, however much of the request is still to come."""
        self.flow = http.HTTPFlow(self.context.client, self.context.server)
        self.flow.request = request
        if not request.data.host:  # addressed to the proxy itself
            request.data.host, request.data.port = self.context.client.sockname[:2]
            request.data.scheme = b"http"
        self.flow.metadata[MARK] = mark
        if self._hooks:
            yield HttpRequestHeadersHook(self.flow)
        self.flow.response = own_response(answer, keep_open=keep_open)
        if self._hooks:
            yield HttpResponseHook(self.flow)
        yield from self._send_own(self.flow.response, keep_open=keep_open)

    def _send_own(self, response: http.Response, *, keep_open: bool) -> Commands:
        self._closed = True
        self._alarm.cancel()
        if not keep_open:
            self._alarm.set(UNREAD_BODY_SECONDS)
        if self.flow.request.is_http2:  # it has no such header
            response.headers.pop("connection", None)
        client = self.context.client
        body = b"" if self.flow.request.method == "HEAD" else response.data.content
        yield SendHttp(ResponseHeaders(self.stream_id, response, end_stream=not body), client)
        if body:
            yield SendHttp(ResponseData(self.stream_id, body), client)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)

    def _on_unread(self, event: events.Event) -> Commands:
        """After our own response: drop what is left of the request, within bounds."""
        if isinstance(event, RequestData):
            self._unread += len(event.data)
            if self._unread > UNREAD_BODY_BYTES:
                yield from self._close_client()
        elif isinstance(event, RequestEndOfMessage | RequestProtocolError):
            self._alarm.cancel()
            yield from self._drop()

    def _close_client(self) -> Commands:
        self._alarm.cancel()
        # This closes a connection of HTTP/1, and nothing but the stream in one of HTTP/2, which others use too.
        unread = ResponseProtocolError(self.stream_id, "the rest of the request is not read", ErrorCode.CANCEL)
        yield SendHttp(unread, self.context.client)
        yield from self._drop()

    def _drop(self) -> Commands:
        self._gateway.forget(self)
        yield DropStream(self.stream_id)

    def _answer_failure(self, event: ResponseProtocolError) -> Commands:
        """Say in the provider's JSON what mitmproxy would say in HTML."""
        upstream = self._forward.route.upstream
        # Only these messages of mitmproxy's never quote what the server sent.
        quotable = event.code is ErrorCode.CONNECT_FAILED or event.message == "server closed connection"
        reason = event.message if quotable else "what it sent is not HTTP"
        refusal = refuse(
            self._forward,
            502,
            "upstream_unreachable",
            f"No usable answer from {self._forward.route.provider} "
            f"at {upstream.scheme}://{upstream.authority.decode()}: {reason}.",
        )
        answer = self._take_note(refusal, EndReason.UPSTREAM_ERROR)
        yield from self._send_own(own_response(answer, keep_open=False), keep_open=False)

    def _on_alarm(self) -> Commands:
        if self._closed:
            yield from self._close_client()
            return
        exchange, forward = self._exchange, self._forward
        timeout = forward.caller.timeout or 0
        left = exchange.last_activity + timeout - time.perf_counter()
        if left > 0 or self._alarm.is_client_slow() or exchange.is_estimating:
            self._alarm.set(left if left > 0 else timeout)
            return
        refusal = refuse(
            forward,
            504,
            "timeout",
            f"{forward.route.provider} sent nothing for {timeout:g} seconds, the timeout of this request. Another can "
            "be set for a token (`metrion token create --timeout`), a provider or a plan (`timeout` in metrion.yaml).",
        )
        if exchange.reached_upstream:
            gone = RequestProtocolError(self.stream_id, "timeout", ErrorCode.CANCEL)
            yield SendHttp(gone, self.context.server)
        if self._response_begun:
            self._closed = True
            yield from self._end(EndReason.TIMEOUT)
            if exchange.takes_events:
                last_words = error_event(refusal)
                yield SendHttp(ResponseData(self.stream_id, last_words), self.context.client)
                yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
            else:
                cut = ResponseProtocolError(self.stream_id, "timeout", ErrorCode.CANCEL)
                yield SendHttp(cut, self.context.client)
        else:
            answer = self._take_note(refusal, EndReason.TIMEOUT)
            yield from self._send_own(own_response(answer, keep_open=False), keep_open=False)
        yield from self._drop()
        yield from self._tell_of_error(f"Metrion's timeout of {timeout:g} s")

    def _tell_of_error(self, message: str) -> Commands:
        if self._hooks:
            self.flow.error = flow.Error(message)
            hook = HttpErrorHook(self.flow)
            hook.blocking = False  # nobody waits for it: the stream is over
            yield hook


def refuse(decision: Forward, status: int, code: str, message: str) -> Refusal:
    """Return the refusal of a request that had been admitted already."""
    route = decision.route
    return Refusal(status, code, message, route.provider, route.error_shape, route=route, caller=decision.caller)


def own_response(answer: Answer, *, keep_open: bool) -> http.Response:
    """Return an answer as mitmproxy sends it."""
    headers = answer.headers if keep_open else (*answer.headers, (b"connection", b"close"))
    now = time.time()
    response = http.Response(b"HTTP/1.1", answer.status, b"", http.Headers(headers), answer.body, None, now, now)
    response.reason = status_codes.RESPONSES.get(answer.status, "")
    return response


def wear(request: http.Request, head: Head) -> None:
    """Give a request another head."""
    request.data.path = head.target
    request.data.headers = http.Headers(head.headers)
