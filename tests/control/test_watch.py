from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metrion.admission import AccessSnapshot, Token
from metrion.control.watch import GRACE_SECONDS, Watch
from metrion.errors import ControlError
from tests.processes import eventually


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """Reads the names in table ``t`` as the accounts of a snapshot, and counts how often."""

    calls = 0
    broken = False

    def __call__(self, db: sqlite3.Connection) -> AccessSnapshot:
        self.calls += 1
        if self.broken:
            raise ControlError("a key does not open")
        names = [row[0] for row in db.execute("SELECT name FROM t ORDER BY name")]
        return AccessSnapshot(tokens={name.encode(): Token(name, "default", "pro") for name in names}, provider_keys={})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.db"


def database(path: Path, *names: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("CREATE TABLE t (name TEXT)")
    for name in names:
        db.execute("INSERT INTO t VALUES (?)", (name,))
    return db


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(database(path, "a")) as db:
        yield db


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def watch(path: Path, writer: sqlite3.Connection, reader: Reader, clock: Clock) -> Iterator[Watch]:
    with closing(Watch(path, reader, clock)) as watch:
        yield watch


def names(snapshot: AccessSnapshot) -> str:
    return " ".join(token.name for token in snapshot.tokens.values())


def test_a_commit_is_seen_by_the_next_call(watch: Watch, writer: sqlite3.Connection) -> None:
    assert names(watch.access_snapshot()) == "a"
    for name in "bcd":
        writer.execute("INSERT INTO t VALUES (?)", (name,))
        assert names(watch.access_snapshot()).endswith(name)


def test_nothing_is_read_while_nothing_changes(watch: Watch, reader: Reader) -> None:
    first = watch.access_snapshot()
    assert all(watch.access_snapshot() is first for _ in range(100))
    assert reader.calls == 1


def test_an_open_write_transaction_neither_blocks_nor_shows(watch: Watch, writer: sqlite3.Connection) -> None:
    first = watch.access_snapshot()
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES ('b')")
    assert watch.access_snapshot() is first
    writer.execute("COMMIT")
    assert names(watch.access_snapshot()) == "a b"


def test_a_checkpoint_loses_nothing(watch: Watch, writer: sqlite3.Connection) -> None:
    watch.access_snapshot()
    writer.execute("INSERT INTO t VALUES ('b')")
    assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert names(watch.access_snapshot()) == "a b"
    writer.execute("INSERT INTO t VALUES ('c')")
    assert names(watch.access_snapshot()) == "a b c"


def garble(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    path.write_bytes(b"\0garbage" * 2000)


def hide(path: Path) -> None:
    path.rename(path.with_name("hidden.db"))


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [garble, hide, empty, folder])
def test_an_unreadable_database_is_survived_for_five_seconds_and_then_refused(
    watch: Watch, path: Path, clock: Clock, damage: Callable[[Path], None]
) -> None:
    first = watch.access_snapshot()
    damage(path)
    clock.now += GRACE_SECONDS
    assert watch.access_snapshot() is first
    clock.now += 0.1
    for _ in range(2):
        with pytest.raises(ControlError, match=str(path)):
            watch.access_snapshot()


def test_five_seconds_count_from_the_last_good_look_not_from_the_last_change(
    watch: Watch, path: Path, clock: Clock
) -> None:
    first = watch.access_snapshot()
    clock.now += 1000
    watch.access_snapshot()
    hide(path)
    clock.now += GRACE_SECONDS - 1
    assert watch.access_snapshot() is first


def test_a_stale_snapshot_is_not_trusted_after_a_long_silence(watch: Watch, path: Path, clock: Clock) -> None:
    watch.access_snapshot()
    hide(path)
    clock.now += 1000
    with pytest.raises(ControlError):
        watch.access_snapshot()


def test_an_unreadable_database_has_no_grace_at_the_first_call(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "missing.db"
    with pytest.raises(ControlError, match=str(path)):
        Watch(path, reader).access_snapshot()
    assert not path.exists()


def test_a_snapshot_that_cannot_be_made_counts_as_unreadable(
    watch: Watch, writer: sqlite3.Connection, reader: Reader, clock: Clock
) -> None:
    first = watch.access_snapshot()
    reader.broken = True
    writer.execute("INSERT INTO t VALUES ('b')")
    clock.now += 1
    assert watch.access_snapshot() is first
    clock.now += GRACE_SECONDS
    with pytest.raises(ControlError, match="a key does not open"):
        watch.access_snapshot()
    reader.broken = False
    assert names(watch.access_snapshot()) == "a b"


def test_a_database_that_comes_back_is_used_again(watch: Watch, path: Path, clock: Clock) -> None:
    watch.access_snapshot()
    hide(path)
    clock.now += 60
    with pytest.raises(ControlError):
        watch.access_snapshot()
    path.with_name("hidden.db").rename(path)
    assert names(watch.access_snapshot()) == "a"


def test_a_database_put_in_place_of_another_is_read_at_once(watch: Watch, path: Path, tmp_path: Path) -> None:
    assert names(watch.access_snapshot()) == "a"
    backup = tmp_path / "backup.db"
    database(backup, "x", "y").close()  # the last connection to go folds the log into the file
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    backup.replace(path)
    assert names(watch.access_snapshot()) == "x y"


def test_it_opens_again_after_close(watch: Watch, writer: sqlite3.Connection) -> None:
    watch.access_snapshot()
    watch.close()
    writer.execute("INSERT INTO t VALUES ('b')")
    assert names(watch.access_snapshot()) == "a b"


# --- many tokens ------------------------------------------------------------------------------------------------------


class SlowReader(Reader):
    """Reads after ``go`` is set where it is not on the thread that asks, and notes which threads it read on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.main = threading.get_ident()
        self.threads: list[int] = []

    def __call__(self, db: sqlite3.Connection) -> AccessSnapshot:
        self.threads.append(threading.get_ident())
        if self.threads[-1] != self.main:
            assert self.go.wait(60)
        return super().__call__(db)


@pytest.fixture
def slow() -> SlowReader:
    return SlowReader()


@pytest.fixture
def large(path: Path, writer: sqlite3.Connection, slow: SlowReader, clock: Clock) -> Iterator[Watch]:
    """A watch to which one token is many."""
    with closing(Watch(path, slow, clock, most_inline=0)) as watch:
        yield watch
    slow.go.set()


def test_many_tokens_are_read_by_a_thread_and_no_call_waits(
    large: Watch, writer: sqlite3.Connection, slow: SlowReader
) -> None:
    first = large.access_snapshot()
    writer.execute("INSERT INTO t VALUES ('b')")
    assert all(large.access_snapshot() is first for _ in range(100))
    slow.go.set()
    eventually(lambda: names(large.access_snapshot()) == "a b")
    assert [each == slow.main for each in slow.threads] == [True, False]


def test_a_change_while_others_are_read_is_not_missed(
    large: Watch, writer: sqlite3.Connection, slow: SlowReader
) -> None:
    large.access_snapshot()
    writer.execute("INSERT INTO t VALUES ('b')")
    large.access_snapshot()
    writer.execute("INSERT INTO t VALUES ('c')")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file changes, and the connection with it
    writer.execute("INSERT INTO t VALUES ('d')")
    slow.go.set()
    eventually(lambda: names(large.access_snapshot()) == "a b c d")


def test_what_is_being_read_for_longer_than_five_seconds_is_refused(
    large: Watch, writer: sqlite3.Connection, slow: SlowReader, clock: Clock
) -> None:
    first = large.access_snapshot()
    writer.execute("INSERT INTO t VALUES ('b')")
    clock.now += GRACE_SECONDS
    assert large.access_snapshot() is first
    clock.now += 0.1
    with pytest.raises(ControlError, match="being read"):
        large.access_snapshot()
    slow.go.set()
    eventually(lambda: _names_or_none(large) == "a b")


def test_what_a_thread_cannot_read_is_survived_for_five_seconds(
    large: Watch, writer: sqlite3.Connection, slow: SlowReader, clock: Clock
) -> None:
    first = large.access_snapshot()
    slow.broken = True
    slow.go.set()
    writer.execute("INSERT INTO t VALUES ('b')")
    assert large.access_snapshot() is first
    clock.now += GRACE_SECONDS + 1
    eventually(lambda: _names_or_none(large) is None and len(slow.threads) > 2)
    slow.broken = False
    eventually(lambda: _names_or_none(large) == "a b")


def _names_or_none(watch: Watch) -> str | None:
    try:
        return names(watch.access_snapshot())
    except ControlError:
        return None
