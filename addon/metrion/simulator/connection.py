"""One client connection: requests one after the other, and to each the steps of its answer's delivery.

h11 only reads here. What is sent follows the delivery, which may break HTTP on purpose. Which provider is meant: the
listening port if it belongs to one, else the first path segment (``/openai/…``), else the ``Host``, else OpenAI.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from itertools import accumulate
from typing import cast, override

from metrion.simulator.answers import VENDORS, Request
from metrion.simulator.answers.bodies import json_answer
from metrion.simulator.control import CONTROL_PREFIX, Simulator
from metrion.simulator.delivery import SELECTION_HEADER, Answer, Delivery, End, Hold, Send, Wait, parse_selection, steps
from metrion.simulator.incoming import Incoming
from metrion.simulator.received import Received

_HOSTS = {vendor.host: name for name, vendor in VENDORS.items()}


class Connection(asyncio.Protocol):
    """A connection. Each request has a parser of its own."""

    def __init__(self, simulator: Simulator, provider: str | None) -> None:
        self._simulator = simulator
        self._provider = provider
        self._id = next(simulator.connections)
        self._drained: asyncio.Future[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._port = self._transport.get_extra_info("sockname")[1]
        self._incoming = self._next_incoming()
        self._conversation = asyncio.get_running_loop().create_task(self._converse())

    @override
    def data_received(self, data: bytes) -> None:
        self._incoming.feed(data)

    @override
    def eof_received(self) -> None:
        self._client_left()

    @override
    def connection_lost(self, _: Exception | None) -> None:
        self._client_left()
        self._conversation.cancel()

    @override
    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    @override
    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def _client_left(self) -> None:
        received = self._incoming.received
        if not received.finished:
            received.client_closed_after = time.monotonic() - received.started
            received.finished = True
            self._simulator.changed()

    def _next_incoming(self) -> Incoming:
        return Incoming(self._simulator, self._id, self._port)

    async def _converse(self) -> None:
        while not self._transport.is_closing():
            incoming = self._incoming
            try:
                keep_alive = await self._exchange(incoming)
            except Exception as error:  # noqa: BLE001 -- the client is told what is wrong with its request
                keep_alive = await self._complain(incoming.received, error)
            incoming.received.finished = True
            self._simulator.changed()
            if not keep_alive:
                self._transport.close()
                return
            self._incoming = self._next_incoming()
            if incoming.following:
                self._incoming.feed(incoming.following)

    async def _exchange(self, incoming: Incoming) -> bool:
        """Answer one request; false when the connection ends with it."""
        head, received = await incoming.head, incoming.received
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        target, _, query = head.target.decode("latin-1").partition("?")
        method = head.method.decode()
        if target.startswith(CONTROL_PREFIX):
            await incoming.complete
            request = Request(method, target, query, headers, bytes(received.body), 0)
            await self._deliver(await self._simulator.control(request), Delivery(), method, received)
            return True
        selection = parse_selection(headers.get(SELECTION_HEADER))
        if not selection.delivery.early:
            if incoming.expects_continue:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await incoming.complete
        received.provider, path = _named_provider(target, headers.get("host", ""), self._provider)
        request = Request(method, path, query, headers, bytes(received.body), received.number)
        answer = self._simulator.answer(received.provider, request, selection)
        await self._deliver(answer, selection.delivery, method, received)
        await incoming.complete
        return headers.get("connection", "").lower() != "close"

    async def _complain(self, received: Received, error: Exception) -> bool:
        """Say what is wrong with a request that the simulator itself cannot understand."""
        problem = f"simulator: {type(error).__name__}: {error}"
        await self._deliver(json_answer(400, {"error": problem}), Delivery(close=True), "POST", received)
        return False

    async def _deliver(self, answer: Answer, delivery: Delivery, method: str, received: Received) -> None:
        received.piece_ends = tuple(accumulate(map(len, answer.pieces)))
        for step in steps(answer, delivery, method):
            match step:
                case Send(wire, body_bytes):
                    if self._drained is not None:
                        await self._drained
                    self._transport.write(wire)
                    received.sent_body_bytes = max(received.sent_body_bytes, body_bytes)
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case Hold():
                    received.held = True
                    await self._simulator.hold()
                    received.held = False
                case End(reset):
                    received.finished = True
                    await self._end(reset=reset)
        received.answered = delivery.cut is None and delivery.garbage is None

    async def _end(self, *, reset: bool) -> None:
        if not reset:
            self._transport.close()
            return
        self._transport.set_write_buffer_limits(0)
        if self._drained is not None:
            await self._drained
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _named_provider(path: str, host: str, by_port: str | None) -> tuple[str, str]:
    """Return the provider that a request is for, and the path without the segment that names it."""
    if by_port is not None:
        return by_port, path
    first, slash, rest = path[1:].partition("/")
    if first in VENDORS:
        return first, slash + rest
    return _HOSTS.get(host.partition(":")[0].lower(), "openai"), path
