"""A WebSocket session on mitmproxy's road: its hooks in, and how it ended out.

Each message is read before it goes on. A session does not grow with its length.
"""

from __future__ import annotations

from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.websocket import WebsocketEndHook, WebsocketMessageHook, WebsocketStartHook
from mitmproxy.websocket import WebSocketData

from metrion.model import EndReason
from metrion.relay.attempt import Attempt

HOOKS = (WebsocketStartHook, WebsocketMessageHook, WebsocketEndHook)

_CLOSED_WITHOUT_WORD = 1006  # RFC 6455, section 7.4.1
_MESSAGES_KEPT = 100
"""For mitmweb and the console; mitmproxy would keep all."""


def on_hook(hook: commands.StartHook, session: WebSocketData, attempt: Attempt, *, is_shown: bool) -> EndReason | None:
    """Read the message that a hook brings; return how the session ended, ``None``: it goes on.

    ``is_shown``: other addons see the session.
    """
    if isinstance(hook, WebsocketMessageHook):
        message = session.messages[-1]
        attempt.session_message(message.content, from_client=message.from_client)
        kept = _MESSAGES_KEPT if is_shown else 1  # the one under way
        del session.messages[:-kept]
    elif isinstance(hook, WebsocketEndHook):
        if session.close_code != _CLOSED_WITHOUT_WORD:
            return EndReason.COMPLETE
        return EndReason.CLIENT_ABORT if session.closed_by_client else EndReason.UPSTREAM_ERROR
    return None
