"""The accounts of ``control.db``: an open transaction and a name in; a change of the table, or records, out.

A removed account keeps its row, because its revoked tokens stay in the list. Nothing else sees it any more.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from metrion.control.moments import now_text
from metrion.control.names import DEFAULT_ACCOUNT, check_name, suggestion
from metrion.control.records import Account
from metrion.errors import ControlError


def create(db: sqlite3.Connection, name: str, plan: str) -> None:
    """Make an account, or bring a removed one back.

    :raises ControlError: the name is taken or cannot be used.
    """
    check_name(name)
    added = db.execute(
        "INSERT INTO accounts (name, plan, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
        "SET plan = excluded.plan, created_at = excluded.created_at, removed_at = NULL WHERE removed_at IS NOT NULL",
        (name, plan, now_text()),
    )
    if not added.rowcount:
        raise ControlError(
            f"an account named {name!r} exists: `metrion account set {name} --plan {plan}` changes its plan."
        )


def set_plan(db: sqlite3.Connection, name: str, plan: str) -> None:
    """Put an account on another plan.

    :raises ControlError: there is no such account.
    """
    require(db, name)
    db.execute("UPDATE accounts SET plan = ? WHERE name = ?", (plan, name))


def remove(db: sqlite3.Connection, name: str) -> tuple[str, ...]:
    """Remove an account and its provider keys; return the providers whose keys are gone.

    :raises ControlError: there is no such account, it is the default one, or it has tokens.
    """
    require(db, name)
    if name == DEFAULT_ACCOUNT:
        raise ControlError(f"the account {name!r} belongs to every home and stays.")
    tokens = [
        row[0]
        for row in db.execute("SELECT name FROM tokens WHERE account = ? AND revoked_at IS NULL ORDER BY id", (name,))
    ]
    if tokens:
        first = tokens[0]
        has, them = ("the token", "it") if len(tokens) == 1 else (f"{len(tokens)} tokens:", "each")
        raise ControlError(
            f"the account {name!r} has {has} {', '.join(tokens)}. Revoke {them} with `metrion token revoke {first}`, "
            f"or move {them} with `metrion token set {first} --account {DEFAULT_ACCOUNT}`, then remove the account."
        )
    providers = [
        row[0]
        for row in db.execute(
            "SELECT provider FROM provider_keys WHERE account = ? UNION "
            "SELECT provider FROM further_keys WHERE account = ? ORDER BY provider",
            (name, name),
        )
    ]
    db.execute("DELETE FROM provider_keys WHERE account = ?", (name,))
    db.execute("DELETE FROM further_keys WHERE account = ?", (name,))
    db.execute("UPDATE accounts SET removed_at = ? WHERE name = ?", (now_text(), name))
    return tuple(providers)


def records(db: sqlite3.Connection) -> tuple[Account, ...]:
    """Return every account, oldest first."""
    return tuple(
        Account(name, plan, datetime.fromisoformat(created_at))
        for name, plan, created_at in db.execute(
            "SELECT name, plan, created_at FROM accounts WHERE removed_at IS NULL ORDER BY created_at, name"
        )
    )


def require(db: sqlite3.Connection, name: str) -> None:
    """Return if there is an account of this name.

    :raises ControlError: there is none, or none can have this name.
    """
    check_name(name)
    names = [row[0] for row in db.execute("SELECT name FROM accounts WHERE removed_at IS NULL")]
    if name not in names:
        raise ControlError(
            f"there is no account named {name!r}.{suggestion(name, names)} "
            f"`metrion account list` shows them, `metrion account create {name}` makes one."
        )
