"""The provider keys beside the one that an account has at a provider: those with a name, and those that were replaced.

An open transaction in, sealed rows out. A named key is for tokens that are tied to its name. A former one is whatever
was in a place before its key was rotated: it goes out no more, and is kept for a while so that it can come back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from metrion.control.moments import now_text, optional_text
from metrion.control.names import ALL_ACCOUNTS, suggestion
from metrion.control.vault import Sealed
from metrion.errors import ControlError


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a key. The key without a name has an empty one."""

    account: str
    """Or :data:`ALL_ACCOUNTS`."""
    provider: str
    name: str = ""
    former: bool = False

    @property
    def called(self) -> str:
        """What the key is bound to beside its account, in the words by which commands know it."""
        return self.provider + (f" --name {self.name}" if self.name else "") + (" --former" if self.former else "")

    @property
    def is_plain(self) -> bool:
        """Whether it is in a table of its own: in use, and without a name."""
        return not (self.name or self.former)


@dataclass(frozen=True, slots=True)
class Row:
    """A sealed key in its place."""

    slot: Slot
    sealed: Sealed
    stored_at: str
    ends_at: str | None = None
    """When a former one is forgotten."""


def rows(db: sqlite3.Connection) -> Iterator[Row]:
    """Yield every sealed key: those of accounts, the shared ones, and the further ones that are not over."""
    for account, provider, name, former, ends_at, master_id, box, stored_at in db.execute(
        "SELECT account, provider, '', 0, NULL, master_id, box, stored_at FROM provider_keys UNION ALL "
        "SELECT ?, provider, '', 0, NULL, master_id, box, stored_at FROM shared_keys UNION ALL "
        "SELECT account, provider, name, former, ends_at, master_id, box, stored_at FROM further_keys "
        "WHERE ends_at IS NULL OR ends_at > ?",
        (ALL_ACCOUNTS, now_text()),
    ):
        yield Row(Slot(account, provider, name, bool(former)), Sealed(master_id, box), stored_at, ends_at)


def put(db: sqlite3.Connection, slot: Slot, sealed: Sealed, stored_at: str, ends_at: datetime | None = None) -> None:
    """Put a sealed key into a place, instead of whatever is there."""
    values = (sealed.master_id, sealed.box, stored_at)
    if not slot.is_plain:
        db.execute(
            "INSERT OR REPLACE INTO further_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (slot.account, slot.provider, slot.name, slot.former, optional_text(ends_at), *values),
        )
    elif slot.account == ALL_ACCOUNTS:
        db.execute("INSERT OR REPLACE INTO shared_keys VALUES (?, ?, ?, ?)", (slot.provider, *values))
    else:
        db.execute(
            "INSERT OR REPLACE INTO provider_keys VALUES (?, ?, ?, ?, ?)", (slot.account, slot.provider, *values)
        )


def take(db: sqlite3.Connection, slot: Slot) -> bool:
    """Empty a place; return whether a key was in it."""
    if not slot.is_plain:
        gone = db.execute(
            "DELETE FROM further_keys WHERE account = ? AND provider = ? AND name = ? AND former = ?",
            (slot.account, slot.provider, slot.name, slot.former),
        )
    elif slot.account == ALL_ACCOUNTS:
        gone = db.execute("DELETE FROM shared_keys WHERE provider = ?", (slot.provider,))
    else:
        gone = db.execute("DELETE FROM provider_keys WHERE account = ? AND provider = ?", (slot.account, slot.provider))
    return gone.rowcount > 0


def forget_ended(db: sqlite3.Connection) -> None:
    """Remove the former keys that are over."""
    db.execute("DELETE FROM further_keys WHERE ends_at <= ?", (now_text(),))


def require(db: sqlite3.Connection, account: str, name: str) -> None:
    """Return if an account has a key of this name, at any provider, or shares one.

    :raises ControlError: it has none.
    """
    names = [
        row[0]
        for row in db.execute(
            "SELECT DISTINCT name FROM further_keys WHERE account IN (?, ?) AND name <> '' AND NOT former",
            (account, ALL_ACCOUNTS),
        )
    ]
    if name not in names:
        where = "" if account == "default" else f" --account {account}"
        raise ControlError(
            f"the account {account!r} has no key of this name.{suggestion(name, names)} "
            f"`metrion key set PROVIDER --name NAME{where}` stores one."
        )
