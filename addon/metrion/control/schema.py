"""The tables of ``control.db``, as a list of migrations: an empty or older SQLite database in, a current one out.

``PRAGMA user_version`` counts the migrations that a database has had. A released migration never changes; a new one is
added at the end. Never: a half-migrated database, two processes that migrate at once, a change to a newer database.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from metrion.errors import ControlError

# Times are ISO 8601 in UTC with `Z`. Of a limit, NULL means the plan's and 0 none; money is decimal text.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE accounts (
            name TEXT PRIMARY KEY,
            plan TEXT NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE tokens (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE, -- SHA-256 of the whole token, which is stored nowhere
            tail TEXT NOT NULL,          -- its last four characters
            name TEXT NOT NULL,
            account TEXT NOT NULL REFERENCES accounts (name),
            requests_per_minute INTEGER,
            requests_per_month INTEGER,
            monthly_budget_usd TEXT,
            timeout REAL,                -- seconds
            created_at TEXT NOT NULL,
            expires_at TEXT,
            revoked_at TEXT
        ) STRICT""",
        "CREATE UNIQUE INDEX tokens_in_use ON tokens (name) WHERE revoked_at IS NULL",
        """CREATE TABLE provider_keys (
            account TEXT NOT NULL REFERENCES accounts (name),
            provider TEXT NOT NULL,
            master_id TEXT NOT NULL,
            box BLOB NOT NULL,           -- see metrion.control.vault
            stored_at TEXT NOT NULL,
            PRIMARY KEY (account, provider)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO accounts VALUES ('default', 'pro', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
    ),
    (
        "ALTER TABLE accounts ADD COLUMN removed_at TEXT",  # kept for its revoked tokens
        "ALTER TABLE tokens ADD COLUMN counted_as BLOB",  # the digest of its first secret; NULL: it has had one only
        "ALTER TABLE tokens ADD COLUMN user_label TEXT",
        "ALTER TABLE tokens ADD COLUMN tags TEXT",  # a JSON object; NULL: none
        "ALTER TABLE tokens ADD COLUMN label_fixed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tokens ADD COLUMN allowed_labels TEXT",  # a JSON array of patterns; NULL: any label
        """CREATE TABLE former_secrets (
            digest BLOB PRIMARY KEY,
            token INTEGER NOT NULL REFERENCES tokens (id),
            ends_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE shared_keys (     -- of every account that has none of its own
            provider TEXT PRIMARY KEY,
            master_id TEXT NOT NULL,
            box BLOB NOT NULL,
            stored_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE admins (
            id INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE, -- SHA-256 of the whole admin token, which is stored nowhere
            tail TEXT NOT NULL,          -- its last four characters
            name TEXT NOT NULL,
            created_at TEXT NOT NULL,
            revoked_at TEXT
        ) STRICT""",
        "CREATE UNIQUE INDEX admins_in_use ON admins (name) WHERE revoked_at IS NULL",
    ),
    (
        """CREATE TABLE alert_rules (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            measure TEXT NOT NULL,       -- see metrion.alerts.measures
            bound TEXT NOT NULL,         -- decimal text, in the measure's unit
            span TEXT NOT NULL,          -- see metrion.alerts.spans
            provider TEXT,               -- of these four, NULL means any
            account TEXT,
            token TEXT,
            user TEXT,
            allow_private INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            changed_at TEXT NOT NULL,
            warned_at TEXT,
            alerted_at TEXT,
            alerted_since TEXT           -- where the span began that the last alert was about
        ) STRICT""",
        """CREATE TABLE alert_channels (
            id TEXT PRIMARY KEY,         -- random; what is sealed is bound to it
            rule INTEGER NOT NULL REFERENCES alert_rules (id) ON DELETE CASCADE,
            kind TEXT NOT NULL,
            shown TEXT NOT NULL,         -- where it leads, without what is secret
            master_id TEXT NOT NULL,
            box BLOB NOT NULL            -- see metrion.control.vault
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE alert_history (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            rule TEXT NOT NULL,          -- its name then
            kind TEXT NOT NULL,
            at TEXT NOT NULL,
            title TEXT NOT NULL,
            message TEXT NOT NULL,       -- a JSON object
            channel TEXT NOT NULL,       -- of alert_channels, which it may outlive
            shown TEXT NOT NULL,
            state TEXT NOT NULL,         -- pending, sent or failed
            tries INTEGER NOT NULL DEFAULT 0,
            next_at TEXT,                -- when a pending one is tried again
            ended_at TEXT,
            problem TEXT
        ) STRICT""",
    ),
    (
        # JSON arrays of what a token may be used for; NULL: everything
        "ALTER TABLE tokens ADD COLUMN allowed_providers TEXT",
        "ALTER TABLE tokens ADD COLUMN allowed_models TEXT",  # patterns
        "ALTER TABLE tokens ADD COLUMN allowed_operations TEXT",
        "ALTER TABLE tokens ADD COLUMN allowed_networks TEXT",
    ),
    (
        """CREATE TABLE further_keys (    -- beside the one that an account has at a provider
            account TEXT NOT NULL,       -- '*': of every account
            provider TEXT NOT NULL,
            name TEXT NOT NULL,          -- empty: that of the one without a name
            former INTEGER NOT NULL,     -- 1: another is in its place
            ends_at TEXT,                -- when a former one is forgotten
            master_id TEXT NOT NULL,
            box BLOB NOT NULL,           -- see metrion.control.vault
            stored_at TEXT NOT NULL,
            PRIMARY KEY (account, provider, name, former)
        ) STRICT, WITHOUT ROWID""",
        "ALTER TABLE tokens ADD COLUMN key_name TEXT",  # of the provider keys that it uses; NULL: those without a name
    ),
    (
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            way TEXT NOT NULL,           -- see metrion.control.audit
            what TEXT NOT NULL,
            subject TEXT NOT NULL,
            details TEXT NOT NULL        -- a JSON object, without secrets
        ) STRICT""",
        "CREATE TRIGGER audit_keeps_what_it_says BEFORE UPDATE ON audit "
        "BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END",
        "CREATE TRIGGER audit_keeps_all BEFORE DELETE ON audit "
        "BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END",
        "CREATE TRIGGER audit_replaces_nothing BEFORE INSERT ON audit "
        "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
        "BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END",
        "ALTER TABLE admins ADD COLUMN scope TEXT NOT NULL DEFAULT 'write'",  # or 'read'
    ),
    (
        """CREATE TABLE budgets (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope TEXT NOT NULL,         -- token, account, user or provider
            name TEXT NOT NULL,
            usd TEXT NOT NULL,           -- decimal text; 0: nothing may be spent
            per TEXT NOT NULL,           -- see metrion.admission.spans
            timezone TEXT,               -- NULL: the configured one
            at_limit TEXT NOT NULL,      -- refuse or warn
            created_at TEXT NOT NULL,
            changed_at TEXT NOT NULL,
            UNIQUE (scope, name, per)
        ) STRICT""",
        """INSERT INTO budgets (scope, name, usd, per, at_limit, created_at, changed_at)
            SELECT 'token', name, monthly_budget_usd, 'month', 'refuse', created_at, created_at FROM tokens
            WHERE revoked_at IS NULL AND CAST(monthly_budget_usd AS REAL) > 0
            AND CAST(monthly_budget_usd AS REAL) <= 9000000 ORDER BY id""",
        "ALTER TABLE tokens ADD COLUMN takes_unpriced INTEGER NOT NULL DEFAULT 0",
    ),
    (
        """CREATE TABLE guards (
            scope TEXT NOT NULL,         -- token or account
            name TEXT NOT NULL,
            usd_per_minute TEXT NOT NULL, -- decimal text; of these three, 0 is no limit
            tokens_per_minute INTEGER NOT NULL,
            identical_requests INTEGER NOT NULL,
            at_limit TEXT NOT NULL,      -- refuse or warn
            changed_at TEXT NOT NULL,
            PRIMARY KEY (scope, name)
        ) STRICT, WITHOUT ROWID""",
    ),
)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the database at ``path`` up to date. ``db`` is in autocommit mode and has a busy timeout.

    :raises ControlError: the database was made by a newer version.
    :raises sqlite3.Error: it cannot be read or written.
    """
    if _version(db, path) == len(MIGRATIONS):
        return
    _use_write_ahead_log(db)
    db.execute("BEGIN IMMEDIATE")
    try:
        done = _version(db, path)  # again: another process may have been first
        for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite ends it by itself on some errors, such as a full disk
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection, path: Path) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ControlError(
            f"{path}: made by a newer version of Metrion (schema {version}, this one knows {len(MIGRATIONS)}). "
            "Run that version."
        )
    return version


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Have readers never wait for a writer.

    SQLite answers "locked" at once, without its busy timeout, when two processes switch at the same time.
    A file system without shared memory stays with the rollback journal, which is slower and as correct.
    """
    deadline = time.monotonic() + 10
    while True:
        try:
            db.execute("PRAGMA journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
