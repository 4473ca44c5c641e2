"""Paces the reading of a connection, so that nobody waits long for it and what it sends is not piled up.

mitmproxy reads a connection as fast as bytes come, and deals with all that one read has brought at once. A paced reader
reads nothing while somebody holds it, and no more at a time than it is told to.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from mitmproxy.connection import Connection
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.server import ConnectionHandler

from metrion.proxy.connections import connection_handler

_LITTLE = 2048
"""How much of an HTTP/2 connection is read at a time: it may be 200 frames, each of which takes 0.1 ms."""


class _Reader(Protocol):
    async def read(self, n: int, /) -> bytes: ...


class PacedReader:
    """See the module. Stands in for the reader of a connection."""

    def __init__(self, reader: _Reader) -> None:
        self.most: int | None = None
        """The most bytes of one read; others have their turn between two of them."""
        self._reader = reader
        self._holders: set[object] = set()
        self._free = asyncio.Event()
        self._free.set()

    async def read(self, n: int) -> bytes:
        """Return what has come, at most ``n`` bytes of it, and nothing at the end of the connection."""
        while self._holders:
            await self._free.wait()
        if self.most is not None:
            await asyncio.sleep(0)
            n = min(n, self.most)
        return await self._reader.read(n)

    def hold(self, holder: object) -> None:
        """Read nothing until this holder lets go."""
        self._holders.add(holder)
        self._free.clear()

    def let_go(self, holder: object) -> None:
        """Take a hold back, if there is one."""
        self._holders.discard(holder)
        if not self._holders:
            self._free.set()


def pace(handler: ConnectionHandler | None, connection: Connection) -> None:
    """Put a paced reader under a connection of TCP that has just been made."""
    stream = handler.transports.get(connection) if handler is not None else None
    if stream is not None and stream.reader is not None and connection.transport_protocol == "tcp":
        stream.reader = PacedReader(stream.reader)  # type: ignore[assignment]  # all that mitmproxy calls is `read`


def pace_of(context: Context, connection: Connection) -> PacedReader | None:
    """Return the paced reader of a connection, as long as it is there."""
    handler = connection_handler(context)
    stream = handler.transports.get(connection) if handler is not None else None
    reader: object = stream.reader if stream is not None else None
    return reader if isinstance(reader, PacedReader) else None


def read_little(context: Context, connection: Connection) -> None:
    """Read little of a connection at a time from now on."""
    if (reader := pace_of(context, connection)) is not None:
        reader.most = _LITTLE
