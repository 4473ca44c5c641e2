"""Accepts connections on a socket that listens: a few in each turn of the loop, and none while descriptors are scarce.

A share of the process's descriptors is kept for connections to providers, the journal and the databases. Once only
that is left, idle connections are closed to make room, the one that has waited longest first; where none is idle, new
ones wait in the system's queue. The log gets one line a minute at most.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable
from typing import ClassVar

logger = logging.getLogger(__name__)

_MOST_DESCRIPTORS = 65536
_MOST_KEPT = 64
"""How many descriptors are kept: so many, or a quarter of a limit that is smaller than four times as many."""
_PER_TURN = 16
_PAUSE_SECONDS = 0.25
"""How long nothing is accepted where there is no room."""
_WARNING_SECONDS = 60.0
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_HANDSHAKE_SECONDS = 10.0

type MakeRoom = Callable[[int], int]
"""Closes so many idle connections, or as many as there are; returns how many."""


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as the system allows it, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError) as error:  # macOS has another, lower bound
        logger.warning("The limit of open files stays at %d: %s", soft, error)


class Acceptor:
    """See the module. ``make``: a protocol for each connection. Lives on the running event loop."""

    _warned_at: ClassVar[float] = -_WARNING_SECONDS
    """When any of them last did."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
        *,
        make_room: MakeRoom = lambda _: 0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._tls = tls
        self._make_room = make_room
        self._starting = set[asyncio.Task[object]]()
        self._paused: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accept no more, and close the socket."""
        if self._closed:
            return
        self._closed = True
        if self._paused is not None:
            self._paused.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_PER_TURN):
            if self._is_scarce():
                self._wait(self._make_room(_PER_TURN))
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SCARCE:
                    raise
                self._wait(self._make_room(_PER_TURN))
                return
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        serving: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if self._tls else None,
            )
        )
        self._starting.add(serving)
        serving.add_done_callback(self._started)

    def _started(self, serving: asyncio.Task[object]) -> None:
        self._starting.discard(serving)
        if not serving.cancelled():
            serving.exception()  # a client that is gone already, or a handshake that failed, is no fault of ours

    def _wait(self, closed: int) -> None:
        self._warn(closed)
        self._loop.remove_reader(self._listener.fileno())
        # What was closed is free a turn later.
        self._paused = self._loop.call_later(0.01 if closed else _PAUSE_SECONDS, self._resume)

    def _is_scarce(self) -> bool:
        """Whether the next descriptor would be one of those that are kept: the lowest free one is always taken."""
        limit = _limit()
        try:
            lowest = os.dup(self._listener.fileno())
        except OSError:
            return True
        os.close(lowest)
        return lowest >= limit - min(limit // 4, _MOST_KEPT)

    def _warn(self, closed: int) -> None:
        now = self._loop.time()
        if now - Acceptor._warned_at >= _WARNING_SECONDS:
            Acceptor._warned_at = now
            what = "idle connections are closed to make room" if closed else "new connections have to wait"
            logger.warning(
                "At most %d files may be open: %s. Raise the limit (ulimit -n, or LimitNOFILE= in a systemd unit).",
                _limit(),
                what,
            )

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener.fileno(), self._accept)


def _limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
