"""What a supervisor gives to each of its workers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metrion.gateway.scoreboard import Slot
from metrion.serving.orders import Orders


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """See the module."""

    listeners: Sequence[socket.socket]
    """Sockets that listen already."""
    slot: Slot
    """The worker's own figures on the scoreboard."""
    lifeline: int
    """A descriptor that can be read when the supervisor is gone."""
    orders: Orders
    """What the supervisor wants while the worker works."""
    on_listening: Callable[[], None]
    on_draining: Callable[[], None]
