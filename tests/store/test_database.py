from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from metrion import store
from metrion.errors import StoreError
from metrion.model import EVENT_COLUMNS
from metrion.pricing import PriceBook
from metrion.repricing import Selection, reprice
from metrion.settings import load_settings
from metrion.store import database, rolling, schema
from metrion.store.follow import Follower
from tests.store.events import Home, event


def test_everything_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "new" / "home")
    home.initialise()
    made = home.store_path.stat()
    home.initialise()
    assert home.store_path.stat().st_mtime_ns == made.st_mtime_ns
    assert {path.name for path in home.path.iterdir()} >= {"journal", "usage.duckdb"}
    assert [path.name for path in home.journal_dir.iterdir()] == ["0-sentinel.ndjson"]
    for directory in (home.path, home.journal_dir):
        assert directory.stat().st_mode & 0o777 == 0o700
    for file in (path for path in home.path.rglob("*") if path.is_file()):
        assert file.stat().st_mode & 0o777 == 0o600


def test_many_make_one_store_at_the_same_time(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from metrion import store; store.initialise(*map(Path, sys.argv[1:]))"
    addon = str(Path(database.__file__).parents[2])
    home = Home(tmp_path)

    def initialise(_number: int) -> int:
        command = [sys.executable, "-c", code, str(home.journal_dir), str(home.store_path)]
        return subprocess.run(command, check=False, env={"PYTHONPATH": addon}).returncode

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(initialise, range(4))) == [0] * 4
    assert home.values("SELECT count(*) FROM events") == [(0,)]
    assert not list(tmp_path.glob(".new-store-*"))


def test_a_home_that_was_moved_names_its_journal_anew(tmp_path: Path) -> None:
    old, new = Home(tmp_path / "old"), Home(tmp_path / "new")
    old.initialise()
    old.record(event(), event())
    old.ingest()
    shutil.move(old.path, new.path)
    new.initialise()
    new.record(event())
    with duckdb.connect(new.store_path, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(3,)]


def test_columns_that_a_newer_metrion_has_are_added(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event())
    home.ingest()
    with duckdb.connect(home.store_path) as connection:
        connection.execute("DROP VIEW events; ALTER TABLE ingested DROP COLUMN response_bytes")
    home.initialise()
    home.record(event(response_bytes=7))
    home.ingest()
    assert home.values("SELECT response_bytes FROM events ORDER BY ALL") == [(7,), (None,)]


def test_a_store_from_before_there_was_the_view_billing_gets_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    with duckdb.connect(home.store_path) as connection:
        connection.execute("DROP VIEW billing; COMMENT ON VIEW events IS 'All that is metered, journal included. 0'")
    home.initialise()
    with duckdb.connect(home.store_path, read_only=True) as connection:
        assert connection.execute("FROM billing").fetchall() == []


FORMER = {
    "the first": EVENT_COLUMNS[: EVENT_COLUMNS.index("response_bytes") + 1],
    "the second": EVENT_COLUMNS[: EVENT_COLUMNS.index("unreported_tools") + 1],
}
"""The columns of former versions."""


@contextmanager
def former_version(monkeypatch: pytest.MonkeyPatch, version: str) -> Iterator[None]:
    """Within it, Metrion has the columns that it had then, and keeps no sums."""
    columns = {name: schema.COLUMN_TYPES[name] for name in FORMER[version]}
    with monkeypatch.context() as patch:
        for name, old in {
            "COLUMN_TYPES": columns,
            "COLUMNS": ", ".join(columns),
            "TABLES": "CREATE TABLE ingested ({}); CREATE TABLE watermarks (writer VARCHAR, seq BIGINT);".format(
                ", ".join(f"{name} {kind}" for name, kind in columns.items())
            ),
        }.items():
            patch.setattr(schema, name, old)
        patch.setattr(schema, "views", _former_views)
        patch.setattr(database, "_SUMS", set())
        patch.setattr(database, "_TABLES", {"ingested", "watermarks"})
        for name in ("add", "make"):
            patch.setattr(rolling, name, lambda *_: None)
        yield


def _former_views(journal_dir: Path) -> str:
    return f"""
CREATE OR REPLACE VIEW events AS {schema.events(schema.tail(journal_dir))};
COMMENT ON VIEW events IS 'former';"""


def _spawned(home: Home) -> None:
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    store.wait_until_ready(process, 20)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 0


def _followed(home: Home) -> None:
    with Follower(home.journal_dir, home.store_path) as follower:
        assert [row[-1] for row in follower.history(9)] == [None, None]
        home.record(event(queued_ms=5.0))
        assert [row[-1] for row in follower.news()] == [5.0]


def _repriced(home: Home) -> None:
    settings = load_settings(None, {"METRION_HOME": str(home.path)})
    assert reprice(settings, PriceBook.load([]), Selection(), dry_run=False).waiting == 0


FIRST_COMERS: dict[str, Callable[[Home], object]] = {
    "a query": lambda home: home.values("FROM events"),
    "serve": _spawned,
    "tail": _followed,
    "reprice": _repriced,
}


@pytest.mark.parametrize("version", FORMER)
@pytest.mark.parametrize("comes_first", FIRST_COMERS.values(), ids=FIRST_COMERS)
def test_a_store_and_a_journal_of_a_former_version_go_on(
    comes_first: Callable[[Home], object], version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with former_version(monkeypatch, version):
        home.initialise()
        home.record(event(server_tools={"web_search": 1}))
        home.ingest()
        home.record(event(server_tools={"web_search": 2}))
        with duckdb.connect(home.store_path, read_only=True) as connection:
            assert len(connection.execute("FROM events").fetchone() or ()) == len(FORMER[version])
    comes_first(home)
    later = {"unreported_tools": {"google_search": 4}, "client": "curl/8.5.0", "policy": {"cache": "hit"}}
    home.record(event(server_tools={"web_search": 3}, **later))
    tools = f"SELECT server_tools, {', '.join(later)} FROM events WHERE server_tools IS NOT NULL ORDER BY event_id"  # noqa: S608 - names of columns
    expected = [
        ({"web_search": 1}, None, None, None),
        ({"web_search": 2}, None, None, None),
        ({"web_search": 3}, *later.values()),
    ]
    for ingested in (False, True):
        if ingested:
            home.ingest()
            assert home.segments == []
        assert home.values(tools) == expected
        with duckdb.connect(home.store_path, read_only=True) as connection:
            assert connection.execute(tools).fetchall() == expected
            described = connection.execute("DESCRIBE events").fetchall()
        assert tuple(name for name, *_ in described) == EVENT_COLUMNS


@pytest.mark.parametrize("version", FORMER)
def test_an_ingester_of_a_former_version_that_is_still_at_work_is_not_disturbed(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with former_version(monkeypatch, version):
        home.initialise()
    home.initialise()
    with former_version(monkeypatch, version):
        home.record(event(server_tools={"web_search": 1}))
        home.ingest()
    assert home.values("SELECT server_tools, client FROM ingested") == [({"web_search": 1}, None)]


@pytest.mark.parametrize("content", [b"this is no database" * 1000, b"short"])
def test_a_file_that_is_no_store_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path)
    home.store_path.write_bytes(content)
    with pytest.raises(StoreError, match=r"usage\.duckdb"):
        home.initialise()


def test_somebody_else_who_has_the_store_open_for_writing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 0.05)
    home = Home(tmp_path)
    home.initialise()
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, home.store_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        shell.stdout.readline()
        with pytest.raises(StoreError, match=f"open for writing in another process.*{shell.pid}"):
            home.ask("SELECT 1")
        shell.stdin.close()
    assert home.values("SELECT 1") == [(1,)]


def test_a_path_that_duckdb_takes_for_a_web_address_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"usage\.duckdb cannot be made"):
        Home(tmp_path / "what?").initialise()
