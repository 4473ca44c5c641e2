"""A store that is moved away, emptied or replaced: before a start, and under an ingester at work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from metrion import store
from metrion.errors import StoreError
from metrion.store import database, schema
from metrion.store.ingester import Ingester
from tests.processes import eventually
from tests.store.events import Home, event, everything, native


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with an event in the store."""
    home = Home(tmp_path / "home")
    home.initialise()
    home.record(event(request_id="in the file"))
    home.ingest()
    return home


def moved(home: Home) -> None:
    home.store_path.rename(home.path / "away.duckdb")


def emptied(home: Home) -> None:
    home.store_path.write_bytes(b"")


def without_tables(home: Home) -> None:
    home.store_path.unlink()
    with duckdb.connect(home.store_path) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS x")


def with_the_table_alone(home: Home) -> None:
    with duckdb.connect(home.store_path) as connection:
        connection.execute("DROP TABLE ingested")


GONE: dict[str, Callable[[Home], None]] = {
    "moved": moved,
    "deleted": lambda home: home.store_path.unlink(),
    "emptied": emptied,
    "without tables": without_tables,
    "without the main table": with_the_table_alone,
}


def in_the_way_directory(home: Home) -> None:
    home.store_path.unlink()
    home.store_path.mkdir()
    (home.store_path / "mine").write_text("mine")


def in_the_way_text(home: Home) -> None:
    home.store_path.write_bytes(b"no database\n" * 1000)


def in_the_way_piece(home: Home) -> None:
    home.store_path.write_bytes(home.store_path.read_bytes()[:5000])


def in_the_way_other_tables(home: Home) -> None:
    home.store_path.unlink()
    with duckdb.connect(home.store_path) as connection:
        connection.execute("CREATE VIEW ingested AS SELECT 1 AS x; CREATE TABLE events (x INT)")


def in_the_way_link(home: Home) -> None:
    home.store_path.unlink()
    home.store_path.symlink_to(home.path / "unmounted" / "usage.duckdb")


IN_THE_WAY: dict[str, Callable[[Home], None]] = {
    "a directory": in_the_way_directory,
    "no DuckDB file": in_the_way_text,
    "a piece of a file": in_the_way_piece,
    "other tables of the same names": in_the_way_other_tables,
    "a link to nothing": in_the_way_link,
}


@contextmanager
def ingesting(home: Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An ingester at work, as a proxy has it; its messages go to ``log``."""
    with log.open("ab") as messages:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "metrion.store.ingester_process", home.journal_dir, home.store_path],
            env={**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        store.wait_until_ready(process, 30)
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.mark.parametrize("go", GONE.values(), ids=GONE)
def test_before_a_start_it_is_made_anew_with_what_the_journal_has(home: Home, go: Callable[[Home], None]) -> None:
    home.record(event(request_id="in the journal"))
    go(home)
    assert everything(home) == ["in the journal"]
    home.ingest()
    assert native(home) == [("in the journal",)]
    with duckdb.connect(home.store_path, read_only=True) as shell:
        assert shell.execute("SELECT count(*) FROM billing").fetchall() == [(1,)]
        assert shell.execute("SELECT count(*) FROM watermarks").fetchall() == [(1,)]


@pytest.mark.parametrize("go", GONE.values(), ids=GONE)
def test_under_an_ingester_it_is_made_anew_and_nothing_is_lost_or_doubled(
    home: Home, go: Callable[[Home], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with ingesting(home, log):
        home.record(event(request_id="before"))
        eventually(lambda: ("before",) in native(home), timeout=60)
        go(home)
        home.record(event(request_id="after"))
        assert everything(home) == ["after"]
        eventually(lambda: native(home), until=lambda rows: rows == [("after",)], timeout=60)
        home.record(event(request_id="later"))
        assert everything(home) == ["after", "later"]
    assert native(home) == [("after",), ("later",)]
    assert "Traceback" not in log.read_text()
    if (away := home.path / "away.duckdb").exists():
        with duckdb.connect(away, read_only=True) as shell:
            assert shell.execute("SELECT request_id FROM ingested ORDER BY ALL").fetchall() == [
                ("before",),
                ("in the file",),
            ]


@pytest.mark.parametrize("go", [GONE["moved"], GONE["emptied"]], ids=["moved", "emptied"])
def test_a_dozing_ingester_makes_it_anew_by_itself_with_one_line(
    home: Home, go: Callable[[Home], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with ingesting(home, log):
        go(home)
        eventually(lambda: store.is_there(home.store_path))
    assert log.read_text().splitlines() == [
        f"WARNING {home.store_path} was gone or empty, and is made anew, with what is in the journal."
    ]
    with duckdb.connect(home.store_path, read_only=True) as shell:
        assert shell.execute("SELECT count(*) FROM events").fetchall() == [(0,)]


@pytest.mark.parametrize("put", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_in_the_way_is_named_and_kept_and_moving_it_away_works_under_an_ingester(
    home: Home, put: Callable[[Home], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with ingesting(home, log):
        put(home)
        there = _content(home.store_path)
        home.record(event(request_id="one"))
        with pytest.raises(StoreError, match=r"usage\.duckdb.*(Move it away|move it away|remove the link)"):
            home.values("FROM events")
        eventually(lambda: "ERROR" in log.read_text())
        assert _content(home.store_path) == there
        home.store_path.rename(home.path / "bad")
        assert everything(home) == ["one"]
        home.record(event(request_id="two"))
        eventually(lambda: native(home), until=lambda rows: rows == [("one",), ("two",)], timeout=60)
    assert _content(home.path / "bad") == there
    errors = [line for line in log.read_text().splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, errors
    assert "Traceback" not in log.read_text()
    assert "usage.duckdb" in errors[0]


def _content(path: Path) -> object:
    if path.is_symlink():
        return path.readlink()
    return min(path.iterdir()).read_text() if path.is_dir() else path.read_bytes()


def test_watermarks_that_are_gone_are_found_again_so_that_nothing_is_doubled(home: Home) -> None:
    """As if the ingester had been killed before it deleted a segment, and the table was dropped after."""
    home.record(event(request_id="in both"))
    kept = {path: path.read_bytes() for path in home.journal_dir.glob(schema.SEGMENTS)}
    home.ingest()
    for path, content in kept.items():
        path.write_bytes(content)
    with duckdb.connect(home.store_path) as connection:
        connection.execute("DROP TABLE watermarks")
    assert everything(home) == ["in both", "in the file"]
    home.ingest()
    assert everything(home) == ["in both", "in the file"]


def test_a_store_that_is_deleted_while_it_is_written_takes_no_event_with_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.record(event(request_id="one"))
    ingester = Ingester(home.journal_dir, home.store_path)
    batch = ingester.load()
    assert batch is not None
    insert = Ingester._insert

    def deleting(self: Ingester) -> None:
        insert(self)
        home.store_path.unlink()

    monkeypatch.setattr(Ingester, "_insert", deleting)
    with pytest.raises(StoreError, match="was deleted"):
        ingester.commit(batch)
    batch.release()
    monkeypatch.undo()
    assert everything(home) == ["one"]
    home.ingest()
    assert native(home) == [("one",)]


def test_the_log_of_a_store_that_was_moved_away_is_kept_for_it(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    log = home.path / "usage.duckdb.wal"
    log.write_bytes(b"the last rows")
    moved(home)
    home.record(event(request_id="new"))
    assert everything(home) == ["new"]
    (kept,) = home.path.glob("usage.duckdb.wal.*")
    assert kept.read_bytes() == b"the last rows"
    assert kept.name in caplog.text


def test_a_file_that_comes_back_while_the_store_is_made_is_not_replaced(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(home)
    keep_log = database._keep_log_of_former

    def bringing_back(store_path: Path) -> None:
        keep_log(store_path)
        (home.path / "away.duckdb").rename(store_path)

    monkeypatch.setattr(database, "_keep_log_of_former", bringing_back)
    assert everything(home) == ["in the file"]


def test_a_link_to_a_store_elsewhere_stays_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    elsewhere = tmp_path / "disk" / "store.duckdb"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"")
    home.path.mkdir()
    home.store_path.symlink_to(elsewhere)
    home.initialise()
    home.record(event())
    assert len(everything(home)) == 1
    assert home.store_path.is_symlink()
    assert elsewhere.stat().st_size
