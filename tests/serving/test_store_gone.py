"""A store that disappears under a running proxy: commands, the proxy and its next start go on."""

from __future__ import annotations

import http.client
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.processes import METRION, Proxy, eventually, running_serve, upstreams
from tests.simulated import Simulator


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


@pytest.mark.parametrize("go", GONE.values(), ids=GONE)
def test_all_goes_on_under_the_proxy_and_at_its_next_start(
    simulator: Simulator, tmp_path: Path, go: Callable[[Path], object]
) -> None:
    config = upstreams(simulator)
    store = tmp_path / "home" / "usage.duckdb"
    with running_serve(tmp_path / "home", config) as proxy:
        call(proxy)
        eventually(lambda: proxy.events("SELECT 1 FROM ingested"), timeout=60)
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
    with running_serve(tmp_path / "home", config) as again:
        call(again)
        assert count(again) == 1


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
