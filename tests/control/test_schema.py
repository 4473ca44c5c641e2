from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.admission import Token, token_digest
from metrion.control import ControlStore, schema
from metrion.control.vault import Vault
from metrion.errors import ControlError
from metrion.settings import Settings
from tests.credentials import PROVIDER_KEY


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
    control = {"accounts", "tokens", "former_secrets", "provider_keys", "shared_keys", "further_keys", "admins"}
    others = {"alert_rules", "alert_channels", "alert_history", "audit", "budgets", "guards"}
    assert tables(db) - {"sqlite_sequence"} == control | others
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


VERSION_1 = """
CREATE TABLE accounts (name TEXT PRIMARY KEY, plan TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, tail TEXT NOT NULL, name TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (name), requests_per_minute INTEGER, requests_per_month INTEGER,
    monthly_budget_usd TEXT, timeout REAL, created_at TEXT NOT NULL, expires_at TEXT, revoked_at TEXT
) STRICT;
CREATE UNIQUE INDEX tokens_in_use ON tokens (name) WHERE revoked_at IS NULL;
CREATE TABLE provider_keys (
    account TEXT NOT NULL REFERENCES accounts (name), provider TEXT NOT NULL, master_id TEXT NOT NULL,
    box BLOB NOT NULL, stored_at TEXT NOT NULL, PRIMARY KEY (account, provider)
) STRICT, WITHOUT ROWID;
INSERT INTO accounts VALUES ('default', 'pro', '2026-01-01T00:00:00Z'), ('team', 'free', '2026-01-02T00:00:00Z');
PRAGMA user_version = 1;
"""
"""A database as the first version of the schema made it. Never changes."""


def test_a_home_of_the_first_version_keeps_its_tokens_and_its_sealed_keys(tmp_path: Path, path: Path) -> None:
    secret, revoked = "sk-metrion-" + "a" * 43, "sk-metrion-" + "r" * 43
    sealed = Vault(tmp_path / "master.key").seal("team", "openai", PROVIDER_KEY, may_create=True)
    made, ended = "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"
    rows = [
        (token_digest(secret), "aaaa", "ci", "team", 5, 0, "49.990", 2.5, made, "2999-01-31T00:00:00Z", None),
        (token_digest(revoked), "rrrr", "ci", "default", None, None, None, None, made, None, ended),
    ]
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
        old.executemany("INSERT INTO tokens VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        key = ("team", "openai", sealed.master_id, sealed.box, made)
        old.execute("INSERT INTO provider_keys VALUES (?, ?, ?, ?, ?)", key)
        old.commit()
    with closing(ControlStore.open(Settings(home=tmp_path))) as store:
        access = store.access_snapshot()
        token = Token("ci", "team", "free", 5, 0, Decimal("49.990"), 2.5, expires_at=datetime(2999, 1, 31, tzinfo=UTC))
        assert access.find_token(secret) == token
        assert access.find_token(revoked) == Token("ci", "default", "pro", revoked=True)
        assert access.provider_keys == {("team", "openai"): PROVIDER_KEY}
        assert access.shared_keys == {}
        new = store.rotate_token("ci", datetime(2998, 1, 1, tzinfo=UTC)).secret
        access = store.access_snapshot()
        assert access.find_token(new) == replace(token, counted_as=token_digest(secret))
        assert [(each.name, each.state) for each in store.tokens()] == [("ci", "active"), ("ci", "revoked")]
    with closing(sqlite3.connect(path)) as db:
        assert version(db) == len(schema.MIGRATIONS)
        assert db.execute("SELECT box FROM provider_keys").fetchall() == [(sealed.box,)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_first_migration_is_what_it_was(db: sqlite3.Connection) -> None:
    """Databases that it made are out there; a new column is a new migration."""
    with closing(sqlite3.connect(":memory:")) as old:
        old.executescript(VERSION_1)
        for statement in schema.MIGRATIONS[0]:
            db.execute(statement)
        for table in ("accounts", "tokens", "provider_keys"):
            query = f"PRAGMA table_info({table})"
            assert db.execute(query).fetchall() == old.execute(query).fetchall()


@pytest.mark.parametrize("before", range(len(schema.MIGRATIONS)))
def test_a_database_of_every_earlier_version_becomes_what_a_new_one_is(tmp_path: Path, before: int) -> None:
    """With an account and a token in it, which stay."""
    made, old = tmp_path / "new.db", tmp_path / "old.db"
    with (
        closing(sqlite3.connect(made, isolation_level=None)) as fresh,
        closing(sqlite3.connect(old, isolation_level=None)) as db,
    ):
        schema.migrate(fresh, made)
        for number, statements in enumerate(schema.MIGRATIONS[:before], start=1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        if before:
            day = "2026-01-01T00:00:00Z"
            db.execute("INSERT INTO accounts (name, plan, created_at) VALUES ('team', 'free', ?)", (day,))
            db.execute(
                "INSERT INTO tokens (digest, tail, name, account, created_at) VALUES (x'00', 'abcd', 'ci', 'team', ?)",
                (day,),
            )
        schema.migrate(db, old)
        query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
        assert db.execute(query).fetchall() == fresh.execute(query).fetchall()
        assert version(db) == version(fresh) == len(schema.MIGRATIONS)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        kept = db.execute("SELECT t.name, a.plan FROM tokens t JOIN accounts a ON a.name = t.account").fetchall()
        assert kept == ([("ci", "free")] if before else [])
