"""The loops that the lane runs on, and a server's end of a connection that no loop looks at."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator

import pytest

from metrion.lane.loop import new_event_loop
from tests.processes import LANE, PROVIDERS, Proxy, running_serve
from tests.upstream import Upstream, running_upstream

type Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a coroutine on a loop of this kind."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    elif importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        yield runner.run


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Connections to it are made by the system; what a test does with them is seen at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a path per file is not needed


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until this holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens outside the loop
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="session")
def lane(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``metrion serve`` whose providers say what a test lets them say."""
    config = {
        "providers": {name: {"upstream": upstream.url} for name in PROVIDERS},
        "plans": {"pro": {"requests_per_minute": 0, "timeout": 60}},
    }
    with running_serve(tmp_path_factory.mktemp("wired") / "home", config, environment=LANE) as proxy:
        workers = proxy.workers()
        yield proxy
        assert proxy.workers() == workers, "a worker died"
        assert "Traceback" not in proxy.log.read_text()
