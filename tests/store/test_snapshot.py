"""``metrion.connect()``: what a notebook has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

import metrion
from metrion import store
from metrion.errors import SettingsError, StoreError
from metrion.store import locks
from tests.processes import eventually
from tests.store.events import Home, event, native


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("METRION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("METRION_CONFIG", raising=False)
    return Home(tmp_path / "home")


COUNT = "SELECT count(*) FROM events"


def count(connection: duckdb.DuckDBPyConnection) -> int:
    ((number,),) = connection.execute(COUNT).fetchall()
    return int(number)


def test_it_sees_store_and_journal_and_a_new_one_sees_more(home: Home) -> None:
    assert count(metrion.connect()) == 0
    home.record(event())
    home.ingest()
    home.record(event(), event())
    first = metrion.connect()
    assert count(first) == 3
    home.record(event())
    home.ingest()
    assert count(first) == 3
    assert count(metrion.connect()) == 4
    assert first.execute("SELECT count(*) FROM billing WHERE billed").fetchall() == [(3,)]


def test_it_keeps_nobody_out_and_leaves_nothing_behind(home: Home) -> None:
    home.record(event())
    before = {path.name for path in home.path.iterdir()}
    with metrion.connect() as connection:
        home.ingest()
        assert len(native(home)) == 1
        assert count(connection) == 1
        with duckdb.connect(home.store_path) as writer:  # DuckDB's own lock is free too
            writer.execute("FROM ingested")
    assert {path.name for path in home.path.iterdir()} - before <= {"usage.duckdb", *_BESIDE}


_BESIDE = {".usage.duckdb.lock", ".usage.duckdb.turnstile", ".usage.duckdb.recent"}


@pytest.mark.parametrize(
    "statement", ["INSERT INTO ingested SELECT * FROM events", "DROP TABLE ingested", "CREATE TABLE t (x INT)"]
)
def test_it_is_read_only(home: Home, statement: str) -> None:
    home.initialise()
    with metrion.connect() as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute(statement)


def test_its_rows_may_be_written_elsewhere_and_joined(home: Home, tmp_path: Path) -> None:
    home.record(event(user_label="alice"))
    (tmp_path / "teams.csv").write_text("user,team\nalice,red\n")
    with metrion.connect() as connection:
        query = f"SELECT team FROM events JOIN '{tmp_path}/teams.csv' AS t ON t.user = user_label"  # noqa: S608 -- the test's own
        assert connection.execute(query).fetchall() == [("red",)]
        connection.execute(f"COPY (FROM events) TO '{tmp_path}/events.csv'")
    assert (tmp_path / "events.csv").exists()


def test_another_home_and_another_configuration(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.record(event())
    assert count(metrion.connect(other.path)) == 1
    assert count(metrion.connect(str(other.path))) == 1
    (tmp_path / "m.yaml").write_text(f"store: {tmp_path}/elsewhere.duckdb\n")
    assert count(metrion.connect(home.path, config=tmp_path / "m.yaml")) == 0
    assert (tmp_path / "elsewhere.duckdb").exists()
    with pytest.raises(SettingsError):
        metrion.connect(config=tmp_path / "nowhere.yaml")


def test_it_waits_for_an_ingester_that_has_the_file(home: Home) -> None:
    home.initialise()
    home.record(event())
    has_it, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with locks.writing(home.store_path, 5):
            has_it.set()
            may_go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    has_it.wait(20)
    threading.Timer(0.3, may_go.set).start()
    assert count(metrion.connect()) == 1
    holder.join()


def test_nothing_is_missing_or_doubled_while_an_ingester_is_at_work(home: Home) -> None:
    home.initialise()
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        store.wait_until_ready(process, 30)
        for number in range(1, 8):
            home.record(event())
            with metrion.connect() as connection:
                assert count(connection) == number
        eventually(lambda: not home.segments, timeout=60)
        assert count(metrion.connect()) == 7
    assert process.wait(30) == 0


def test_a_store_whose_last_writer_was_killed_is_seen_whole(home: Home) -> None:
    home.initialise()
    code = (
        "import sys, os, duckdb; c = duckdb.connect(sys.argv[1], config={'checkpoint_threshold': '1TB'});"
        'c.execute("INSERT INTO ingested (event_id) VALUES (uuid())"); os.kill(os.getpid(), 9)'
    )
    subprocess.run([sys.executable, "-c", code, home.store_path], check=False)
    assert (home.path / "usage.duckdb.wal").exists()
    assert count(metrion.connect()) == 1


def test_without_room_for_a_copy_it_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.initialise()
    usage = shutil.disk_usage(home.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreError, match="too little for a copy"):
        metrion.connect()
    assert not list(home.path.glob(".snapshot-*"))


def test_importing_metrion_loads_no_duckdb() -> None:
    code = "import metrion, sys; assert 'duckdb' not in sys.modules; metrion.connect"
    path = str(Path(metrion.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
