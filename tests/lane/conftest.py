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
