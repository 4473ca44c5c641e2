"""The provider keys of ``control.db``: an open transaction and the vault in; sealed rows, records, or open keys, out.

A key belongs to an account, or is shared: every account uses it that has none of its own. Beside it there may be others
with names, and for a while the one that it has replaced. Never stored unsealed, and in no error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from metrion.admission import mask
from metrion.control import accounts, further_keys
from metrion.control.further_keys import Row, Slot
from metrion.control.key_use import forget_others, key_id, last_use
from metrion.control.moments import now_text, optional_moment
from metrion.control.names import ALL_ACCOUNTS, DEFAULT_ACCOUNT, check_name, suggestion
from metrion.control.records import KeyRecord
from metrion.control.vault import Vault
from metrion.errors import ControlError, VaultError


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """Every key that may go out."""

    own: Mapping[tuple[str, str], str]
    """By account and provider."""
    shared: Mapping[str, str]
    """By provider."""
    named: Mapping[tuple[str, str, str], str]
    """By account, which may be :data:`ALL_ACCOUNTS`, provider and name."""
    ids: Mapping[str, str]
    """What each is called where it must not be known."""


def store(db: sqlite3.Connection, vault: Vault, provider: str, key: str, account: str, name: str | None = None) -> None:
    """Seal a key and store it in place of an older one. ``account`` may be :data:`ALL_ACCOUNTS`.

    :raises ControlError: there is no such account, no key can be called so, or the master key is missing while other
        keys are stored.
    """
    slot = _slot(db, account, provider, name)
    _seal(db, vault, slot, key)


def rotate(
    db: sqlite3.Connection,
    vault: Vault,
    provider: str,
    key: str,
    account: str,
    name: str | None,
    keep_until: datetime,
) -> None:
    """Store a key in place of an older one, which is kept until ``keep_until``.

    :raises ControlError: there is no older one, or it does not open.
    """
    slot = _slot(db, account, provider, name)
    further_keys.forget_ended(db)
    old = _find(db, slot)
    if old is None:
        raise ControlError(_nothing(db, slot) + " `metrion key set` stores a first one.")
    former, opened = replace(slot, former=True), _open(vault, old)
    _seal(db, vault, slot, key)
    sealed = vault.seal(account, former.called, opened, may_create=False)
    further_keys.put(db, former, sealed, old.stored_at, keep_until)


def bring_back(db: sqlite3.Connection, vault: Vault, provider: str, account: str, name: str | None) -> None:
    """Have a former key and the one that has replaced it change places.

    :raises ControlError: there is no former one, or one of them does not open.
    """
    slot = _slot(db, account, provider, name)
    former = replace(slot, former=True)
    old, new = _find(db, former), _find(db, slot)
    if old is None or new is None:
        raise ControlError("no former key is kept here. `metrion key list` shows what is stored.")
    for place, row in ((slot, old), (former, new)):
        ends_at = optional_moment(old.ends_at) if place.former else None
        sealed = vault.seal(account, place.called, _open(vault, row), may_create=False)
        further_keys.put(db, place, sealed, row.stored_at, ends_at)


def remove(
    db: sqlite3.Connection, provider: str, account: str, name: str | None = None, *, former: bool = False
) -> None:
    """Forget a stored key, and the one that it has replaced; only that with ``former``.

    :raises ControlError: none is stored.
    """
    slot = _slot(db, account, provider, name)
    further_keys.forget_ended(db)
    gone = further_keys.take(db, replace(slot, former=True))
    if not former:
        gone = further_keys.take(db, slot)
    if not gone:
        raise ControlError(_nothing(db, slot))


def records(db: sqlite3.Connection, vault: Vault, environment: Mapping[str, str], uses: Path) -> tuple[KeyRecord, ...]:
    """Return every key, stored or from the environment, by account, provider and name; shared ones first.

    ``uses``: the folder that knows when keys went out.
    """
    found = []
    overridden = set()
    for row in further_keys.rows(db):
        slot = row.slot
        if slot.is_plain and slot.account in (DEFAULT_ACCOUNT, ALL_ACCOUNTS):
            overridden.add(slot.provider)
        try:
            shown, problem = mask(_open(vault, row)), None
        except VaultError as error:
            shown, problem = None, str(error)
        found.append(
            KeyRecord(
                slot.provider,
                slot.account,
                shown,
                "stored",
                problem is None and not slot.former,
                datetime.fromisoformat(row.stored_at),
                problem,
                name=slot.name or None,
                former=slot.former,
                ends_at=optional_moment(row.ends_at),
                last_used_at=last_use(uses, _id(row)),
            )
        )
    for provider, key in environment.items():
        used = last_use(uses, _environment_id(provider))
        in_use = provider not in overridden
        found.append(KeyRecord(provider, DEFAULT_ACCOUNT, mask(key), "environment", in_use, last_used_at=used))
    return tuple(sorted(found, key=lambda each: (each.account, each.provider, each.name or "", not each.in_use)))


def opened(db: sqlite3.Connection, vault: Vault, environment: Mapping[str, str]) -> OpenKeys:
    """Open every key that may go out.

    One from the environment is the default account's, unless a stored one serves that account.

    :raises VaultError: a key does not open.
    """
    own: dict[tuple[str, str], str] = {}
    shared: dict[str, str] = {}
    named: dict[tuple[str, str, str], str] = {}
    ids: dict[str, str] = {}
    for row in further_keys.rows(db):
        slot = row.slot
        if slot.former:
            continue
        key = _open(vault, row)
        ids[key] = _id(row)
        if slot.name:
            named[slot.account, slot.provider, slot.name] = key
        elif slot.account == ALL_ACCOUNTS:
            shared[slot.provider] = key
        else:
            own[slot.account, slot.provider] = key
    for provider, key in environment.items():
        ids.setdefault(key, _environment_id(provider))
        if provider not in shared:
            own.setdefault((DEFAULT_ACCOUNT, provider), key)
    return OpenKeys(own, shared, named, ids)


def forget_uses(db: sqlite3.Connection, environment: Iterable[str], uses: Path) -> None:
    """Forget when keys went out that are no longer stored."""
    forget_others(uses, {_id(row) for row in further_keys.rows(db)} | set(map(_environment_id, environment)))


def _slot(db: sqlite3.Connection, account: str, provider: str, name: str | None) -> Slot:
    """Return the place for a key.

    :raises ControlError: there is no such account, or no key can be called so.
    """
    if account != ALL_ACCOUNTS:
        accounts.require(db, account)
    return Slot(account, provider, "" if name is None else check_name(name))


def _seal(db: sqlite3.Connection, vault: Vault, slot: Slot, key: str) -> None:
    others = [row for row in further_keys.rows(db) if row.slot != slot]
    other_sealed = db.execute("SELECT 1 FROM alert_channels LIMIT 1").fetchone()
    sealed = vault.seal(slot.account, slot.called, key, may_create=not others and other_sealed is None)
    for other in others:
        if other.sealed.master_id != sealed.master_id:
            # Two master keys in one database would need both files for ever: opening says which is missing.
            _open(vault, other)
    further_keys.put(db, slot, sealed, now_text())


def _open(vault: Vault, row: Row) -> str:
    return vault.open(row.slot.account, row.slot.called, row.sealed)


def _find(db: sqlite3.Connection, slot: Slot) -> Row | None:
    return next((row for row in further_keys.rows(db) if row.slot == slot), None)


def _id(row: Row) -> str:
    return key_id(row.slot.account, row.slot.provider, row.slot.name, row.stored_at)


def _environment_id(provider: str) -> str:
    return key_id("", provider, "", "environment")


def _nothing(db: sqlite3.Connection, slot: Slot) -> str:
    """Say that no key is in a place. What was typed is not repeated: it may be the key itself."""
    rows = [row.slot for row in further_keys.rows(db)]
    stored = {each.provider for each in rows if each.account == slot.account}
    shared = {each.provider for each in rows if each.account == ALL_ACCOUNTS and not each.name}
    return (
        (
            "no key for all accounts is stored"
            if slot.account == ALL_ACCOUNTS
            else f"account {slot.account!r} has no stored key"
        )
        + (" of this provider by this name." if slot.name else " of this provider.")
        + suggestion(slot.provider, stored)
        + (" It uses the one for all accounts, which `--for-all` removes." if slot.provider in shared else "")
        + " `metrion key list` shows what is stored."
    )
