"""A store that disappears under a running proxy: commands, the proxy and its next start go on."""

from __future__ import annotations

import http.client
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.at_once import Begun, at_once
from tests.processes import METRION, Proxy, eventually, running_serve, upstreams
from tests.simulated import Simulator
from tests.store.events import Home


def call(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("GET", "/openai/v1/models", headers={"authorization": f"Bearer {proxy.token}"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.close()


def count(proxy: Proxy) -> int:
    return int(proxy.metrion("sql", "--format", "csv", "SELECT count(*) FROM events").split()[1])


def doctor_on_store(proxy: Proxy) -> str:
    done = subprocess.run([*METRION, "doctor"], env=proxy.environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if "store" in line)


def moved(store: Path) -> None:
    store.rename(store.with_name("away.duckdb"))


def other(store: Path) -> None:
    store.unlink()
    duckdb.connect(store).close()


GONE: dict[str, Callable[[Path], object]] = {
    "moved": moved,
    "deleted": Path.unlink,
    "emptied": lambda store: os.truncate(store, 0),
    "another": other,
}


def gone_under_the_proxy(config: Mapping[str, Any], go: Callable[[Path], object], folder: Path) -> None:
    store = folder / "home" / "usage.duckdb"
    with running_serve(folder / "home", config) as proxy:
        call(proxy)
        eventually(lambda: not Home(proxy.home).segments, timeout=120)
        assert proxy.events("SELECT 1 FROM ingested")
        go(store)
        call(proxy)
        assert count(proxy) == 1
        assert "answers" in doctor_on_store(proxy)
        call(proxy)
        assert count(proxy) == 2
        assert proxy.stop() == 0
        assert "Traceback" not in proxy.log.read_text()
    assert [row["n"] for row in proxy.events("SELECT count(*) AS n FROM ingested")] == [2]
    go(store) if go is not moved else store.unlink()
    with running_serve(folder / "home", config) as again:
        call(again)
        assert count(again) == 1


@pytest.fixture(scope="module")
def begun(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """All of them: each waits ten seconds for the ingester."""
    config = upstreams(simulator)
    scenarios = {name: partial(gone_under_the_proxy, config, go) for name, go in GONE.items()}
    with at_once(scenarios, tmp_path_factory) as begun:
        yield begun


@pytest.mark.parametrize("name", GONE)
def test_all_goes_on_under_the_proxy_and_at_its_next_start(name: str, begun: Begun) -> None:
    begun[name].result()


def test_a_damaged_one_is_named_and_moved_away_while_the_proxy_runs(simulator: Simulator, tmp_path: Path) -> None:
    store = tmp_path / "home" / "usage.duckdb"
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        store.write_bytes(b"no database" * 1000)
        call(proxy)
        done = subprocess.run(
            [*METRION, "sql", "FROM events"], env=proxy.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert str(store) in done.stderr
        assert "move it away" in done.stderr
        assert "move it away" in doctor_on_store(proxy).lower() or str(store) in doctor_on_store(proxy)
        assert store.read_bytes().startswith(b"no database")
        moved(store)
        assert count(proxy) == 1
        call(proxy)
        assert count(proxy) == 2
        assert proxy.stop() == 0
        assert "Traceback" not in proxy.log.read_text()
