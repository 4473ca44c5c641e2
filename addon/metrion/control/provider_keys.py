"""The provider keys of ``control.db``: an open transaction and the vault in; sealed rows, records, or open keys, out.

A key belongs to an account, or is shared: every account uses it that has none of its own. Never stored unsealed, and
in no error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from metrion.admission import mask
from metrion.control import accounts
from metrion.control.moments import now_text
from metrion.control.names import ALL_ACCOUNTS, DEFAULT_ACCOUNT, suggestion
from metrion.control.records import KeyRecord
from metrion.control.vault import Sealed, Vault
from metrion.errors import UnknownNameError, VaultError


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """Every key that may go out."""

    own: Mapping[tuple[str, str], str]
    """By account and provider."""
    shared: Mapping[str, str]
    """By provider."""


@dataclass(frozen=True, slots=True)
class _Row:
    account: str
    provider: str
    sealed: Sealed
    stored_at: str


def store(db: sqlite3.Connection, vault: Vault, provider: str, key: str, account: str) -> None:
    """Seal a key and store it in place of an older one. ``account`` may be :data:`ALL_ACCOUNTS`.

    :raises ControlError: there is no such account, or the master key is missing while other keys are stored.
    """
    if account != ALL_ACCOUNTS:
        accounts.require(db, account)
    others = [row for row in _rows(db) if (row.account, row.provider) != (account, provider)]
    other_sealed = db.execute("SELECT 1 FROM alert_channels LIMIT 1").fetchone()
    sealed = vault.seal(account, provider, key, may_create=not others and other_sealed is None)
    for other in others:
        if other.sealed.master_id != sealed.master_id:
            # Two master keys in one database would need both files for ever: opening says which is missing.
            vault.open(other.account, other.provider, other.sealed)
    values = (provider, sealed.master_id, sealed.box, now_text())
    if account == ALL_ACCOUNTS:
        db.execute("INSERT OR REPLACE INTO shared_keys VALUES (?, ?, ?, ?)", values)
    else:
        db.execute("INSERT OR REPLACE INTO provider_keys VALUES (?, ?, ?, ?, ?)", (account, *values))


def remove(db: sqlite3.Connection, provider: str, account: str) -> None:
    """Forget a stored key. ``account`` may be :data:`ALL_ACCOUNTS`.

    :raises ControlError: none is stored.
    """
    if account != ALL_ACCOUNTS:
        accounts.require(db, account)
        gone = db.execute("DELETE FROM provider_keys WHERE account = ? AND provider = ?", (account, provider))
    else:
        gone = db.execute("DELETE FROM shared_keys WHERE provider = ?", (provider,))
    if not gone.rowcount:
        stored = {row.provider for row in _rows(db) if row.account == account}
        shared = {row.provider for row in _rows(db) if row.account == ALL_ACCOUNTS}
        # What was typed is not repeated: it may be the key itself.
        raise UnknownNameError(
            (
                "no key for all accounts is stored"
                if account == ALL_ACCOUNTS
                else f"account {account!r} has no stored key"
            )
            + " of this provider."
            + suggestion(provider, stored)
            + (" It uses the one for all accounts, which `--for-all` removes." if provider in shared else "")
            + " `metrion key list` shows what is stored."
        )


def records(db: sqlite3.Connection, vault: Vault, environment: Mapping[str, str]) -> tuple[KeyRecord, ...]:
    """Return every key, stored or from the environment, by account and provider; shared ones first."""
    found = []
    overridden = set()
    for row in _rows(db):
        if row.account in (DEFAULT_ACCOUNT, ALL_ACCOUNTS):
            overridden.add(row.provider)
        try:
            shown, problem = mask(vault.open(row.account, row.provider, row.sealed)), None
        except VaultError as error:
            shown, problem = None, str(error)
        stored_at = datetime.fromisoformat(row.stored_at)
        found.append(KeyRecord(row.provider, row.account, shown, "stored", problem is None, stored_at, problem))
    for provider, key in environment.items():
        found.append(KeyRecord(provider, DEFAULT_ACCOUNT, mask(key), "environment", provider not in overridden))
    return tuple(sorted(found, key=lambda record: (record.account, record.provider, not record.in_use)))


def opened(db: sqlite3.Connection, vault: Vault, environment: Mapping[str, str]) -> OpenKeys:
    """Open every key. One from the environment is the default account's, unless a stored one serves that account.

    :raises VaultError: a key does not open.
    """
    own: dict[tuple[str, str], str] = {}
    shared: dict[str, str] = {}
    for row in _rows(db):
        key = vault.open(row.account, row.provider, row.sealed)
        if row.account == ALL_ACCOUNTS:
            shared[row.provider] = key
        else:
            own[row.account, row.provider] = key
    for provider, key in environment.items():
        if provider not in shared:
            own.setdefault((DEFAULT_ACCOUNT, provider), key)
    return OpenKeys(own, shared)


def _rows(db: sqlite3.Connection) -> Iterator[_Row]:
    for account, provider, master_id, box, stored_at in db.execute(
        "SELECT account, provider, master_id, box, stored_at FROM provider_keys UNION ALL "
        "SELECT ?, provider, master_id, box, stored_at FROM shared_keys",
        (ALL_ACCOUNTS,),
    ):
        yield _Row(account, provider, Sealed(master_id, box), stored_at)
