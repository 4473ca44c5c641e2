"""What only the tests of the running proxy stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.sdks import Node, running_node
from tests.processes import LANE, PROVIDERS, ROADS, Proxy, Road, running_serve
from tests.upstream import Upstream, running_upstream
from tests.websocket import EchoServer, echo_server


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


@pytest.fixture(scope="module")
def wired(road: Road, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose providers say what a test lets them say, on each road in turn."""
    providers = {name: {"upstream": upstream.url} for name in PROVIDERS}
    config = {"providers": providers, "plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    with running_serve(tmp_path_factory.mktemp("wired") / "home", config, environment=road) as proxy:
        workers = proxy.workers()
        upstream.malformed.clear()
        yield proxy
        assert proxy.workers() == workers, "a worker died"
        assert upstream.malformed == []
        assert "Traceback" not in proxy.log.read_text()


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
