"""The guard's limits of single tokens and accounts in ``control.db``: an open transaction in; a change, or limits, out.

There is one row for each token or account; to set it again replaces all of it. A limit of 0 is none, also where the
configuration has one for all.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal

from metrion.control import accounts, budgets
from metrion.control.audit import differences
from metrion.control.moments import now_text
from metrion.control.names import suggestion
from metrion.errors import ControlError, UnknownNameError
from metrion.model import GuardLimits, OwnGuard

SCOPES = ("token", "account")
THENS = ("refuse", "warn")
MOST_TOKENS = 10**12
MOST_IDENTICAL = 10**6


def put(db: sqlite3.Connection, guard: OwnGuard) -> dict[str, object]:
    """Store the limits of a token or an account in the place of those that it has; return what an audit says of them.

    :raises ControlError: they cannot hold, or what they are for does not exist.
    """
    _check(guard.limits)
    _require(db, guard.scope, guard.name)
    before = _found(db, guard.scope, guard.name)
    said = _said(guard.limits)
    db.execute(
        "INSERT OR REPLACE INTO guards (usd_per_minute, tokens_per_minute, identical_requests, at_limit, scope, name, "
        "changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*said.values(), guard.scope, guard.name, now_text()),
    )
    return said if before is None else differences(_said(before.limits), said)


def remove(db: sqlite3.Connection, scope: str, name: str) -> dict[str, object]:
    """Forget the limits of a token or an account; return what an audit says of them.

    :raises UnknownNameError: it has none of its own.
    """
    before = _found(db, scope, name)
    if before is None:
        raise UnknownNameError(f"the {scope} {name!r} has no limits of its own. `metrion guard list` shows who has.")
    db.execute("DELETE FROM guards WHERE scope = ? AND name = ?", (scope, name))
    return _said(before.limits)


def records(db: sqlite3.Connection) -> tuple[OwnGuard, ...]:
    """Return what is set for whom: accounts first, by name."""
    rows = db.execute(
        "SELECT scope, name, usd_per_minute, tokens_per_minute, identical_requests, at_limit FROM guards "
        "ORDER BY scope, name"
    )
    return tuple(
        OwnGuard(scope, name, GuardLimits(Decimal(usd), tokens, identical, then))
        for scope, name, usd, tokens, identical, then in rows.fetchall()
    )


def _found(db: sqlite3.Connection, scope: str, name: str) -> OwnGuard | None:
    return next((each for each in records(db) if (each.scope, each.name) == (scope, name)), None)


def _check(limits: GuardLimits) -> None:
    if not 0 <= limits.usd_per_minute <= budgets.MOST_USD:
        raise ControlError(f"dollars a minute are between 0 and {budgets.MOST_USD:,}.")
    if not 0 <= limits.tokens_per_minute <= MOST_TOKENS:
        raise ControlError(f"tokens a minute are between 0 and {MOST_TOKENS:,}.")
    if not 0 <= limits.identical_requests <= MOST_IDENTICAL:
        raise ControlError(f"identical requests in a row are between 0 and {MOST_IDENTICAL:,}.")
    if limits.then not in THENS:
        raise ControlError(f"beyond its limits the guard can {' or '.join(THENS)}.")


def _require(db: sqlite3.Connection, scope: str, name: str) -> None:
    if scope == "account":
        accounts.require(db, name)
        return
    if scope not in SCOPES:
        raise ControlError(f"the guard is for one of {', '.join(SCOPES)}.")
    names = [row[0] for row in db.execute("SELECT name FROM tokens WHERE revoked_at IS NULL")]
    if name not in names:
        raise UnknownNameError(
            f"there is no token named {name!r}.{suggestion(name, names)} `metrion token list` shows them."
        )


def _said(limits: GuardLimits) -> dict[str, object]:
    return {
        "usd_per_minute": shown(limits.usd_per_minute),
        "tokens_per_minute": limits.tokens_per_minute,
        "identical_requests": limits.identical_requests,
        "then": limits.then,
    }


def shown(usd: Decimal) -> str:
    """Write an amount without what says nothing."""
    return format(usd.normalize(), "f")
