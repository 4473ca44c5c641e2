"""The lane of one worker: the sockets on which its client connections arrive, and how they end."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from socket import socket

from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.lane.accepting import Acceptor
from metrion.lane.client import ClientConnection
from metrion.lane.pool import Pool
from metrion.lane.shared import Connection, HandOver, Shared
from metrion.lane.upstream import Upstream


class Lane(Shared):
    """See the module."""

    def __init__(self, gateway: Gateway, estimator: Estimator, pool: Pool[Upstream], hand_over: HandOver) -> None:
        super().__init__(gateway, estimator, pool, hand_over)
        self._acceptors: list[Acceptor] = []

    def listen(self, listeners: Iterable[socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on sockets that listen already."""
        self._acceptors += [
            Acceptor(listener, lambda: ClientConnection(self), tls, make_room=self._make_room) for listener in listeners
        ]

    def drain(self) -> None:
        """Accept no more, and let connections end with their request."""
        self.is_draining = True
        for acceptor in self._acceptors:
            acceptor.close()

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

    def _make_room(self, wanted: int) -> int:
        """Close so many idle connections, those that have waited longest; return how many there were."""
        closing = nsmallest(wanted, self._idle(), key=lambda connection: connection.idle_since)
        for connection in closing:
            connection.close()
        return len(closing)

    def _idle(self) -> Sequence[Connection]:
        return [connection for connection in self.connections if not connection.is_busy]
