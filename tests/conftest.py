"""What many tests stand on: one simulator and one proxy of each kind per test process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.processes import Proxy, running_mitmdump, running_serve, upstreams
from tests.simulator import Simulator, running_simulator

# Generated cases: 100 of each property in the suite, as many as METRION_TEST_EXAMPLES says in a long run.
settings.register_profile("metrion", max_examples=int(os.environ.get("METRION_TEST_EXAMPLES", "100")), deadline=None)
settings.load_profile("metrion")


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with running_simulator(port_per_provider=True) as running:
        yield running


@pytest.fixture(scope="session")
def serve(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``metrion serve``, every provider by path."""
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    with running_serve(tmp_path_factory.mktemp("serve") / "home", config) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def serve2(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The same with two workers."""
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    home = tmp_path_factory.mktemp("workers") / "home"
    with running_serve(home, config, arguments=("--workers", "2")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def mitmdump(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``mitmdump -s``, a reverse mode per provider."""
    with running_mitmdump(tmp_path_factory.mktemp("mitmdump") / "home", simulator) as proxy:
        yield proxy


@pytest.fixture(params=["serve", "mitmdump"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each kind of proxy in turn."""
    running: Proxy = request.getfixturevalue(request.param)
    return running


@pytest.fixture(autouse=True)
def _forget_requests(request: pytest.FixtureRequest) -> None:
    """What an earlier test left with the simulator is none of this test's."""
    if "simulator" in request.fixturenames:
        simulator: Simulator = request.getfixturevalue("simulator")
        simulator.received()
