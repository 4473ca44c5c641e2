"""Descriptors: a worker has as many as it may, and goes on when they run out."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metrion.lane.accepting import Acceptor
from tests.lane.conftest import Run, until
from tests.processes import LANE, MITMPROXY, PROVIDERS, Proxy, Road, cpu_seconds, eventually, running_serve
from tests.rawclient import MODELS, connected, request
from tests.upstream import Upstream


def test_the_limit_is_raised_within_what_is_allowed() -> None:
    program = (
        "import resource as r\n"
        "from metrion.lane.accepting import raise_descriptor_limit\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (60, 200))\n"
        "raise_descriptor_limit()\n"
        "raise_descriptor_limit()\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "(200, 200)\n"


def test_connections_are_accepted_until_it_is_closed(run: Run, listener: socket.socket) -> None:
    made: list[asyncio.Protocol] = []

    def make() -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        return made[-1]

    async def accept() -> None:
        address = listener.getsockname()
        acceptor = Acceptor(listener, make)
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(socket.create_connection(address))
            await until(lambda: len(made) == 40)
        acceptor.close()
        acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    run(accept())


@pytest.mark.parametrize("room", [0, 3])
def test_without_descriptors_it_waits(
    room: int, run: Run, listener: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where idle connections are closed, it goes on at once."""
    monkeypatch.setattr(Acceptor, "_warned_at", -1e9)
    asked: list[int] = []
    made: list[asyncio.Protocol] = []

    def make_room(wanted: int) -> int:
        asked.append(wanted)
        if room:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return room

    def make() -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        return made[-1]

    async def accept() -> None:
        acceptor = Acceptor(listener, make, make_room=make_room)
        connections = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        await until(lambda: len(asked) == 1)
        if not room:
            await until(lambda: len(asked) == 3)
            assert made == []
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await until(lambda: len(made) == 3)
        assert len(asked) == (1 if room else 3)
        for connection in connections:
            connection.close()
        acceptor.close()

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        run(accept())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    (line,) = caplog.messages
    assert ("idle connections are closed" if room else "new connections have to wait") in line


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the limits of another process")
@pytest.mark.parametrize("road", [LANE, MITMPROXY], ids=["lane", "mitmproxy"])
def test_idle_connections_under_a_low_limit(road: Road, upstream: Upstream, tmp_path: Path) -> None:
    """Nobody floods the log, and on the lane new callers are served: those idle for longest make room."""
    config = {"providers": {name: {"upstream": upstream.url} for name in PROVIDERS}}
    with running_serve(tmp_path / "home", config, environment=road) as proxy:
        workers = proxy.workers()
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (96, 96))
        _crowd(proxy, workers, is_lane=road is LANE)


def _crowd(proxy: Proxy, workers: set[int], *, is_lane: bool) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connected(proxy.port))
        idle = [stack.enter_context(connected(proxy.port)) for _ in range(150)]
        if is_lane:
            for _ in range(5):
                with connected(proxy.port) as client:
                    client.send(request(proxy, method="GET", target=MODELS))
                    assert client.read("GET").status == 200
            assert first.receive() == b"", "who has been idle for longest makes room"
            assert "closed to make room" in proxy.log.read_text()
        else:
            eventually(lambda: "have to wait" in proxy.log.read_text())
        began, used = time.monotonic(), cpu_seconds(workers)
        time.sleep(2)
        spent = cpu_seconds(workers) - used
        assert spent < 0.5 * (time.monotonic() - began)
        for client in idle:
            client.socket.close()
    with connected(proxy.port) as client:
        client.send(request(proxy, method="GET", target=MODELS))
        assert client.read("GET").status == 200
    log = proxy.log.read_text()
    assert log.count("files may be open") == 1
    assert len(log) < 5000
