"""A new master key for everything that is sealed, while any number of processes go on.

In: a home's database and vault. Out: how many secrets are sealed anew. The steps: a new key is put before the old one;
one transaction seals everything under it; then the old one is taken away, while nobody can seal and nothing is sealed
under it. Killed at any moment, everything opens, since both keys are there until the last step; the next run goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metrion.control import audit
from metrion.control.files import connection, transaction
from metrion.control.further_keys import Slot
from metrion.control.master_keys import FileKeys
from metrion.control.names import ALL_ACCOUNTS
from metrion.control.vault import Sealed, Vault, key_binding, target_binding
from metrion.errors import VaultError


@dataclass(frozen=True, slots=True)
class Place:
    """A table with sealed rows: columns ``master_id`` and ``box``."""

    table: str
    key: Sequence[str]
    """The columns that name a row."""
    binding: Callable[..., bytes]
    """What a row's secret is bound to, by those columns' values."""


def _further_binding(account: str, provider: str, name: str, former: int) -> bytes:
    return key_binding(account, Slot(account, provider, name, bool(former)).called)


PLACES: Sequence[Place] = (
    Place("provider_keys", ("account", "provider"), key_binding),
    Place("shared_keys", ("provider",), lambda provider: key_binding(ALL_ACCOUNTS, provider)),
    Place("further_keys", ("account", "provider", "name", "former"), _further_binding),
    Place("alert_channels", ("id",), target_binding),
)
"""Everything in the database that is sealed."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done."""

    secrets: int
    """How many are sealed under the new master key now that were not before."""
    resumed: bool
    """An earlier run had begun."""


def rotate(path: Path, vault: Vault) -> Rotated:
    """Seal everything in the database at ``path`` under a new master key, and forget the old one.

    Keys that come from the environment or a command are made and taken away there: this seals everything under the
    first of them.

    :raises VaultError: a secret does not open, in which case nothing is changed; or there is no second key to go to.
    """
    keys = vault.keys
    with transaction(path) as db:
        if isinstance(keys, FileKeys) and not keys.path.exists() and not _sealed_otherwise(db, ""):
            raise VaultError("nothing is sealed yet: the first key that is stored makes a master key.")
        known = len(keys.read())
        if isinstance(keys, FileKeys):
            if known == 1:
                keys.add()
        elif not _sealed_otherwise(db, vault.first_id()):
            raise VaultError(
                f"{keys.name}: there is no new master key there. Make one with `head -c 32 /dev/urandom | base64`, put "
                "it before the old one, with a space or a line end between them, and restart what uses this home. Then "
                "run this again. After that the old one can be taken away."
            )
        count = _reseal(db, vault)
        audit.record(db, "key.rotate-master", keys.name, secrets=count)
    while isinstance(keys, FileKeys) and not _forget(path, vault, keys):
        with transaction(path) as db:
            count += _reseal(db, vault)
    return Rotated(count, resumed=isinstance(keys, FileKeys) and known > 1)


def _forget(path: Path, vault: Vault, keys: FileKeys) -> bool:
    """Take the old keys away if nothing is sealed under them. Nobody seals meanwhile: that needs the write lock."""
    with connection(path) as db:
        db.execute("BEGIN IMMEDIATE")
        if _sealed_otherwise(db, vault.first_id()):
            return False
        keys.keep_first()
        return True


def _sealed_otherwise(db: sqlite3.Connection, master_id: str) -> bool:
    return any(
        db.execute(f"SELECT 1 FROM {place.table} WHERE master_id <> ? LIMIT 1", (master_id,)).fetchone()  # noqa: S608 -- PLACES
        for place in PLACES
    )


def _reseal(db: sqlite3.Connection, vault: Vault) -> int:
    """Seal every secret under the first master key that is sealed under another; return how many there were."""
    first, count = vault.first_id(), 0
    for place in PLACES:
        columns, where = ", ".join(place.key), " AND ".join(f"{column} = ?" for column in place.key)
        for row in db.execute(
            f"SELECT {columns}, master_id, box FROM {place.table} WHERE master_id <> ?",  # noqa: S608 -- PLACES
            (first,),
        ).fetchall():
            values = tuple(row[column] for column in place.key)
            binding = place.binding(*values)
            try:
                text = vault.open_text(Sealed(row["master_id"], row["box"]), binding)
            except ValueError as error:
                raise VaultError(
                    f"nothing is changed: what is stored in {place.table} for {', '.join(map(str, values))} does not "
                    f"open with {vault.keys.name}. {vault.keys.remedy}, or remove it first: `metrion key remove "
                    "PROVIDER`, `metrion alert remove NAME`."
                ) from error
            sealed = vault.seal_text(text, binding)
            db.execute(
                f"UPDATE {place.table} SET master_id = ?, box = ? WHERE {where}",  # noqa: S608 -- PLACES
                (sealed.master_id, sealed.box, *values),
            )
            count += 1
    return count
