"""The tokens of ``control.db``: an open transaction in; a change of the table, records, or what the proxy grants, out.

A token is found by the digest of its secret. One that was rotated has earlier secrets, which hold until a moment each;
all secrets of a token share its name, its terms and its counters. Never stored: a secret.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from metrion.admission import Token, token_digest
from metrion.control import accounts, budgets, further_keys
from metrion.control.audit import differences
from metrion.control.counters import last_counted
from metrion.control.moments import now_text, optional_moment, optional_text, text_of
from metrion.control.names import check_name, suggestion
from metrion.control.records import Limits, NewToken, TokenRecord, TokenTerms
from metrion.errors import ControlError, NameTakenError, UnknownNameError
from metrion.model import LabelRules, TokenRules

_TOKEN_PREFIX = "sk-metrion-"  # noqa: S105 -- how every token begins
_SHOWN_CHARACTERS = 4
"""How many of a token's last characters lists show."""
_NO_LABEL_RULES = LabelRules()
_NO_RULES = TokenRules()


def create(db: sqlite3.Connection, name: str | None, terms: TokenTerms) -> NewToken:
    """Make a token. Without a name it is the next ``token-N``.

    :raises ControlError: the name is taken or cannot be used, or there is no such account.
    """
    if name is not None:
        check_name(name)
    _require(db, terms)
    names = dict(db.execute("SELECT name, max(revoked_at IS NULL) FROM tokens GROUP BY name"))
    if name is None:
        # A revoked token keeps its name unless a person reuses it: events are told apart by names.
        name = next(free for n in range(1, len(names) + 2) if (free := f"token-{n}") not in names)
    elif names.get(name):
        raise NameTakenError(
            f"a token named {name!r} exists: choose another name, or run `metrion token revoke {name}` first."
        )
    secret = _new_secret()
    row = {"name": name, "created_at": now_text()} | _of_secret(secret) | _of_terms(terms)
    db.execute(f"INSERT INTO tokens ({', '.join(row)}) VALUES ({', '.join(f':{column}' for column in row)})", row)  # noqa: S608 -- our own names
    budgets.follow_token(db, name, terms.limits.monthly_budget_usd)
    return NewToken(name, terms.account, secret)


def change(db: sqlite3.Connection, name: str, changed: Callable[[TokenTerms], TokenTerms]) -> dict[str, object]:
    """Put new terms in the place of a token's old ones; return what differs, by column.

    :raises ControlError: no token of this name is in use, or there is no such account.
    """
    row = _in_use(db, name)
    before = _terms(row)
    terms = changed(before)
    _require(db, terms)
    columns = _of_terms(terms)
    _update(db, row["id"], columns)
    if (usd := terms.limits.monthly_budget_usd) != before.limits.monthly_budget_usd:
        budgets.follow_token(db, name, usd)
    return differences(dict(row), columns)


def said(terms: TokenTerms) -> dict[str, object]:
    """Return what an audit says of the terms of a new token: those that it has."""
    return {name: value for name, value in _of_terms(terms).items() if value is not None and value is not False}


def rotate(db: sqlite3.Connection, name: str, keep_until: datetime) -> NewToken:
    """Give a token a new secret. What it had before is valid until ``keep_until``, and nothing of it for longer.

    :raises ControlError: no token of this name is in use, or it has expired.
    """
    row = _in_use(db, name)
    expires_at = optional_moment(row["expires_at"])
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ControlError(
            f"the token {name!r} has expired, and a new secret would have, too: "
            f"`metrion token set {name} --expires WHEN` first."
        )
    ends_at = text_of(keep_until)
    db.execute("UPDATE former_secrets SET ends_at = min(ends_at, ?) WHERE token = ?", (ends_at, row["id"]))
    db.execute("INSERT INTO former_secrets VALUES (?, ?, ?)", (row["digest"], row["id"], ends_at))
    secret = _new_secret()
    _update(db, row["id"], {"counted_as": row["counted_as"] or row["digest"]} | _of_secret(secret))
    return NewToken(name, row["account"], secret)


def revoke(db: sqlite3.Connection, name: str) -> None:
    """Refuse the token from now on, for good, with all secrets that it ever had.

    :raises ControlError: no token of this name is in use.
    """
    _update(db, _in_use(db, name)["id"], {"revoked_at": now_text()})
    budgets.forget(db, "token", name)


def records(db: sqlite3.Connection, counters: Path) -> tuple[TokenRecord, ...]:
    """Return every token that was ever made, oldest first; ``counters``: the folder of their counts."""
    rows = db.execute("SELECT t.*, a.plan FROM tokens t JOIN accounts a ON a.name = t.account ORDER BY t.id").fetchall()
    return tuple(
        TokenRecord(
            name=row["name"],
            account=row["account"],
            plan=row["plan"],
            shown=f"{_TOKEN_PREFIX}…{row['tail']}",
            limits=_limits(row),
            labels=_labels(row),
            takes_unpriced=bool(row["takes_unpriced"]),
            created_at=datetime.fromisoformat(row["created_at"]),
            expires_at=optional_moment(row["expires_at"]),
            revoked_at=optional_moment(row["revoked_at"]),
            last_used_at=last_counted(counters, row["counted_as"] or row["digest"]),
            rules=_rules(row),
            key=row["key_name"],
        )
        for row in rows
    )


def granted(db: sqlite3.Connection) -> dict[bytes, Token]:
    """Return what each secret grants, by its digest; earlier secrets and revoked tokens included."""
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    tokens: dict[bytes, Token] = {}
    by_id: dict[int, Token] = {}
    for row in cursor.execute("SELECT t.*, a.plan FROM tokens t JOIN accounts a ON a.name = t.account"):
        labels, rules = _labels(row), _rules(row)
        tokens[row["digest"]] = by_id[row["id"]] = Token(
            name=row["name"],
            account=row["account"],
            plan=row["plan"],
            requests_per_minute=row["requests_per_minute"],
            requests_per_month=row["requests_per_month"],
            monthly_budget_usd=_decimal(row["monthly_budget_usd"]),
            timeout=row["timeout"],
            revoked=row["revoked_at"] is not None,
            expires_at=optional_moment(row["expires_at"]),
            labels=None if labels == _NO_LABEL_RULES else labels,
            takes_unpriced=bool(row["takes_unpriced"]),
            counted_as=row["counted_as"],
            rules=None if rules == _NO_RULES else rules,
            key=row["key_name"],
        )
    for digest, token_id, ends_at in db.execute("SELECT digest, token, ends_at FROM former_secrets"):
        token, end = by_id[token_id], datetime.fromisoformat(ends_at)
        end = end if token.expires_at is None else min(end, token.expires_at)
        tokens[digest] = replace(token, expires_at=end, rotated=True)
    return tokens


def _require(db: sqlite3.Connection, terms: TokenTerms) -> None:
    """Return if there are the account and the key that a token is to have.

    :raises ControlError: one of them is missing.
    """
    accounts.require(db, terms.account)
    if terms.key is not None:
        further_keys.require(db, terms.account, terms.key)


def _in_use(db: sqlite3.Connection, name: str) -> sqlite3.Row:
    """Return the row of the token of this name that is not revoked."""
    check_name(name)
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM tokens WHERE name = ? AND revoked_at IS NULL", (name,)
    ).fetchone()
    if row is not None:
        return row
    revoked = db.execute("SELECT max(revoked_at) FROM tokens WHERE name = ?", (name,)).fetchone()[0]
    if revoked:
        raise UnknownNameError(
            f"the token {name!r} is revoked already, since {revoked}. `metrion token create {name}` makes a new one."
        )
    names = [row[0] for row in db.execute("SELECT name FROM tokens WHERE revoked_at IS NULL")]
    raise UnknownNameError(
        f"there is no token named {name!r}.{suggestion(name, names)} `metrion token list` shows them."
    )


def _update(db: sqlite3.Connection, token_id: int, values: Mapping[str, object]) -> None:
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    db.execute(f"UPDATE tokens SET {assignments} WHERE id = :id", {**values, "id": token_id})  # noqa: S608 -- our own names


def _new_secret() -> str:
    return _TOKEN_PREFIX + secrets.token_urlsafe(32)


def _of_secret(secret: str) -> dict[str, object]:
    """Return the columns that say which secret a token has."""
    return {"digest": token_digest(secret), "tail": secret[-_SHOWN_CHARACTERS:]}


def _of_terms(terms: TokenTerms) -> dict[str, object]:
    """Return the columns that can be changed."""
    limits, labels, rules, budget = terms.limits, terms.labels, terms.rules, terms.limits.monthly_budget_usd
    return {
        "account": terms.account,
        "requests_per_minute": limits.requests_per_minute,
        "requests_per_month": limits.requests_per_month,
        "monthly_budget_usd": None if budget is None else format(budget, "f"),
        "timeout": limits.timeout,
        "expires_at": optional_text(terms.expires_at),
        "takes_unpriced": terms.takes_unpriced,
        "user_label": labels.user,
        "tags": json.dumps(dict(labels.tags), ensure_ascii=False) if labels.tags else None,
        "label_fixed": labels.fixed,
        "allowed_labels": _array(labels.allowed),
        "allowed_providers": _array(rules.providers),
        "allowed_models": _array(rules.models),
        "allowed_operations": _array(rules.operations),
        "allowed_networks": _array(rules.networks),
        "key_name": terms.key,
    }


def _terms(row: sqlite3.Row) -> TokenTerms:
    return TokenTerms(
        account=row["account"],
        limits=_limits(row),
        labels=_labels(row),
        expires_at=optional_moment(row["expires_at"]),
        rules=_rules(row),
        key=row["key_name"],
        takes_unpriced=bool(row["takes_unpriced"]),
    )


def _limits(row: sqlite3.Row) -> Limits:
    return Limits(
        requests_per_minute=row["requests_per_minute"],
        requests_per_month=row["requests_per_month"],
        monthly_budget_usd=_decimal(row["monthly_budget_usd"]),
        timeout=row["timeout"],
    )


def _labels(row: sqlite3.Row) -> LabelRules:
    return LabelRules(
        user=row["user_label"],
        tags=json.loads(row["tags"] or "{}"),
        fixed=bool(row["label_fixed"]),
        allowed=_texts(row["allowed_labels"]),
    )


def _rules(row: sqlite3.Row) -> TokenRules:
    return TokenRules(
        providers=_texts(row["allowed_providers"]),
        models=_texts(row["allowed_models"]),
        operations=_texts(row["allowed_operations"]),
        networks=_texts(row["allowed_networks"]),
    )


def _array(texts: tuple[str, ...]) -> str | None:
    return json.dumps(texts, ensure_ascii=False) if texts else None


def _texts(array: str | None) -> tuple[str, ...]:
    return tuple(json.loads(array)) if array else ()


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
