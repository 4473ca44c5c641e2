"""A WebSocket session on mitmproxy's road, in place of mitmproxy's own layer.

In: the bytes of both sides, as they come. Out: the same bytes, at once. Beside them, messages are read for the events
of the session and shown to other addons. Never: a change to what passes, a wait for a whole message, or memory that
grows with what is sent. mitmproxy's layer holds each message whole and inflates it without a bound.

The session's closing row is written before the provider's Close frame goes to the client.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketMessageHook, WebsocketStartHook
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from metrion.faults import log_fault
from metrion.model import EndReason, Event
from metrion.parsing.websocket_messages import Close, Deflate, Held, Message, MessageReader, Skipped, UnreadableError
from metrion.proxy.http1 import Commands
from metrion.relay.attempt import Attempt

logger = logging.getLogger(__name__)

_CLOSED_WITHOUT_WORD = 1006  # RFC 6455, section 7.4.1
_NO_CODE = 1005
_GOODBYE_SECONDS = 10.0
"""How long a provider may take to answer the Close frame of a client that is gone."""

_MOST_KEPT = 100
"""Messages of a session that mitmweb and the console show; mitmproxy would keep all."""
_MOST_SHOWN = 32
"""Messages that other addons see of what arrives at once; each costs them some hundred microseconds."""
_MOST_CONTENT = 1 << 16
"""Bytes that are shown of a message."""

_held = Held()
"""Shared by all sessions of the process."""


class SessionLayer(layer.Layer):
    """See the module.

    ``is_shown``: other addons see the session. ``end`` is called once, with how it ended; ``wake`` has to send an
    ``events.Wakeup`` after so many seconds. ``note`` gets each event that is written meanwhile.
    """

    def __init__(
        self,
        context: Context,
        flow: http.HTTPFlow,
        attempt: Attempt,
        *,
        is_shown: bool,
        end: Callable[[EndReason], None],
        wake: Callable[[float], None],
        note: Callable[[Event | None], None],
    ) -> None:
        super().__init__(context)
        self._flow = flow
        self._attempt = attempt
        self._is_shown = is_shown
        self._end = end
        self._wake = wake
        self._note = note
        self._has_ended = self._is_closed = False
        self._said_goodbye = set[bool]()
        """Whose Close frame has passed: that of the client (``True``), of the provider."""
        extensions = flow.response.headers.get("sec-websocket-extensions", "") if flow.response else ""
        deflate = Deflate.agreed(extensions)
        self._readers: dict[bool, MessageReader] = {
            True: MessageReader(deflate.client_takeover if deflate else None, _held),
            False: MessageReader(deflate.server_takeover if deflate else None, _held),
        }
        """Those of the client's bytes (``True``) and of the provider's, as long as they can be read."""

    def _handle_event(self, event: events.Event) -> Commands:
        if self._is_closed:
            return
        match event:
            case events.Start():
                yield from self._hook(WebsocketStartHook(self._flow))
            case events.DataReceived(connection, data):
                yield from self._pass_on(connection, data)
            case events.ConnectionClosed(connection):
                yield from self._on_closed(from_client=connection is self.context.client)
            case events.Wakeup():
                yield from self._close(EndReason.COMPLETE)
            case events.MessageInjected():
                logger.warning("A message cannot be put into a WebSocket session: its bytes pass as they are.")

    def _pass_on(self, connection: Connection, data: bytes) -> Commands:
        from_client = connection is self.context.client
        if from_client:
            self._attempt.session_data(sent=len(data))
        else:
            self._attempt.session_data(received=len(data))
        yield from self._read(data, from_client=from_client)
        yield commands.SendData(self.context.server if from_client else self.context.client, data)
        if len(self._said_goodbye) == 2:
            yield from self._close(EndReason.COMPLETE)

    def _on_closed(self, *, from_client: bool) -> Commands:
        """End the session with a connection; only a provider's answer to a Close frame is waited for."""
        if from_client and self._said_goodbye == {True}:
            self._wake(_GOODBYE_SECONDS)
        elif self._said_goodbye:
            yield from self._close(EndReason.COMPLETE)
        else:
            self._record_close(_CLOSED_WITHOUT_WORD, "", by_client=from_client)
            yield from self._close(EndReason.CLIENT_ABORT if from_client else EndReason.UPSTREAM_ERROR)

    def _close(self, end_reason: EndReason) -> Commands:
        self._is_closed = True
        self._finish(end_reason)
        for reader in self._readers.values():
            reader.close()
        for connection in (self.context.server, self.context.client):
            yield commands.CloseConnection(connection)
        yield from self._hook(WebsocketEndHook(self._flow))

    def _finish(self, end_reason: EndReason) -> None:
        """Write the session's closing row, unless it is written."""
        if not self._has_ended:
            self._has_ended = True
            self._end(end_reason)

    # --- what is read beside ---

    def _read(self, data: bytes, *, from_client: bool) -> Commands:
        reader = self._readers.get(from_client)
        if reader is None:
            return
        shown = 0
        try:
            for event in reader.feed(data):
                match event:
                    case Message():
                        self._note(self._attempt.session_message(event.payload, from_client=from_client))
                        if self._is_shown and shown < _MOST_SHOWN:
                            shown += 1
                            yield from self._show(event, from_client=from_client)
                    case Skipped():
                        self._attempt.session_unread("a message is too large", from_client=from_client)
                    case Close(code, reason):
                        self._on_close_frame(code, reason, from_client=from_client)
        except UnreadableError as error:
            self._give_up(str(error), from_client=from_client)
        except Exception as error:  # noqa: BLE001 -- a fault in metering must not reach the traffic
            log_fault(logger, "A WebSocket session could not be read; it goes on undisturbed", error)
            self._give_up("Metrion failed", from_client=from_client)

    def _give_up(self, why: str, *, from_client: bool) -> None:
        self._readers.pop(from_client).close()
        self._attempt.session_unread(why, from_client=from_client)

    def _on_close_frame(self, code: int | None, reason: str, *, from_client: bool) -> None:
        if not self._said_goodbye:
            self._record_close(_NO_CODE if code is None else code, reason, by_client=from_client)
        self._said_goodbye.add(from_client)
        if not from_client:
            self._finish(EndReason.COMPLETE)

    # --- what flows show ---

    def _record_close(self, code: int, reason: str, *, by_client: bool) -> None:
        if (session := self._flow.websocket) is not None:
            session.timestamp_end = time.time()
            session.closed_by_client, session.close_code, session.close_reason = by_client, code, reason

    def _show(self, message: Message, *, from_client: bool) -> Commands:
        session = self._flow.websocket
        if session is None:
            return
        content, size = message.payload, len(message.payload)
        if size > _MOST_CONTENT:
            content = content[:_MOST_CONTENT] + b" [the first %d of %d bytes]" % (_MOST_CONTENT, size)
        kind = Opcode.TEXT if message.is_text else Opcode.BINARY
        session.messages.append(WebSocketMessage(kind, from_client, content))
        del session.messages[:-_MOST_KEPT]
        yield from self._hook(WebsocketMessageHook(self._flow))

    def _hook(self, hook: commands.StartHook) -> Commands:
        """Call other addons, and do not wait for them."""
        if self._is_shown:
            hook.blocking = False
            yield hook
