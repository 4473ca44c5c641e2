"""Accounts, tokens and provider keys: commands change them, the proxy asks for a snapshot of them.

In: names and secrets that a person gave. Out: records that can be shown, and the :class:`AccessSnapshot` for the proxy.
Any number of processes may use one database at the same time; each change is one short transaction, on the disk when
the method returns. Never stored: a token. Never stored unsealed: a provider key. Never in an error: either.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Self

from metrion.admission import AccessSnapshot, Token, mask, token_digest
from metrion.control.files import connection, make_private_file, make_private_folder, transaction
from metrion.control.names import DEFAULT_ACCOUNT, check_name, suggestion
from metrion.control.records import Account, KeyRecord, Limits, NewToken, TokenRecord
from metrion.control.schema import migrate
from metrion.control.vault import Sealed, Vault
from metrion.control.watch import Watch
from metrion.errors import ControlError, VaultError
from metrion.settings import Settings

_TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 -- how every token begins
_SHOWN_CHARACTERS = 4
"""How many of a token's last characters lists show."""


class ControlStore:
    """The control database of one home.

    :meth:`access_snapshot` keeps a connection open from its first call. A process that forks does so before that call,
    or opens a store of its own afterwards. Every other method opens the database and closes it again.
    """

    def __init__(self, path: Path, vault: Vault, environment_keys: Mapping[str, str]) -> None:
        self._path = path
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
        store = cls(settings.control_db, Vault(settings.master_key_path), settings.environment_keys)
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

    def access_snapshot(self) -> AccessSnapshot:
        """Return who may call, with which key, as the last commit of any process left it.

        For every request, on the event loop: about 7 µs when nothing changed. See :mod:`metrion.control.watch`.

        :raises ControlError: the database has been unreadable for 5 s, or at the first call; or a stored key does not
            open. Whoever calls refuses the request.
        """
        return self._watch.access_snapshot()

    def _read_snapshot(self, db: sqlite3.Connection) -> AccessSnapshot:
        keys = {(DEFAULT_ACCOUNT, provider): key for provider, key in self._environment_keys.items()}
        for account, provider, sealed, _ in _sealed_keys(db):
            keys[account, provider] = self._vault.open(account, provider, sealed)
        rows = db.execute(
            "SELECT t.digest, t.name, t.account, a.plan, requests_per_minute, requests_per_month, monthly_budget_usd, "
            "timeout, revoked_at IS NOT NULL, expires_at FROM tokens t JOIN accounts a ON a.name = t.account"
        )
        tokens = {
            digest: Token(
                name=name,
                account=account,
                plan=plan,
                requests_per_minute=per_minute,
                requests_per_month=per_month,
                monthly_budget_usd=_decimal(budget),
                timeout=timeout,
                revoked=bool(revoked),
                expires_at=_optional_time(expires_at),
            )
            for digest, name, account, plan, per_minute, per_month, budget, timeout, revoked, expires_at in rows
        }
        return AccessSnapshot(tokens=tokens, provider_keys=keys)

    # --- tokens

    def create_token(
        self,
        name: str | None = None,
        *,
        account: str = DEFAULT_ACCOUNT,
        limits: Limits | None = None,
        expires_at: datetime | None = None,
    ) -> NewToken:
        """Make a token; its secret is in the answer and nowhere else. Without a name it is the next ``token-N``.

        :raises ControlError: the name is taken or cannot be used, or there is no such account.
        """
        if name is not None:
            check_name(name)
        limits = limits or Limits()
        budget = limits.monthly_budget_usd
        secret = _TOKEN_PREFIX + secrets.token_urlsafe(32)
        with transaction(self._path) as db:
            _require_account(db, account)
            names = dict(db.execute("SELECT name, max(revoked_at IS NULL) FROM tokens GROUP BY name"))
            if name is None:
                # A revoked token keeps its name unless a person reuses it: events are told apart by names.
                name = next(free for n in range(1, len(names) + 2) if (free := f"token-{n}") not in names)
            elif names.get(name):
                raise ControlError(
                    f"a token named {name!r} exists: choose another name, or run `metrion token revoke {name}` first."
                )
            db.execute(
                "INSERT INTO tokens (digest, tail, name, account, requests_per_minute, requests_per_month, "
                "monthly_budget_usd, timeout, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    token_digest(secret),
                    secret[-_SHOWN_CHARACTERS:],
                    name,
                    account,
                    limits.requests_per_minute,
                    limits.requests_per_month,
                    None if budget is None else format(budget, "f"),
                    limits.timeout,
                    _now(),
                    None if expires_at is None else _text(expires_at),
                ),
            )
        return NewToken(name, account, secret)

    def tokens(self) -> tuple[TokenRecord, ...]:
        """Every token that was ever made, oldest first."""
        with connection(self._path) as db:
            rows = db.execute(
                "SELECT t.*, a.plan FROM tokens t JOIN accounts a ON a.name = t.account ORDER BY t.id"
            ).fetchall()
        return tuple(
            TokenRecord(
                name=row["name"],
                account=row["account"],
                plan=row["plan"],
                shown=f"{_TOKEN_PREFIX}…{row['tail']}",
                limits=Limits(
                    requests_per_minute=row["requests_per_minute"],
                    requests_per_month=row["requests_per_month"],
                    monthly_budget_usd=_decimal(row["monthly_budget_usd"]),
                    timeout=row["timeout"],
                ),
                created_at=datetime.fromisoformat(row["created_at"]),
                expires_at=_optional_time(row["expires_at"]),
                revoked_at=_optional_time(row["revoked_at"]),
            )
            for row in rows
        )

    def revoke_token(self, name: str) -> None:
        """Refuse the token from now on, for good.

        :raises ControlError: no token of this name is in use.
        """
        check_name(name)
        with transaction(self._path) as db:
            changed = db.execute(
                "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (_now(), name)
            )
            if not changed.rowcount:
                revoked = db.execute("SELECT max(revoked_at) FROM tokens WHERE name = ?", (name,)).fetchone()[0]
                if revoked:
                    raise ControlError(f"the token {name!r} is revoked already, since {revoked}.")
                names = [row[0] for row in db.execute("SELECT name FROM tokens WHERE revoked_at IS NULL")]
                raise ControlError(
                    f"there is no token named {name!r}.{suggestion(name, names)} `metrion token list` shows them."
                )

    # --- provider keys

    def set_key(self, provider: str, key: str, account: str = DEFAULT_ACCOUNT) -> None:
        """Seal the key of ``account`` at ``provider`` and store it in place of an older one.

        :raises ControlError: there is no such account, or the master key is missing while other keys are stored.
        """
        with transaction(self._path) as db:
            _require_account(db, account)
            others = [
                (row_account, row_provider, sealed)
                for row_account, row_provider, sealed, _ in _sealed_keys(db)
                if (row_account, row_provider) != (account, provider)
            ]
            sealed = self._vault.seal(account, provider, key, may_create=not others)
            for row_account, row_provider, other in others:
                if other.master_id != sealed.master_id:
                    # Two master keys in one database would need both files for ever: opening says which is missing.
                    self._vault.open(row_account, row_provider, other)
            db.execute(
                "INSERT OR REPLACE INTO provider_keys VALUES (?, ?, ?, ?, ?)",
                (account, provider, sealed.master_id, sealed.box, _now()),
            )

    def keys(self) -> tuple[KeyRecord, ...]:
        """Every provider key, stored or from the environment, by account and provider."""
        records = []
        stored = set()
        with connection(self._path) as db:
            for account, provider, sealed, stored_at in _sealed_keys(db):
                stored.add((account, provider))
                try:
                    shown, problem = mask(self._vault.open(account, provider, sealed)), None
                except VaultError as error:
                    shown, problem = None, str(error)
                records.append(KeyRecord(provider, account, shown, "stored", problem is None, stored_at, problem))
        for provider, key in self._environment_keys.items():
            in_use = (DEFAULT_ACCOUNT, provider) not in stored
            records.append(KeyRecord(provider, DEFAULT_ACCOUNT, mask(key), "environment", in_use))
        return tuple(sorted(records, key=lambda record: (record.account, record.provider, not record.in_use)))

    def remove_key(self, provider: str, account: str = DEFAULT_ACCOUNT) -> None:
        """Forget a stored key. Works without the master key.

        :raises ControlError: none is stored.
        """
        with transaction(self._path) as db:
            _require_account(db, account)
            gone = db.execute("DELETE FROM provider_keys WHERE account = ? AND provider = ?", (account, provider))
            if not gone.rowcount:
                stored = [
                    row[0] for row in db.execute("SELECT provider FROM provider_keys WHERE account = ?", (account,))
                ]
                # What was typed is not repeated: it may be the key itself.
                raise ControlError(
                    f"account {account!r} has no stored key of this provider.{suggestion(provider, stored)} "
                    "`metrion key list` shows what is stored."
                )

    # --- accounts

    def create_account(self, name: str, plan: str) -> None:
        """Make an account.

        :raises ControlError: the name is taken or cannot be used.
        """
        check_name(name)
        with transaction(self._path) as db:
            added = db.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", (name, plan, _now()))
            if not added.rowcount:
                raise ControlError(
                    f"an account named {name!r} exists: `metrion account set {name} --plan {plan}` changes its plan."
                )

    def set_plan(self, name: str, plan: str) -> None:
        """Put an account on another plan; its tokens follow at once.

        :raises ControlError: there is no such account.
        """
        with transaction(self._path) as db:
            _require_account(db, name)
            db.execute("UPDATE accounts SET plan = ? WHERE name = ?", (plan, name))

    def accounts(self) -> tuple[Account, ...]:
        """Every account, oldest first."""
        with connection(self._path) as db:
            return tuple(
                Account(name, plan, datetime.fromisoformat(created_at))
                for name, plan, created_at in db.execute(
                    "SELECT name, plan, created_at FROM accounts ORDER BY created_at, name"
                )
            )


def _sealed_keys(db: sqlite3.Connection) -> Iterator[tuple[str, str, Sealed, datetime]]:
    for account, provider, master_id, box, stored_at in db.execute(
        "SELECT account, provider, master_id, box, stored_at FROM provider_keys"
    ):
        yield account, provider, Sealed(master_id, box), datetime.fromisoformat(stored_at)


def _require_account(db: sqlite3.Connection, name: str) -> None:
    check_name(name)
    names = [row[0] for row in db.execute("SELECT name FROM accounts")]
    if name not in names:
        raise ControlError(
            f"there is no account named {name!r}.{suggestion(name, names)} "
            f"`metrion account list` shows them, `metrion account create {name}` makes one."
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> str:
    return _text(datetime.now(UTC))


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
