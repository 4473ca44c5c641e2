"""A link with a delay between a client and a server, as a TCP relay in a process of its own.

What is sent arrives half a round trip later, both ways; the first bytes of a connection wait for a whole one more,
which is what opening a connection takes. ``running_link`` starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast, override

from scripts.benchmark.system import Program, running_program


@dataclass(frozen=True, slots=True)
class Link:
    """A running link."""

    port: int
    _program: Program

    def cut(self) -> None:
        """Close all connections that go through it, and wait until they are."""
        self._program.write_line("cut")
        self._program.read_line()


@contextlib.contextmanager
def running_link(port: int, round_trip: float) -> Iterator[Link]:
    """Run a link to a port of this machine for the length of the block; ``round_trip`` in seconds."""
    with running_program("scripts.benchmark.link", str(port), str(round_trip)) as program:
        yield Link(int(program.read_line()), program)


# --- the program ------------------------------------------------------------------------------------------------------


class End(asyncio.Protocol):
    """One of the two connections that make a link; gives what it receives to the other after the delay."""

    def __init__(self, relay: Relay, not_before: float = 0.0) -> None:
        self._relay = relay
        self._not_before = not_before
        self._waiting: deque[bytes | None] = deque()
        self.other: End | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._relay.ends.add(self)

    @override
    def data_received(self, data: bytes) -> None:
        self._later(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.ends.discard(self)
        self._later(None)

    def _later(self, data: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        self._waiting.append(data)
        loop.call_at(max(loop.time(), self._not_before) + self._relay.delay, self._pass_on)

    def _pass_on(self) -> None:
        data = self._waiting.popleft()
        if self.other is None:  # the server takes no connections
            self.transport.abort()
        elif data is None:
            self.other.transport.close()
        else:
            self.other.transport.write(data)


class Relay:
    """What all connections share."""

    def __init__(self, port: int, round_trip: float) -> None:
        self._port = port
        self._round_trip = round_trip
        self.delay = round_trip / 2
        self.ends: set[End] = set()
        self._opening: set[asyncio.Task[None]] = set()

    def accept(self) -> End:
        """Return a client's end of a new connection."""
        loop = asyncio.get_running_loop()
        end = End(self, not_before=loop.time() + self._round_trip)
        task = loop.create_task(self._open(end))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return end

    async def _open(self, end: End) -> None:
        _, end.other = await asyncio.get_running_loop().create_connection(lambda: End(self), "127.0.0.1", self._port)
        end.other.other = end

    def cut(self) -> None:
        """Close all connections."""
        for end in tuple(self.ends):
            end.transport.abort()


async def _relay(port: str, round_trip: str) -> None:
    loop = asyncio.get_running_loop()
    relay = Relay(int(port), float(round_trip))
    server = await loop.create_server(relay.accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        relay.cut()
        while relay.ends:  # noqa: ASYNC110 -- aborted connections are lost within a turn or two
            await asyncio.sleep(0)
        print("cut", flush=True)


if __name__ == "__main__":
    asyncio.run(_relay(*sys.argv[1:]))
