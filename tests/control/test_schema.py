from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metrion.control import schema
from metrion.errors import ControlError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def version(db: sqlite3.Connection) -> int:
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    return found


def tables(db: sqlite3.Connection) -> set[str]:
    return {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_an_empty_database_gets_the_tables_the_default_account_and_a_write_ahead_log(
    db: sqlite3.Connection, path: Path
) -> None:
    schema.migrate(db, path)
    assert tables(db) == {"accounts", "tokens", "former_secrets", "provider_keys", "shared_keys"}
    assert db.execute("SELECT name, plan FROM accounts").fetchall() == [("default", "pro")]
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert version(db) == len(schema.MIGRATIONS)


def test_migrating_again_changes_nothing(db: sqlite3.Connection, path: Path) -> None:
    schema.migrate(db, path)
    db.execute("UPDATE accounts SET plan = 'free'")
    schema.migrate(db, path)
    assert db.execute("SELECT name, plan FROM accounts").fetchall() == [("default", "free")]


def test_an_older_database_gets_only_what_it_lacks(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.migrate(db, path)
    db.execute("INSERT INTO accounts (name, plan, created_at) VALUES ('team', 'free', '2026-01-01T00:00:00Z')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE accounts ADD COLUMN note TEXT",)))
    schema.migrate(db, path)
    assert db.execute("SELECT name, note FROM accounts ORDER BY name").fetchall() == [("default", None), ("team", None)]
    assert version(db) == len(schema.MIGRATIONS)


def test_a_migration_that_fails_leaves_nothing_behind(
    db: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.migrate(db, path)
    before = version(db)
    broken = ("CREATE TABLE half (x)", "CREATE TABLE half (x)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.migrate(db, path)
    assert "half" not in tables(db)
    assert version(db) == before


def test_a_database_of_a_newer_version_is_named_and_left_alone(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(ControlError, match=rf"{path}: made by a newer version.*schema 99"):
        schema.migrate(db, path)
    assert tables(db) == set()
