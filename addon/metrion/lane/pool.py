"""Keeps a worker's connections to providers open between requests, for whoever asks next.

A connection is handed out only if its server has neither ended it nor sent anything since its last answer, and has
not waited longer than such servers keep one open. Whatever is given back is kept or closed; nothing is ever used by
two. Lives on one event loop.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections.abc import Callable
from typing import cast

from metrion.lane.connect import connect
from metrion.model import Origin

_KNOWN_SECONDS, _OTHER_SECONDS = 30.0, 4.0
"""How long a connection waits for its next request. The providers' own hosts keep it for longer than the first, and
uvicorn, behind which most others are, closes it after five seconds."""
MAX_IDLE = 256
"""How many connections to one origin wait at most."""
SWEEP_SECONDS = 1.0


class Connection(asyncio.Protocol):
    """A connection to a provider, as the pool sees it. While it is idle, its protocol gets no calls."""

    origin: Origin
    """Set by the pool."""
    transport: asyncio.Transport
    is_reusable: bool = False
    """Whether the last request was sent and its answer read, both whole, and both sides want to go on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)


class Pool[P: Connection]:
    """See the module. ``make`` makes a protocol, ``tls`` says whom to trust, ``is_known`` knows providers' hosts."""

    def __init__(
        self,
        make: Callable[[], P],
        *,
        tls: Callable[[Origin], ssl.SSLContext],
        is_known: Callable[[Origin], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._tls = tls
        self._is_known = is_known
        self._now = now
        self._idle = dict[Origin, dict[P, float]]()
        """Until when they wait, the one that was used last at the end."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, origin: Origin) -> P | None:
        """Return a connection that waits, the one that was used last; ``None`` where none does."""
        idle = self._idle.get(origin)
        while idle:
            connection, until = idle.popitem()
            if until > self._now() and is_quiet(connection.transport):
                connection.transport.set_protocol(connection)
                return connection
            connection.transport.close()
        return None

    async def connect(self, origin: Origin) -> P:
        """Return a new connection.

        :raises metrion.lane.connect.ConnectError: there is none.
        """
        connection = await connect(origin, self._make, self._tls)
        connection.origin = origin
        return connection

    def give_back(self, connection: P) -> None:
        """Keep a connection for the next request, or close it."""
        origin, transport = connection.origin, connection.transport
        idle = self._idle.setdefault(origin, {})
        unsent = transport.get_write_buffer_size() > 0
        if self._closed or not connection.is_reusable or unsent or transport.is_closing() or len(idle) >= MAX_IDLE:
            transport.close()
            return
        idle[connection] = self._now() + (_KNOWN_SECONDS if self._is_known(origin) else _OTHER_SECONDS)
        transport.set_protocol(_Watch(lambda: self._drop(connection)))
        transport.resume_reading()
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Close what waits, and from now on what is given back."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in [connection for idle in self._idle.values() for connection in idle]:
            self._drop(connection)

    def drop_expired(self) -> None:
        """Close what has waited for too long. The pool calls this itself once a second."""
        now = self._now()
        for idle in self._idle.values():
            for connection in [connection for connection, until in idle.items() if until <= now]:
                self._drop(connection)

    def _sweep(self) -> None:
        self.drop_expired()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep) if any(self._idle.values()) else None

    def _drop(self, connection: P) -> None:
        self._idle[connection.origin].pop(connection, None)
        connection.transport.close()


class _Watch(asyncio.Protocol):
    """Watches an idle connection: whatever its server does, the connection is of no more use."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 -- what it is does not matter
        self._drop()

    def eof_received(self) -> None:
        self._drop()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 -- nor why
        self._drop()


def is_quiet(transport: asyncio.Transport) -> bool:
    """Whether nothing has arrived that is unread, an end included. The socket is asked: the loop may be behind."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not poll.poll(0)
