"""Scenarios that wait more than they work: all begin together, and each is told by a test of its own.

@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    with at_once({name: partial(scenario, case) for name, case in CASES.items()}, tmp_path_factory) as begun:
        yield begun

@pytest.mark.parametrize("name", CASES)
def test_it(name: str, begun: Begun) -> None:
    begun[name].result()
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from metrion.store import database

type Begun = Mapping[str, Future[None]]


@contextlib.contextmanager
def at_once(scenarios: Mapping[str, Callable[[Path], None]], folders: pytest.TempPathFactory) -> Iterator[Begun]:
    """Begin all of them, each with a folder of its own; at the end wait for those that nobody has asked for."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(scenarios)) as pool:
        patch.setattr(database, "_PATIENCE_SECONDS", 120.0)  # queries of one process take turns
        yield {name: pool.submit(run, folders.mktemp("at_once")) for name, run in scenarios.items()}
