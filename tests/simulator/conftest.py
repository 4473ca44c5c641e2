"""A simulator for each module of tests, and a client and a socket that are connected to it."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator

import pytest

from tests.simulated import Simulator, running_simulator


@pytest.fixture(scope="module")
def process() -> Iterator[Simulator]:
    with running_simulator(port_per_provider=True) as running:
        yield running


@pytest.fixture
def simulator(process: Simulator) -> Simulator:
    process.received()
    return process


@pytest.fixture
def client(simulator: Simulator) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=20)
    with contextlib.closing(connection):
        yield connection


@pytest.fixture
def wire(simulator: Simulator) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
        yield connection
