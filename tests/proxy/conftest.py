"""What only the tests of the running proxy stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.sdks import Node, running_node


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The SDKs for Node."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
