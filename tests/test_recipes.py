"""The blocks of docs/notebook.md and docs/backup.md, run as their readers run them, under a running proxy."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT, Block, blocks
from tests.processes import Proxy, eventually, running_serve, upstreams
from tests.simulated import Simulator
from tests.store.events import Home, event

BACKUP = ROOT / "docs" / "backup.md"
NOTEBOOK = ROOT / "docs" / "notebook.md"


@pytest.fixture
def proxy(simulator: Simulator, tmp_path: Path) -> Iterator[Proxy]:
    with running_serve(tmp_path / ".metrion", upstreams(simulator)) as running:
        yield running


def call(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("GET", "/openai/v1/models", headers={"authorization": f"Bearer {proxy.token}"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.close()


def count(proxy: Proxy) -> int:
    return len(proxy.events("SELECT 1 FROM events"))


def run(block: Block, folder: Path) -> str:
    """Run a block with ``folder`` as the reader's home and current directory."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block.text],
        cwd=folder,
        env={"HOME": str(folder), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    assert done.stderr == ""
    return done.stdout


def in_section(title: str) -> list[Block]:
    found = [block for block in blocks(BACKUP) if block.section == title]
    assert found
    return found


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_a_backup_while_the_proxy_runs_is_restored(proxy: Proxy, tmp_path: Path) -> None:
    for _ in range(3):
        call(proxy)
    back_up, look = in_section("Back up while the proxy runs")
    run(back_up, tmp_path)
    backup = tmp_path / "metrion-backup"
    assert {path.name for path in backup.iterdir()} >= {"control.db", "master.key", "journal", "usage.duckdb"}
    assert backup.stat().st_mode & 0o077 == (backup / "control.db").stat().st_mode & 0o077 == 0
    looked = run(look, tmp_path)
    assert " 3" in looked
    assert "openai" in looked
    call(proxy)  # the proxy has gone on
    assert count(proxy) == 4
    assert proxy.stop() == 0
    (restore,) = in_section("Restore")
    assert " 3" in run(restore, tmp_path)
    with running_serve(tmp_path / ".metrion", keys=False) as again:
        again.token = proxy.token
        call(again)
        assert count(again) == 4


def test_a_damaged_store_is_replaced_while_the_proxy_runs(proxy: Proxy, tmp_path: Path) -> None:
    call(proxy)
    eventually(lambda: proxy.events("SELECT 1 FROM ingested"), timeout=60)
    store = tmp_path / ".metrion" / "usage.duckdb"
    (tmp_path / "metrion-backup").mkdir()
    shutil.copy(store, tmp_path / "metrion-backup")
    store.write_bytes(b"damaged" * 1000)
    move_away, put_back = in_section("A damaged store")
    run(move_away, tmp_path)
    assert count(proxy) == 0
    call(proxy)
    assert count(proxy) == 1
    run(put_back, tmp_path)
    assert count(proxy) >= 1
    call(proxy)
    assert proxy.stop() == 0
    assert "Traceback" not in proxy.log.read_text()


def test_a_home_is_moved_to_another_machine(proxy: Proxy, tmp_path: Path) -> None:
    call(proxy)
    assert proxy.stop() == 0
    pack, unpack = in_section("Move to another machine")
    run(pack, tmp_path)
    there = tmp_path / "another"
    there.mkdir()
    (tmp_path / "metrion-home.tar.gz").rename(there / "metrion-home.tar.gz")
    (tmp_path / ".metrion").rename(tmp_path / "gone")
    assert " 1" in run(unpack, there)
    with running_serve(there / ".metrion", keys=False) as again:
        again.token = proxy.token
        call(again)
        assert count(again) == 2


def test_the_notebook_runs_cell_by_cell(tmp_path: Path) -> None:
    home = Home(tmp_path / ".metrion")
    home.initialise()
    home.record(event(user_label="alice", model="gpt-5"))
    cells = [block.text for block in blocks(NOTEBOOK) if block.language == "python"]
    after = "assert rows and db.execute('SELECT count(*) FROM events').fetchall() == [(1,)]"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*cells, after])],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "addon")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "gpt-5" in done.stdout
    assert "alice" in (tmp_path / "november.csv").read_text()
