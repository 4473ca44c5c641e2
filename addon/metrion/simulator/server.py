"""The provider simulator: an HTTP/1.1 server that answers as the five providers do, and records what it received.

``python -m metrion.simulator.server --port 0`` prints ``{"port": …, "ports": {…}}`` on standard output once it listens.
Which provider is meant: the listening port with ``--port-per-provider``, else the first path segment (``/openai/…``),
else the ``Host``, else OpenAI. The header ``x-simulate`` (:mod:`metrion.simulator.delivery`) chooses another answer
than the provider's, or another way to send it. It never connects anywhere, and keeps what it records in memory only.

The control endpoint lies under ``/__simulator__/``, all JSON:

* ``PUT answers/ID`` with ``{"status", "headers": [[name, value]…], "pieces": [base64…], "chunked"}`` registers an
  answer.
* ``GET requests?count=N&finished=1&timeout=S`` waits for N requests (finished ones), returns those it waited for and
  forgets the finished ones. The list may be shorter when the time is over.
* ``POST release?count=N&timeout=S`` waits until N answers are held, lets all held ones go on, returns their number.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any, cast, override
from urllib.parse import parse_qsl

import h11

from metrion.simulator.answers import PROVIDERS, Request, error_answer, provider_answer, with_error_event
from metrion.simulator.delivery import (
    SELECTION_HEADER,
    Answer,
    Delivery,
    End,
    Hold,
    Selection,
    Send,
    Wait,
    parse_selection,
    steps,
)

CONTROL_PREFIX = "/__simulator__/"
KEPT_BODY_BYTES = 1 << 20
"""Of a longer request body only the size and the hash are kept."""
KEPT_REQUESTS = 10_000
MAX_HEAD_BYTES = 1 << 20

_HOSTS = {
    "api.anthropic.com": "anthropic",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.x.ai": "xai",
    "generativelanguage.googleapis.com": "google",
}


@dataclass(slots=True)
class Received:
    """One request as it arrived, and what became of its answer."""

    number: int
    connection: int
    port: int
    started: float = 0.0
    """When the head was there, on the monotonic clock."""
    head: bytes = b""
    """The request line and the header block as they were on the wire."""
    provider: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    body_limit: int = KEPT_BODY_BYTES
    body_bytes: int = 0
    body_hash: Any = field(default_factory=hashlib.sha256)
    body_complete: bool = False
    malformed: str | None = None
    piece_ends: tuple[int, ...] = ()
    """Where the answer's pieces end, in bytes of the body."""
    sent_body_bytes: int = 0
    answered: bool = False
    held: bool = False
    client_closed_after: float | None = None
    finished: bool = False

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body_bytes += len(data)
        self.body_hash.update(data)
        if self.body_bytes <= self.body_limit:
            self.body += data
        else:
            self.body.clear()

    def as_json(self) -> dict[str, Any]:
        """For the control endpoint. Bytes of heads are Latin-1 text, bodies base64."""
        kept = self.body_bytes <= self.body_limit
        return {
            "number": self.number,
            "connection": self.connection,
            "port": self.port,
            "provider": self.provider,
            "request_line": self.head.partition(b"\r\n")[0].decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": base64.b64encode(self.body).decode() if kept else None,
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_hash.hexdigest(),
            "body_complete": self.body_complete,
            "malformed": self.malformed,
            "sent_body_bytes": self.sent_body_bytes,
            "sent_events": bisect_right(self.piece_ends, self.sent_body_bytes),
            "answered": self.answered,
            "held": self.held,
            "client_closed_after": self.client_closed_after,
            "finished": self.finished,
        }


class Simulator:
    """What all connections share: registered answers, records, and who waits for what."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys
        self.answers: dict[str, Answer] = {}
        self.received: list[Received] = []
        self.numbers = count(1)
        self.connections = count(1)
        self.held: set[asyncio.Future[None]] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def record(self, received: Received) -> None:
        """Keep a record; the oldest goes when there are too many."""
        self.received.append(received)
        if len(self.received) > KEPT_REQUESTS:
            del self.received[: KEPT_REQUESTS // 10]
        self.changed()

    def changed(self) -> None:
        """Let those who wait for a condition look again."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return when the condition holds or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    waiting = asyncio.get_running_loop().create_future()
                    self._waiting.add(waiting)
                    try:
                        await waiting
                    finally:
                        self._waiting.discard(waiting)

    async def hold(self) -> None:
        """Wait for a release."""
        held = asyncio.get_running_loop().create_future()
        self.held.add(held)
        self.changed()
        try:
            await held
        finally:
            self.held.discard(held)

    def answer(self, provider: str, request: Request, selection: Selection) -> Answer:
        """Choose the answer that a request gets. ``LookupError`` when it is not registered."""
        if selection.answer is not None:
            if selection.answer not in self.answers:
                raise LookupError(f"no answer is registered as {selection.answer!r}")
            answer = self.answers[selection.answer]
        elif selection.error is not None:
            return error_answer(provider, selection.error, request.path)
        else:
            answer = provider_answer(provider, request, self.keys.get(provider))
        if selection.error_event is not None:
            answer = with_error_event(answer, provider, selection.error_event)
        return answer

    async def control(self, request: Request) -> Answer:
        """Answer a request to the control endpoint."""
        asked = dict(parse_qsl(request.query))
        wanted, timeout = int(asked.get("count", "0")), float(asked.get("timeout", "10"))
        match request.method, request.path.removeprefix(CONTROL_PREFIX).split("/"):
            case "PUT", ["answers", name]:
                given = json.loads(request.body)
                self.answers[name] = Answer(
                    given["status"],
                    tuple((header, value) for header, value in given["headers"]),
                    tuple(map(base64.b64decode, given["pieces"])),
                    given["chunked"],
                )
                return json_answer({"id": name})
            case "GET", ["requests"]:
                only_finished = asked.get("finished", "1") == "1"

                def matching() -> list[Received]:
                    return [received for received in self.received if received.finished or not only_finished]

                await self.wait_until(lambda: len(matching()) >= wanted, timeout)
                found = matching()
                self.received = [received for received in self.received if not received.finished]
                return json_answer([received.as_json() for received in found])
            case "POST", ["release"]:
                await self.wait_until(lambda: len(self.held) >= wanted, timeout)
                released = list(self.held)
                self.held.clear()
                for held in released:
                    held.set_result(None)
                return json_answer({"released": len(released)})
            case _:
                return json_answer({"error": f"no such control: {request.method} {request.path}"}, 404)


def json_answer(body: object, status: int = 200) -> Answer:
    """Return an answer of the simulator's own."""
    return Answer(status, (("content-type", "application/json"),), (json.dumps(body).encode(),))


def _named_provider(path: str, host: str, by_port: str | None) -> tuple[str, str]:
    """Tell the provider that a request is for, and the path without the segment that names it."""
    if by_port is not None:
        return by_port, path
    first, slash, rest = path[1:].partition("/")
    if first in PROVIDERS:
        return first, slash + rest
    return _HOSTS.get(host.partition(":")[0].lower(), "openai"), path


class Incoming:
    """One request on its way in: bytes in, a head and then a complete body to wait for.

    Waiting for either raises ``h11.RemoteProtocolError`` when what arrives is not HTTP.
    """

    def __init__(self, simulator: Simulator, connection: int, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[h11.Request] = loop.create_future()
        self.complete: asyncio.Future[None] = loop.create_future()
        self.received = Received(0, connection, port)
        self._simulator = simulator
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
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


class Connection(asyncio.Protocol):
    """One client connection: requests one after the other, each parsed by an h11 parser of its own.

    h11 only reads here. What is sent follows the steps of the delivery, which may break HTTP on purpose.
    """

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
            except Exception as error:  # noqa: BLE001 - what arrived or what was asked for; whoever waits must see it
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
        await self._deliver(json_answer({"error": problem}, 400), Delivery(close=True), "POST", received)
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


async def serve(port: int, keys: Mapping[str, str], *, port_per_provider: bool, until_stdin_closes: bool) -> None:
    """Listen on loopback, say where, and answer until cancelled."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    simulator = Simulator(keys)
    listeners = {"": await _listen(simulator, None, port)}
    if port_per_provider:
        listeners |= {provider: await _listen(simulator, provider, 0) for provider in PROVIDERS}
    ports = {name: listener.sockets[0].getsockname()[1] for name, listener in listeners.items()}
    sys.stdout.write(json.dumps({"port": ports.pop(""), "ports": ports}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else ended.set())
    await ended.wait()


async def _listen(simulator: Simulator, provider: str | None, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(simulator, provider), "127.0.0.1", port, backlog=1024)


def _key(value: str) -> tuple[str, str]:
    provider, equals, key = value.partition("=")
    if provider not in PROVIDERS or not equals or not key:
        raise argparse.ArgumentTypeError(f"{value!r} is not PROVIDER=KEY with one of {', '.join(PROVIDERS)}")
    return provider, key


def main() -> None:
    """Run the simulator until it is told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m metrion.simulator.server", description="A simulator of the providers."
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one, printed as JSON")
    parser.add_argument("--port-per-provider", action="store_true", help="one more port for each provider")
    parser.add_argument("--key", type=_key, action="append", default=[], help="PROVIDER=KEY: accept only this key")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            serve(
                given.port,
                dict(given.key),
                port_per_provider=given.port_per_provider,
                until_stdin_closes=given.until_stdin_closes,
            )
        )


if __name__ == "__main__":
    main()
