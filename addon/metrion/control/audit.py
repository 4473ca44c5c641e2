"""The audit log of ``control.db``: who changed what, and when; never a secret.

:func:`record` writes an entry inside the transaction of the change, so that there is neither without the other. Who it
is comes from :func:`acting`: an admin of the dashboard or the API; elsewhere, the user of the operating system. The
table is append-only: triggers refuse everything else.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from metrion.control.files import connection
from metrion.control.moments import now_text, text_of
from metrion.settings.ownership import user_name

WAYS = ("command line", "dashboard", "api")
"""By which way a change came."""
_LONGEST = 1000
"""Characters of a value in an entry."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something: the name of an admin, or of a user of the operating system."""

    name: str
    way: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change. ``at`` is aware and in UTC."""

    id: int
    at: datetime
    who: str
    way: str
    what: str
    """A kind of thing and what became of it: ``token.create``."""
    subject: str
    """The name of what was changed."""
    details: Mapping[str, Any]
    """What was set, or for each thing that changed what it was and what it is."""


_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting(name: str, way: str) -> Iterator[None]:
    """Record the changes that are made in this block, also in threads that it starts for it, as this admin's."""
    token = _actor.set(Actor(name, way))
    try:
        yield
    finally:
        _actor.reset(token)


def record(db: sqlite3.Connection, what: str, subject: str, **details: object) -> None:
    """Write an entry into an open transaction. Details that are ``None`` are left out; no detail may be a secret."""
    actor = _actor.get() or Actor(user_name(os.geteuid()), WAYS[0])
    said = {name: _shortened(value) for name, value in details.items() if value is not None}
    db.execute(
        "INSERT INTO audit (at, who, way, what, subject, details) VALUES (?, ?, ?, ?, ?, ?)",
        (now_text(), actor.name, actor.way, what, subject, json.dumps(said, ensure_ascii=False, default=str)),
    )


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return what differs between two states of a row, each with what it was and what it is."""
    return {name: {"was": before[name], "is": value} for name, value in after.items() if before[name] != value}


def described(entry: AuditEntry) -> str:
    """Say what was set, or changed from what to what."""
    return ", ".join(
        f"{name} {_text(value['was'])} → {_text(value['is'])}"
        if isinstance(value, dict) and value.keys() == {"was", "is"}
        else f"{name} {_text(value)}"
        for name, value in entry.details.items()
    )


def _text(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def entries(
    path: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    who: str | None = None,
    what: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> tuple[AuditEntry, ...]:
    """Return entries, the latest first. ``what`` may be a kind alone, as in ``token``; ``before`` is an entry's id.

    :raises ControlError: the database cannot be read.
    """
    conditions = {
        "at >= :since": since and text_of(since),
        "at < :until": until and text_of(until),
        "who = :who": who,
        "(what = :what OR substr(what, 1, length(:what) + 1) = :what || '.')": what,
        "id < :before": before,
    }
    names = ("since", "until", "who", "what", "before")
    values = dict(zip(names, conditions.values(), strict=True))
    where = " AND ".join(condition for condition, value in conditions.items() if value is not None) or "true"
    with connection(path) as db:
        rows = db.execute(
            f"SELECT * FROM audit WHERE {where} ORDER BY id DESC LIMIT :limit",  # noqa: S608 -- written here
            {**values, "limit": limit},
        ).fetchall()
    return tuple(
        AuditEntry(
            row["id"], datetime.fromisoformat(row["at"]), row["who"], row["way"], row["what"], row["subject"],
            json.loads(row["details"]),
        )
        for row in rows
    )  # fmt: skip


def _shortened(value: object) -> object:
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
