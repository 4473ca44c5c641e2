"""Accounts, tokens and provider keys: commands change them, the proxy asks for a snapshot of them.

In: names and secrets that a person gave. Out: records that can be shown, and the :class:`AccessSnapshot` for the proxy.
Any number of processes may use one database at the same time; each change is one short transaction, on the disk when
the method returns. Never stored: a token. Never stored unsealed: a provider key. Never in an error: either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from metrion.admission import AccessSnapshot
from metrion.admission.budgets import Budgets
from metrion.control import accounts, admins, budgets, guards, provider_keys, rotation, tokens
from metrion.control.audit import AuditEntry, differences, entries, record
from metrion.control.files import connection, make_private_file, make_private_folder, transaction
from metrion.control.moments import text_of
from metrion.control.names import DEFAULT_ACCOUNT
from metrion.control.records import (
    Account,
    AdminRecord,
    AdminScope,
    KeyRecord,
    Limits,
    NewAdmin,
    NewToken,
    TokenRecord,
    TokenTerms,
)
from metrion.control.schema import migrate
from metrion.control.vault import Vault
from metrion.control.watch import Watch
from metrion.errors import ControlError
from metrion.model import Budget, LabelRules, TokenRules
from metrion.settings import Settings


class ControlStore:
    """The control database of one home.

    :meth:`access_snapshot` keeps a connection open from its first call. A process that forks does so before that call,
    or opens a store of its own afterwards. Every other method opens the database and closes it again.
    """

    def __init__(
        self, path: Path, vault: Vault, environment_keys: Mapping[str, str], counters: Path, key_use: Path
    ) -> None:
        self._path = path
        self._counters = counters
        self._key_use = key_use
        self._vault = vault
        self._environment_keys = dict(environment_keys)
        self._watch = Watch(path, self._read_snapshot)
        self._primed = False
        self.count: Callable[[Sequence[Budget]], object] = lambda _: None
        """Counts what is spent of new budgets, before anybody goes by them: :mod:`metrion.budgets.changing`."""

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the control database of ``settings``; make it, with its folder and the account `default`, if missing.

        A missing or wrong master key is not an error here, so that tokens can still be made and keys removed.
        :meth:`access_snapshot` raises it.

        :raises ControlError: the folder or the database cannot be made, read or brought up to date.
        """
        store = cls(
            settings.control_db,
            Vault.of(settings),
            settings.environment_keys,
            settings.counters_dir,
            settings.key_use_dir,
        )
        try:
            for folder in (settings.home, settings.control_db.parent):
                make_private_folder(folder)
            make_private_file(settings.control_db)
        except OSError as error:
            raise ControlError(
                f"{error.filename}: cannot be made: {error.strerror}. Choose another folder with METRION_HOME."
            ) from error
        with connection(settings.control_db) as db:
            migrate(db, settings.control_db)
        return store

    def close(self) -> None:
        """Close the database."""
        self._watch.close()

    # --- for the proxy

    def use_environment_keys(self, keys: Mapping[str, str]) -> None:
        """Have other keys from the environment, from the next request on."""
        self._environment_keys = dict(keys)
        self._watch.close()  # the next look reads everything again

    def access_snapshot(self) -> AccessSnapshot:
        """Return who may call, with which key, as the last commit of any process left it.

        For every request, on the event loop: about 7 µs when nothing changed. See :mod:`metrion.control.watch`.

        :raises ControlError: the database has been unreadable for 5 s, or at the first call; or a stored key does not
            open. Whoever calls refuses the request.
        """
        if not self._primed:
            self._primed = True
            self._vault.prime()
        return self._watch.access_snapshot()

    def _read_snapshot(self, db: sqlite3.Connection) -> AccessSnapshot:
        keys = provider_keys.opened(db, self._vault, self._environment_keys)
        bounds = Budgets(budgets.records(db))
        limits = {(each.scope, each.name): each.limits for each in guards.records(db)}
        return AccessSnapshot(tokens.granted(db), keys.own, keys.shared, keys.named, keys.ids, bounds, limits)

    # --- tokens

    def create_token(
        self,
        name: str | None = None,
        *,
        account: str = DEFAULT_ACCOUNT,
        limits: Limits | None = None,
        labels: LabelRules | None = None,
        expires_at: datetime | None = None,
        rules: TokenRules | None = None,
        key: str | None = None,
        takes_unpriced: bool = False,
    ) -> NewToken:
        """Make a token; its secret is in the answer and nowhere else. Without a name it is the next ``token-N``.

        :raises ControlError: the name is taken or cannot be used, or there is no such account.
        """
        terms = TokenTerms(
            account=account,
            limits=limits or Limits(),
            labels=labels or LabelRules(),
            expires_at=expires_at,
            rules=rules or TokenRules(),
            key=key,
            takes_unpriced=takes_unpriced,
        )
        with transaction(self._path) as db:
            made = tokens.create(db, name, terms)
            self._count_of_token(db, made.name)
            record(db, "token.create", made.name, **tokens.said(terms))
            return made

    def change_token(self, name: str, changed: Callable[[TokenTerms], TokenTerms]) -> TokenRecord:
        """Change the terms of a token; they hold from the next request on. Return the token as it is now.

        :raises ControlError: no token of this name is in use, or there is no such account.
        """
        with transaction(self._path) as db:
            before = budgets.records(db)
            record(db, "token.set", name, **tokens.change(db, name, changed))
            if budgets.records(db) != before:
                self._count_of_token(db, name)
        return next(token for token in self.tokens() if token.name == name and token.revoked_at is None)

    def rotate_token(self, name: str, keep_until: datetime) -> NewToken:
        """Give a token a new secret, which is in the answer and nowhere else; the earlier ones end at ``keep_until``.

        :raises ControlError: no token of this name is in use, or it has expired.
        """
        with transaction(self._path) as db:
            made = tokens.rotate(db, name, keep_until)
            record(db, "token.rotate", name, keep_until=text_of(keep_until))
            return made

    def revoke_token(self, name: str) -> None:
        """Refuse the token from now on, for good.

        :raises ControlError: no token of this name is in use.
        """
        with transaction(self._path) as db:
            tokens.revoke(db, name)
            record(db, "token.revoke", name)

    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token that was ever made, oldest first."""
        with connection(self._path) as db:
            return tokens.records(db, self._counters)

    # --- budgets

    def set_budget(self, budget: Budget) -> Budget:
        """Store a budget in the place of the one for the same thing and kind of span; return it with its id.

        :raises ControlError: it cannot hold, or what it is for does not exist.
        """
        with transaction(self._path) as db:
            before = budgets.like(db, budget)
            made = budgets.put(db, budget)
            terms = budgets.said(made)
            if before is not None:
                terms = {"per": made.per, **differences(budgets.said(before), terms)}
            record(db, "budget.set", f"{made.scope} {made.name}", **terms)
            self.count([made])
            return made

    def remove_budget(self, scope: str, name: str, per: str | None = None) -> tuple[Budget, ...]:
        """Remove the budgets of something, or the one for a kind of span; return them.

        :raises ControlError: there is none.
        """
        with transaction(self._path) as db:
            gone = budgets.remove(db, scope, name, per)
            usd = [budgets.said(each)["usd"] for each in gone]
            record(db, "budget.remove", f"{scope} {name}", per=[each.per for each in gone], usd=usd)
            return gone

    def budgets(self) -> tuple[Budget, ...]:
        """Every budget, oldest first."""
        with connection(self._path) as db:
            return budgets.records(db)

    def _count_of_token(self, db: sqlite3.Connection, name: str) -> None:
        if own := [each for each in budgets.records(db) if (each.scope, each.name) == ("token", name)]:
            self.count(own)

    # --- admin tokens

    def create_admin(self, name: str | None = None, scope: AdminScope = "write") -> NewAdmin:
        """Make an admin token; its secret is in the answer and nowhere else. Without a name it is the next ``admin-N``.

        :raises ControlError: the name is taken or cannot be used.
        """
        with transaction(self._path) as db:
            made = admins.create(db, name, scope)
            record(db, "admin.create", made.name, scope=scope)
            return made

    def revoke_admin(self, name: str) -> None:
        """Refuse the admin token from now on, for good.

        :raises ControlError: no admin token of this name is in use.
        """
        with transaction(self._path) as db:
            admins.revoke(db, name)
            record(db, "admin.revoke", name)

    def admins(self) -> tuple[AdminRecord, ...]:
        """Every admin token that was ever made, oldest first."""
        with connection(self._path) as db:
            return admins.records(db)

    def admin_of(self, secret: str) -> str | None:
        """Return the name of an admin token that holds now; ``None``: it is none, or revoked.

        :raises ControlError: the database cannot be read. Whoever calls refuses.
        """
        found = self.find_admin(secret)
        return None if found is None else found.name

    def find_admin(self, secret: str) -> AdminRecord | None:
        """Return the admin token that holds now; ``None``: it is none, or revoked.

        :raises ControlError: the database cannot be read. Whoever calls refuses.
        """
        with connection(self._path) as db:
            return admins.find(db, secret)

    def cache_secret(self) -> bytes:
        """Return the key of what the cache of answers keeps.

        :raises ControlError: the database cannot be read, or the master key is missing.
        """
        with connection(self._path) as db:
            sealed = db.execute(
                "SELECT 1 FROM provider_keys UNION ALL SELECT 1 FROM shared_keys UNION ALL SELECT 1 FROM alert_channels"
            ).fetchone()
            return self._vault.derived(b"answer cache", may_create=sealed is None)

    # --- provider keys

    def set_key(self, provider: str, key: str, account: str = DEFAULT_ACCOUNT, name: str | None = None) -> None:
        """Seal the key of ``account`` at ``provider``, or of :data:`ALL_ACCOUNTS`, in place of an older one.

        ``name``: beside the one that goes out for every token, for those that are tied to this name.

        :raises ControlError: there is no such account, or the master key is missing while other keys are stored.
        """
        with transaction(self._path) as db:
            provider_keys.store(db, self._vault, provider, key, account, name)
            record(db, "key.set", provider, account=account, name=name)
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    def rotate_key(self, provider: str, key: str, account: str, keep_until: datetime, name: str | None = None) -> None:
        """Put a key in the place of a stored one, which is kept until ``keep_until`` and can be brought back till then.

        :raises ControlError: none is stored, or it does not open.
        """
        with transaction(self._path) as db:
            provider_keys.rotate(db, self._vault, provider, key, account, name, keep_until)
            record(db, "key.rotate", provider, account=account, name=name, keep_until=text_of(keep_until))
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    def bring_key_back(self, provider: str, account: str, name: str | None = None) -> None:
        """Use the former key again; the one that had replaced it is the former one then.

        :raises ControlError: none is kept, or one of them does not open.
        """
        with transaction(self._path) as db:
            provider_keys.bring_back(db, self._vault, provider, account, name)
            record(db, "key.bring-back", provider, account=account, name=name)

    def keys(self) -> tuple[KeyRecord, ...]:
        """Every provider key, stored or from the environment, by account and provider; shared ones first."""
        with connection(self._path) as db:
            return provider_keys.records(db, self._vault, self._environment_keys, self._key_use)

    def remove_key(
        self, provider: str, account: str = DEFAULT_ACCOUNT, name: str | None = None, *, former: bool = False
    ) -> None:
        """Forget a stored key of ``account``, or of :data:`ALL_ACCOUNTS`, and the one that it has replaced.

        ``former``: only the latter. Works without the master key.

        :raises ControlError: none is stored.
        """
        with transaction(self._path) as db:
            provider_keys.remove(db, provider, account, name, former=former)
            record(db, "key.remove", provider, account=account, name=name, former=former or None)
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    def rotate_master_key(self) -> rotation.Rotated:
        """Seal everything under a new master key while any number of processes go on; resumes what was interrupted.

        :raises VaultError: a secret does not open, or there is no second key to go to.
        """
        return rotation.rotate(self._path, self._vault)

    # --- accounts

    def create_account(self, name: str, plan: str) -> None:
        """Make an account.

        :raises ControlError: the name is taken or cannot be used.
        """
        with transaction(self._path) as db:
            accounts.create(db, name, plan)
            record(db, "account.create", name, plan=plan)

    def set_plan(self, name: str, plan: str) -> None:
        """Put an account on another plan; its tokens follow at once.

        :raises ControlError: there is no such account.
        """
        with transaction(self._path) as db:
            before = accounts.set_plan(db, name, plan)
            record(db, "account.set", name, **differences({"plan": before}, {"plan": plan}))

    def remove_account(self, name: str) -> tuple[str, ...]:
        """Remove an account with its provider keys; return the providers whose keys are gone.

        :raises ControlError: there is no such account, it is the default one, or it has tokens.
        """
        with transaction(self._path) as db:
            budgets.forget(db, "account", name)
            providers = accounts.remove(db, name)
            record(db, "account.remove", name, keys=list(providers))
            return providers

    def accounts(self) -> tuple[Account, ...]:
        """Every account, oldest first."""
        with connection(self._path) as db:
            return accounts.records(db)

    # --- the audit log

    def audit(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        who: str | None = None,
        what: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[AuditEntry, ...]:
        """Return who changed what, the latest first: see :func:`metrion.control.audit.entries`."""
        return entries(self._path, since=since, until=until, who=who, what=what, before=before, limit=limit)
