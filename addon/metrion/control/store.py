"""Accounts, tokens and provider keys: commands change them, the proxy asks for a snapshot of them.

In: names and secrets that a person gave. Out: records that can be shown, and the :class:`AccessSnapshot` for the proxy.
Any number of processes may use one database at the same time; each change is one short transaction, on the disk when
the method returns. Never stored: a token. Never stored unsealed: a provider key. Never in an error: either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from metrion.admission import AccessSnapshot
from metrion.control import accounts, admins, provider_keys, tokens
from metrion.control.files import connection, make_private_file, make_private_folder, transaction
from metrion.control.names import DEFAULT_ACCOUNT
from metrion.control.records import (
    Account,
    AdminRecord,
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
from metrion.model import LabelRules, TokenRules
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

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the control database of ``settings``; make it, with its folder and the account `default`, if missing.

        A missing or wrong master key is not an error here, so that tokens can still be made and keys removed.
        :meth:`access_snapshot` raises it.

        :raises ControlError: the folder or the database cannot be made, read or brought up to date.
        """
        store = cls(
            settings.control_db,
            Vault(settings.master_key_path),
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
        return self._watch.access_snapshot()

    def _read_snapshot(self, db: sqlite3.Connection) -> AccessSnapshot:
        keys = provider_keys.opened(db, self._vault, self._environment_keys)
        return AccessSnapshot(tokens.granted(db), keys.own, keys.shared, keys.named, keys.ids)

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
        )
        with transaction(self._path) as db:
            return tokens.create(db, name, terms)

    def change_token(self, name: str, changed: Callable[[TokenTerms], TokenTerms]) -> TokenRecord:
        """Change the terms of a token; they hold from the next request on. Return the token as it is now.

        :raises ControlError: no token of this name is in use, or there is no such account.
        """
        with transaction(self._path) as db:
            tokens.change(db, name, changed)
        return next(token for token in self.tokens() if token.name == name and token.revoked_at is None)

    def rotate_token(self, name: str, keep_until: datetime) -> NewToken:
        """Give a token a new secret, which is in the answer and nowhere else; the earlier ones end at ``keep_until``.

        :raises ControlError: no token of this name is in use, or it has expired.
        """
        with transaction(self._path) as db:
            return tokens.rotate(db, name, keep_until)

    def revoke_token(self, name: str) -> None:
        """Refuse the token from now on, for good.

        :raises ControlError: no token of this name is in use.
        """
        with transaction(self._path) as db:
            tokens.revoke(db, name)

    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token that was ever made, oldest first."""
        with connection(self._path) as db:
            return tokens.records(db, self._counters)

    # --- admin tokens

    def create_admin(self, name: str | None = None) -> NewAdmin:
        """Make an admin token; its secret is in the answer and nowhere else. Without a name it is the next ``admin-N``.

        :raises ControlError: the name is taken or cannot be used.
        """
        with transaction(self._path) as db:
            return admins.create(db, name)

    def revoke_admin(self, name: str) -> None:
        """Refuse the admin token from now on, for good.

        :raises ControlError: no admin token of this name is in use.
        """
        with transaction(self._path) as db:
            admins.revoke(db, name)

    def admins(self) -> tuple[AdminRecord, ...]:
        """Every admin token that was ever made, oldest first."""
        with connection(self._path) as db:
            return admins.records(db)

    def admin_of(self, secret: str) -> str | None:
        """Return the name of an admin token that holds now; ``None``: it is none, or revoked.

        :raises ControlError: the database cannot be read. Whoever calls refuses.
        """
        with connection(self._path) as db:
            return admins.admin_of(db, secret)

    # --- provider keys

    def set_key(self, provider: str, key: str, account: str = DEFAULT_ACCOUNT, name: str | None = None) -> None:
        """Seal the key of ``account`` at ``provider``, or of :data:`ALL_ACCOUNTS`, in place of an older one.

        ``name``: beside the one that goes out for every token, for those that are tied to this name.

        :raises ControlError: there is no such account, or the master key is missing while other keys are stored.
        """
        with transaction(self._path) as db:
            provider_keys.store(db, self._vault, provider, key, account, name)
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    def rotate_key(self, provider: str, key: str, account: str, keep_until: datetime, name: str | None = None) -> None:
        """Put a key in the place of a stored one, which is kept until ``keep_until`` and can be brought back till then.

        :raises ControlError: none is stored, or it does not open.
        """
        with transaction(self._path) as db:
            provider_keys.rotate(db, self._vault, provider, key, account, name, keep_until)
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    def bring_key_back(self, provider: str, account: str, name: str | None = None) -> None:
        """Use the former key again; the one that had replaced it is the former one then.

        :raises ControlError: none is kept, or one of them does not open.
        """
        with transaction(self._path) as db:
            provider_keys.bring_back(db, self._vault, provider, account, name)

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
            provider_keys.forget_uses(db, self._environment_keys, self._key_use)

    # --- accounts

    def create_account(self, name: str, plan: str) -> None:
        """Make an account.

        :raises ControlError: the name is taken or cannot be used.
        """
        with transaction(self._path) as db:
            accounts.create(db, name, plan)

    def set_plan(self, name: str, plan: str) -> None:
        """Put an account on another plan; its tokens follow at once.

        :raises ControlError: there is no such account.
        """
        with transaction(self._path) as db:
            accounts.set_plan(db, name, plan)

    def remove_account(self, name: str) -> tuple[str, ...]:
        """Remove an account with its provider keys; return the providers whose keys are gone.

        :raises ControlError: there is no such account, it is the default one, or it has tokens.
        """
        with transaction(self._path) as db:
            return accounts.remove(db, name)

    def accounts(self) -> tuple[Account, ...]:
        """Every account, oldest first."""
        with connection(self._path) as db:
            return accounts.records(db)
