"""The lane of one worker: the sockets on which its client connections arrive, and how they end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from socket import socket

from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.lane.client import ClientConnection
from metrion.lane.pool import Pool
from metrion.lane.shared import Connection, HandOver, Shared
from metrion.lane.upstream import Upstream

_HANDSHAKE_SECONDS = 10.0


class Lane(Shared):
    """See the module."""

    def __init__(self, gateway: Gateway, estimator: Estimator, pool: Pool[Upstream], hand_over: HandOver) -> None:
        super().__init__(gateway, estimator, pool, hand_over)
        self._servers: list[asyncio.Server] = []

    async def listen(self, listeners: Iterable[socket], tls: ssl.SSLContext | None = None, *, backlog: int) -> None:
        """Accept connections on sockets that listen already. ``backlog``: how many may wait at each."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            self._servers.append(
                await loop.create_server(
                    lambda: ClientConnection(self),
                    sock=listener,
                    backlog=backlog,
                    ssl=tls,
                    ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
                )
            )

    def drain(self) -> None:
        """Accept no more, and let connections end with their request."""
        self.is_draining = True
        for server in self._servers:
            server.close()

    def close_idle(self) -> None:
        """Close the connections that have no request in flight."""
        for connection in self._idle():
            connection.close()

    @property
    def is_busy(self) -> bool:
        """Whether a connection still has something to do."""
        return len(self._idle()) < len(self.connections)

    def close(self) -> None:
        """End all connections."""
        for connection in tuple(self.connections):
            connection.close()
        self.pool.close()

    def _idle(self) -> Sequence[Connection]:
        return [connection for connection in self.connections if not connection.is_busy]
