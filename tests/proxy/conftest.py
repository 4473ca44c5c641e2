"""What only the tests of the running proxy stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.sdks import Node, running_node
from tests.processes import PROVIDERS, Proxy, running_serve
from tests.websocket import EchoServer, echo_server


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
def realtime(echo: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose providers say what is said to them."""
    config = {"providers": {name: {"upstream": f"http://127.0.0.1:{echo.port}"} for name in PROVIDERS}}
    with running_serve(tmp_path_factory.mktemp("realtime") / "home", config) as proxy:
        yield proxy
