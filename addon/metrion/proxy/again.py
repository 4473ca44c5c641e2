"""A second sending on mitmproxy's road. mitmproxy's stream knows nothing of it: it waits for one response.

What the relay drops is kept from that stream, and from other scripts. The relay's next ``Open`` gets a connection from
mitmproxy's pool, and what follows goes there. Nothing is decided here.
"""

from __future__ import annotations

from abc import abstractmethod

from mitmproxy.connection import Connection
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    GetHttpConnection,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from metrion.model import EndReason, Origin
from metrion.proxy.http1 import Commands
from metrion.proxy.switching import SwitchingStream
from metrion.relay.effects import Effects
from metrion.relay.states import PARKED, UNSEEN, State

type _Reply = tuple[Connection | None, str | None]
_OF_THE_ANSWER = (ResponseHeaders, ResponseData, ResponseTrailers, ResponseEndOfMessage, ResponseProtocolError)


class SendingAgain(SwitchingStream):
    """See the module."""

    _client_left = False
    _has_asked = False
    """A provider's connection is busy with this request."""
    _opens = False
    """mitmproxy's stream has asked for its connection: any other is asked for here."""

    @abstractmethod
    def _report_error(self, message: str) -> Commands:
        """Tell other scripts."""

    def _unseen(self, event: object) -> Commands | None:
        """Deal with what mitmproxy's stream must not see; ``None``: it may."""
        relay = self.relay
        if not (relay.may_send_again and isinstance(event, _OF_THE_ANSWER)):
            return None
        if isinstance(event, ResponseProtocolError):
            return self._on_failure(event) if self._survives(event) else None
        if relay.state is State.WAITING:  # nobody waits for it any more
            return self._carry_out([])
        if isinstance(event, ResponseHeaders) and relay.drops(
            event.response.status_code, event.response.headers.fields
        ):
            response = event.response
            head = relay.response_head(
                response.status_code, response.data.reason, response.headers.fields, ends=event.end_stream
            )
            return self._carry_out(head)
        if relay.state not in UNSEEN:
            return None
        if isinstance(event, ResponseEndOfMessage):
            self._has_asked = False
            return self._settled(relay.response_end())
        return self._carry_out(relay.response_data(event.data) if isinstance(event, ResponseData) else [])

    def _connection(self, command: GetHttpConnection) -> layer.CommandGenerator[_Reply]:
        """Get the connection that mitmproxy's stream asks for.

        It takes the request for sent where the relay sends it later, or once more.
        """
        self._opens = True
        if self.relay.state in PARKED:
            return self.flow.server_conn, None
        reply: _Reply = yield command
        error = reply[1]
        if error is not None:
            failure = ResponseProtocolError(self.stream_id, error, ErrorCode.CONNECT_FAILED)
            if self._survives(failure):
                yield from self._on_failure(failure)
                return self.flow.server_conn, None
        return reply

    def _open_again(self, upstream: Origin) -> Commands:
        error = yield from self._connect(upstream)
        if error is None:
            yield from self._carry_out(self.relay.connected())
            return
        yield from self._carry_out(self._failed(ResponseProtocolError(self.stream_id, error, ErrorCode.CONNECT_FAILED)))
        if self.relay.state in (State.UNREAD, State.OVER):
            yield from self._report_error(error)

    def _connect(self, upstream: Origin) -> layer.CommandGenerator[str | None]:
        """Get a connection; return why there is none."""
        server = self.flow.server_conn
        address, is_tls = (upstream.host, upstream.port), upstream.scheme == "https"
        error: str | None
        connection, error = yield GetHttpConnection(address, is_tls, server.via, server.transport_protocol)
        if error is None:
            self.context.server = self.flow.server_conn = connection
        return error

    def _settled(self, effects: Effects) -> Commands:
        yield from self._carry_out(effects)
        if self.relay.state in (State.UNREAD, State.OVER):
            yield from self._report_error("Metrion answered, out of a batch")

    def _survives(self, event: ResponseProtocolError) -> bool:
        return not (self._has_left or event.code is ErrorCode.KILL) and self.relay.survives(_quotable(event))

    def _on_failure(self, event: ResponseProtocolError) -> Commands:
        self._has_asked = False
        return self._carry_out(self.relay.upstream_failed(_quotable(event)))

    def _failed(self, event: ResponseProtocolError) -> Effects:
        if self._has_left:
            return self.relay.client_gone()
        if event.code is ErrorCode.KILL:
            return self.relay.cut(EndReason.UPSTREAM_ERROR)
        return self.relay.upstream_failed(_quotable(event))

    @property
    def _has_left(self) -> bool:
        """Whether the client is gone, as far as it is known."""
        return self._client_left or any(isinstance(event, RequestProtocolError) for event in self._paused_event_queue)


def _quotable(event: ResponseProtocolError) -> str | None:
    """Return why there is no answer. Only these messages of mitmproxy's never quote what the server sent."""
    quotable = event.code is ErrorCode.CONNECT_FAILED or event.message == "server closed connection"
    return event.message if quotable else None
