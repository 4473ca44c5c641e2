"""What only the tests of the running proxy stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.node.sdks import Node, running_node
from tests.processes import LANE, MITMDUMP_MODES, PROVIDERS, ROADS, Proxy, Road, running_by_path, running_serve
from tests.upstream import Upstream, running_upstream
from tests.websocket import EchoServer, echo_server

WAYS = (*ROADS, *MITMDUMP_MODES)


@pytest.fixture(scope="module", params=ROADS)
def road(request: pytest.FixtureRequest) -> Road:
    """Each road of ``metrion serve`` in turn: tests of a proxy with this in its environment run on both."""
    return ROADS[request.param]


@pytest.fixture
def serve(road: Road, request: pytest.FixtureRequest) -> Proxy:
    """``metrion serve``, every provider by path, on each road in turn."""
    running: Proxy = request.getfixturevalue("serve_lane" if road is LANE else "serve_mitmproxy")
    return running


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Each program and mode in turn that serves requests by path."""
    return str(request.param)


@pytest.fixture(scope="session")
def wired_by_way(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Proxy]]:
    """Start a proxy whose providers say what a test lets them say: one for each way, when it is first asked for."""
    providers = {name: {"upstream": upstream.url} for name in PROVIDERS}
    config = {"providers": providers, "plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    with ExitStack() as running:
        yield cache(lambda way: running.enter_context(_running(way, tmp_path_factory.mktemp("wired") / "home", config)))


@pytest.fixture(scope="module")
def wired(way: str, wired_by_way: Callable[[str], Proxy], upstream: Upstream) -> Iterator[Proxy]:
    """A proxy whose providers say what a test lets them say, in each way in turn."""
    proxy = wired_by_way(way)
    workers = proxy.workers()
    upstream.malformed.clear()
    yield proxy
    assert proxy.workers() == workers, "a worker died"
    assert upstream.malformed == []
    assert "Traceback" not in proxy.log.read_text()


def _running(way: str, home: Path, config: dict[str, Any]) -> AbstractContextManager[Proxy]:
    if way in ROADS:
        return running_serve(home, config, environment=ROADS[way])
    return running_by_path(home, config, MITMDUMP_MODES[way])


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The SDKs for Node."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as running:
        yield running


@pytest.fixture(scope="module")
def realtime(road: Road, echo: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose providers say what is said to them."""
    config = {"providers": {name: {"upstream": f"http://127.0.0.1:{echo.port}"} for name in PROVIDERS}}
    with running_serve(tmp_path_factory.mktemp("realtime") / "home", config, environment=road) as proxy:
        yield proxy
