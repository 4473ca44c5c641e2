"""What many tests stand on: one simulator and one proxy of each kind per test process."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import settings

from tests.made import Made
from tests.processes import LANE, MITMPROXY, Proxy, Road, running_mitmdump, running_serve, upstreams
from tests.simulated import Simulator, running_simulator

# Generated cases: 100 of each property in the suite, as many as METRION_TEST_EXAMPLES says in a long run.
settings.register_profile("metrion", max_examples=int(os.environ.get("METRION_TEST_EXAMPLES", "100")), deadline=None)
settings.load_profile("metrion")


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with running_simulator(port_per_provider=True) as running:
        yield running


@pytest.fixture(scope="session")
def serve_lane(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``metrion serve`` as it comes, every provider by path."""
    with _serving(simulator, tmp_path_factory.mktemp("lane"), LANE) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def serve_mitmproxy(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The same with mitmproxy's layers for every request."""
    with _serving(simulator, tmp_path_factory.mktemp("mitmproxy"), MITMPROXY) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def serve(serve_lane: Proxy) -> Proxy:
    """``metrion serve`` on the road that it takes by itself. In ``tests/proxy`` this is each road in turn."""
    return serve_lane


@pytest.fixture(scope="session")
def serve2(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``metrion serve`` with two workers."""
    with _serving(simulator, tmp_path_factory.mktemp("workers"), LANE, "--workers", "2") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def mitmdump(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``mitmdump -s``, a reverse mode per provider."""
    with running_mitmdump(tmp_path_factory.mktemp("mitmdump") / "home", simulator) as proxy:
        yield proxy


@pytest.fixture(params=["serve_lane", "serve_mitmproxy", "mitmdump"])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each kind of proxy in turn."""
    running: Proxy = request.getfixturevalue(request.param)
    return running


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background; so would every program of a test begin
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what was collected to itself: looking through millions of objects again and again stops all threads."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Make what is only made when it is needed."""
    for name, value in pyfuncitem.funcargs.items():
        if isinstance(value, Made):
            pyfuncitem.funcargs[name] = value.make()


@pytest.fixture(autouse=True)
def _forget_requests(request: pytest.FixtureRequest) -> None:
    """What an earlier test left with the simulator is none of this test's."""
    if "simulator" in request.fixturenames:
        simulator: Simulator = request.getfixturevalue("simulator")
        simulator.forget()


def _serving(simulator: Simulator, folder: Path, road: Road, *arguments: str) -> AbstractContextManager[Proxy]:
    config = upstreams(simulator) | {"plans": {"pro": {"requests_per_minute": 0, "timeout": 60}}}
    return running_serve(folder / "home", config, arguments=arguments, environment=road)
