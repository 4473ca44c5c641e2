"""What all client connections of one worker share on the lane."""

from __future__ import annotations

import asyncio
from typing import Protocol

from metrion.gateway.estimator import Estimator
from metrion.gateway.gateway import Gateway
from metrion.lane.http1 import RequestHead
from metrion.lane.pool import Pool
from metrion.lane.upstream import Upstream
from metrion.model import Inbound


class HandOver(Protocol):
    """Takes a connection that the lane does not serve, with what has been read of it."""

    def __call__(self, transport: asyncio.Transport, data: bytes, alpn: bytes | None, *, ended: bool) -> None:
        """``alpn``: the protocol that it speaks, if that is known. ``ended``: its client sends no more."""


class Connection(Protocol):
    """A client's connection, as far as the others' fate depends on it."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight."""

    @property
    def idle_since(self) -> float:
        """When its last request ended, or when it came, by the loop's clock."""

    def close(self) -> None:
        """End it at once."""


class Shared:
    """See the module."""

    def __init__(self, gateway: Gateway, estimator: Estimator, pool: Pool[Upstream], hand_over: HandOver) -> None:
        self.gateway = gateway
        self.estimator = estimator
        self.pool = pool
        self.hand_over = hand_over
        self.connections: set[Connection] = set()
        self.is_draining = False

    def inbound(self, head: RequestHead, *, secure: bool, peer: object) -> Inbound:
        """Return a request that came on a connection."""
        trusted = self.gateway.settings.trusted_proxies
        return Inbound(head.method, head.target, head.headers, secure=secure, peer=peer, trusted_proxies=trusted)
