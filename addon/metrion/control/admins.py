"""The admin tokens of ``control.db``: an open transaction in; a change of the table, records, or whose one is, out.

An admin token opens the dashboard and reads ``/metrics`` from afar. It is of another kind than a caller's: another
prefix, another table. Neither is ever valid in the other's place. Never stored: a token, only its digest.
"""

from __future__ import annotations

import secrets
import sqlite3
from datetime import datetime

from metrion.admission import token_digest
from metrion.control.moments import now_text, optional_moment
from metrion.control.names import check_name, suggestion
from metrion.control.records import AdminRecord, AdminScope, NewAdmin
from metrion.errors import NameTakenError, UnknownNameError

ADMIN_PREFIX = "sk-mta-"
"""How every admin token begins: as a secret, so that whatever hides keys hides it, and not as a caller's token."""
_LONGEST = 200
_SHOWN_CHARACTERS = 4


def create(db: sqlite3.Connection, name: str | None, scope: AdminScope = "write") -> NewAdmin:
    """Make an admin token. Without a name it is the next ``admin-N``.

    :raises ControlError: the name is taken or cannot be used.
    """
    if name is not None:
        check_name(name)
    names = dict(db.execute("SELECT name, max(revoked_at IS NULL) FROM admins GROUP BY name"))
    if name is None:
        name = next(free for n in range(1, len(names) + 2) if (free := f"admin-{n}") not in names)
    elif names.get(name):
        raise NameTakenError(
            f"an admin token named {name!r} exists: choose another name, or run `metrion admin revoke {name}` first."
        )
    secret = ADMIN_PREFIX + secrets.token_urlsafe(32)
    db.execute(
        "INSERT INTO admins (digest, tail, name, created_at, scope) VALUES (?, ?, ?, ?, ?)",
        (token_digest(secret), secret[-_SHOWN_CHARACTERS:], name, now_text(), scope),
    )
    return NewAdmin(name, secret)


def revoke(db: sqlite3.Connection, name: str) -> None:
    """Refuse the admin token from now on, for good.

    :raises ControlError: no admin token of this name is in use.
    """
    check_name(name)
    done = db.execute("UPDATE admins SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (now_text(), name))
    if done.rowcount:
        return
    revoked = db.execute("SELECT max(revoked_at) FROM admins WHERE name = ?", (name,)).fetchone()[0]
    if revoked:
        raise UnknownNameError(f"the admin token {name!r} is revoked already, since {revoked}.")
    names = [row[0] for row in db.execute("SELECT name FROM admins WHERE revoked_at IS NULL")]
    raise UnknownNameError(
        f"there is no admin token named {name!r}.{suggestion(name, names)} `metrion admin list` shows them."
    )


def records(db: sqlite3.Connection) -> tuple[AdminRecord, ...]:
    """Return every admin token that was ever made, oldest first."""
    return tuple(_record(row) for row in db.execute("SELECT * FROM admins ORDER BY id"))


def find(db: sqlite3.Connection, secret: str) -> AdminRecord | None:
    """Return the admin token with this secret; ``None``: it is none, or revoked."""
    if not secret.startswith(ADMIN_PREFIX) or len(secret) > _LONGEST:
        return None
    found = db.execute("SELECT * FROM admins WHERE digest = ? AND revoked_at IS NULL", (token_digest(secret),))
    row = found.fetchone()
    return None if row is None else _record(row)


def _record(row: sqlite3.Row) -> AdminRecord:
    return AdminRecord(
        name=row["name"],
        shown=f"{ADMIN_PREFIX}…{row['tail']}",
        created_at=datetime.fromisoformat(row["created_at"]),
        revoked_at=optional_moment(row["revoked_at"]),
        scope=row["scope"],
    )
