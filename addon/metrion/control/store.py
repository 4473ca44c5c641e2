"""Accounts, tokens and provider keys: commands change them, the proxy asks for a snapshot of them.

In: names and secrets that a person gave. Out: records that can be shown, and the :class:`AccessSnapshot` for the proxy.
Any number of processes may use one database at the same time; each change is one short transaction, on the disk when
the method returns. Never stored: a token. Never stored unsealed: a provider key. Never in an error: either.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Self

from metrion.admission import AccessSnapshot, Token, mask, token_digest
from metrion.control.schema import migrate
from metrion.control.vault import Sealed, Vault
from metrion.control.watch import Watch
from metrion.errors import ControlError, VaultError
from metrion.settings import Settings

DEFAULT_ACCOUNT = "default"
_TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 - how every token begins
_TAIL = 4

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a token may use. ``None`` is the plan's limit, 0 is no limit."""

    requests_per_minute: int | None = None
    requests_per_month: int | None = None
    monthly_budget_usd: Decimal | None = None
    timeout: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made, the only time its secret is known."""

    name: str
    account: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as it may be shown. Times are aware and in UTC."""

    name: str
    account: str
    plan: str
    shown: str
    """The masked token: ``sk-metrion-…abcd``."""
    limits: Limits
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A provider key as it may be shown."""

    provider: str
    account: str
    shown: str | None
    """The masked key; ``None`` when it does not open."""
    source: str
    """``stored`` or ``environment``."""
    in_use: bool
    """False for a key from the environment that a stored one overrides, and for one that does not open."""
    stored_at: datetime | None = None
    problem: str | None = None
    """Why it does not open, and the way out."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom tokens and provider keys belong to."""

    name: str
    plan: str
    created_at: datetime


def check_name(name: str) -> str:
    """Return ``name`` if an account or a token may be called so.

    :raises ControlError: it may not; a name that may be a pasted secret is not repeated.
    """
    if name.startswith("sk-"):
        raise ControlError("this looks like a token or a key, not like a name: give a name such as `laptop`.")
    if not _NAME.fullmatch(name):
        said = repr(name) if len(name) <= 64 else "this name"
        raise ControlError(
            f"{said} cannot be used: a name is 1 to 64 letters, digits and `._-@`, and begins with a letter or a digit."
        )
    return name


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'openai'?`` when ``word`` is nearly one of ``choices``, else nothing."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class ControlStore:
    """The control database of one home.

    :meth:`directory` keeps a connection open from its first call; a process that forks does so before that, or opens a
    store of its own afterwards. Every other method opens the database and closes it again.
    """

    def __init__(self, path: Path, vault: Vault, environment_keys: Mapping[str, str]) -> None:
        self._path = path
        self._vault = vault
        self._environment_keys = dict(environment_keys)
        self._watch = Watch(path, self._read_directory)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the control database of ``settings``; make it, with its folder and the account `default`, if missing.

        A missing or wrong master key is no error here, so that tokens can still be made and keys removed; it is one in
        :meth:`directory`.

        :raises ControlError: the folder or the database cannot be made, read or brought up to date.
        """
        store = cls(settings.control_db, Vault(settings.master_key_path), settings.environment_keys)
        try:
            for folder in (settings.home, settings.control_db.parent):
                _make_private_folder(folder)
            _make_private_file(settings.control_db)
        except OSError as error:
            raise ControlError(
                f"{error.filename}: cannot be made: {error.strerror}. Choose another folder with METRION_HOME."
            ) from error
        with store._database() as db:
            migrate(db, settings.control_db)
        return store

    def close(self) -> None:
        """Let go of the database."""
        self._watch.close()

    # --- for the proxy

    def directory(self) -> AccessSnapshot:
        """Return who may call, with which key, as the last commit of any process left it.

        For every request, on the event loop: about 7 µs when nothing changed. See :mod:`metrion.control.watch`.

        :raises ControlError: the database has been unreadable for 5 s, or at the first call; or a stored key does not
            open. The caller refuses the request.
        """
        return self._watch.directory()

    def _read_directory(self, db: sqlite3.Connection) -> AccessSnapshot:
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
        with self._transaction() as db:
            _require_account(db, account)
            names = dict(db.execute("SELECT name, max(revoked_at IS NULL) FROM tokens GROUP BY name"))
            if name is None:
                # Names of revoked tokens are not taken again unasked: events are told apart by them.
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
                    secret[-_TAIL:],
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
        with self._database() as db:
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
        with self._transaction() as db:
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
        """Seal and store the key of ``account`` at ``provider``, in place of an older one.

        :raises ControlError: there is no such account, or the master key is missing while other keys are stored.
        """
        with self._transaction() as db:
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
        with self._database() as db:
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
        with self._transaction() as db:
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
        with self._transaction() as db:
            added = db.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", (name, plan, _now()))
            if not added.rowcount:
                raise ControlError(
                    f"an account named {name!r} exists: `metrion account set {name} --plan {plan}` changes its plan."
                )

    def set_plan(self, name: str, plan: str) -> None:
        """Put an account on another plan; its tokens follow at once.

        :raises ControlError: there is no such account.
        """
        with self._transaction() as db:
            _require_account(db, name)
            db.execute("UPDATE accounts SET plan = ? WHERE name = ?", (plan, name))

    def accounts(self) -> tuple[Account, ...]:
        """Every account, oldest first."""
        with self._database() as db:
            return tuple(
                Account(name, plan, datetime.fromisoformat(created_at))
                for name, plan, created_at in db.execute(
                    "SELECT name, plan, created_at FROM accounts ORDER BY created_at, name"
                )
            )

    # --- the database

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA foreign_keys = on")
                db.execute("PRAGMA synchronous = full")  # a power cut must not bring a revoked token back
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise ControlError(_explain(self._path, error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db  # after an exception, closing rolls back
            db.execute("COMMIT")


# What SQLite's primary error codes mean for a person, and the way out.
_EXPLANATIONS: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: f"another process has held it for {_BUSY_SECONDS:.0f} s. Try again when that one is done",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Look at the permissions of the file and of its folder",
    sqlite3.SQLITE_CORRUPT: "damaged. Put a backup in its place while nothing runs",
    sqlite3.SQLITE_FULL: "the disk is full. Make room and try again",
    sqlite3.SQLITE_NOTADB: "not an SQLite database. Put a backup in its place, or move it away to start anew",
    sqlite3.SQLITE_PERM: "cannot be opened. Look at the permissions of the file and of its folder",
    sqlite3.SQLITE_READONLY: "cannot be written. Look at the permissions of the file and of its folder",
}


def _explain(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)  # errors of the Python module itself have none
    explanation = None if code is None else _EXPLANATIONS.get(code & 0xFF)
    return f"{path}: {explanation or error}."


def _make_private_folder(folder: Path) -> None:
    """Make it with mode 0700, whatever the umask.

    One that a person made for us, empty or with the configuration, becomes private too. One that holds anything else
    keeps its mode: it may be shared on purpose, and each secret file in it is private by itself.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
        if {entry.name for entry in folder.iterdir()} <= {"metrion.yaml"} and _is_ours(folder):
            folder.chmod(0o700)


def _is_ours(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _make_private_file(path: Path) -> None:
    """Make an empty database with mode 0600 before SQLite would make one with the umask's; it copies the mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077 and _is_ours(path):
            path.chmod(0o600)


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
