"""One request on its way in: bytes in, a head and then a whole body out. Anything that is not HTTP is recorded too."""

from __future__ import annotations

import asyncio
import sys
import time

import h11

from metrion.simulator.control import CONTROL_PREFIX, Simulator
from metrion.simulator.received import Received

_MAX_HEAD_BYTES = 1 << 20


class Incoming:
    """A request that is arriving: ``head`` and ``complete`` are there to wait for.

    Both raise ``h11.RemoteProtocolError`` when what arrives is not HTTP.
    """

    def __init__(self, simulator: Simulator, connection: int, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[h11.Request] = loop.create_future()
        self.complete: asyncio.Future[None] = loop.create_future()
        self.received = Received(0, connection, port)
        self._simulator = simulator
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._head_bytes = bytearray()

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self._parser.they_are_waiting_for_100_continue

    @property
    def following(self) -> bytes:
        """What arrived behind the complete request."""
        return self._parser.trailing_data[0]

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self.received.malformed is not None:
            return
        if not self.head.done():
            self._head_bytes += data
        self._parser.receive_data(data)
        try:
            while not isinstance(event := self._parser.next_event(), type):
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._begin(())
            self.received.malformed = str(error)
            (self.complete if self.head.done() else self.head).set_exception(error)

    def _take(self, event: h11.Event) -> None:
        match event:
            case h11.Request():
                self._begin(tuple(event.headers.raw_items()), control=event.target.startswith(CONTROL_PREFIX.encode()))
                self.head.set_result(event)
            case h11.Data():
                self.received.feed(bytes(event.data))
            case h11.EndOfMessage():
                self.received.body_complete = True
                self.complete.set_result(None)

    def _begin(self, headers: tuple[tuple[bytes, bytes], ...], *, control: bool = False) -> None:
        received = self.received
        if received.number:
            return
        received.started = time.monotonic()
        received.head = bytes(self._head_bytes).partition(b"\r\n\r\n")[0]
        received.headers = headers
        if control:
            received.body_limit = sys.maxsize
        else:
            received.number = next(self._simulator.numbers)
            self._simulator.record(received)
