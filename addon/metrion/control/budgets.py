"""The budgets of ``control.db``: an open transaction in; a change of the table, or budgets, out.

There is one for each thing that is bounded and each kind of span: to set it again changes it. A token's budget for a
month is also what ``--monthly-budget`` of its token says, and either way of setting it changes the same row.
"""

from __future__ import annotations

import re
import sqlite3
from decimal import Decimal

from metrion.admission.budgets import SCOPES
from metrion.admission.spans import length
from metrion.control import accounts
from metrion.control.moments import now_text
from metrion.control.names import check_label, suggestion
from metrion.errors import ControlError, UnknownNameError
from metrion.model import Budget, dollars, picodollars
from metrion.settings.timezones import zone

MOST_USD = Decimal(9_000_000)
THENS = ("refuse", "warn", "cheaper")
MONTH = "month"
MOST = 10_000
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def put(db: sqlite3.Connection, budget: Budget) -> Budget:
    """Store a budget in the place of the one that there is for the same thing and span; its id is chosen here.

    :raises ControlError: it cannot hold: an amount, a span, a time zone or a name that is none.
    """
    _check(db, budget)
    made = _put(db, budget)
    if budget.scope == "token" and budget.per == MONTH:
        _set_of_token(db, budget.name, _text(budget.limit) if budget.limit else None)
    return made


def _put(db: sqlite3.Connection, budget: Budget) -> Budget:
    now = now_text()
    db.execute(
        "INSERT INTO budgets (scope, name, usd, per, timezone, at_limit, created_at, changed_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, name, per) DO UPDATE SET "
        "usd = excluded.usd, timezone = excluded.timezone, at_limit = excluded.at_limit, "
        "changed_at = excluded.changed_at",
        (budget.scope, budget.name, _text(budget.limit), budget.per, budget.timezone, budget.then, now, now),
    )
    return next(each for each in records(db) if _key(each) == _key(budget))


def remove(db: sqlite3.Connection, scope: str, name: str, per: str | None = None) -> tuple[Budget, ...]:
    """Remove the budgets of something, or the one for a kind of span; return them.

    :raises ControlError: there is none.
    """
    of_it = [each for each in records(db) if (each.scope, each.name) == (scope, name)]
    gone = tuple(each for each in of_it if per in (None, each.per))
    if not gone:
        spans = f" It has one for each {', '.join(each.per for each in of_it)}." if of_it else ""
        raise UnknownNameError(
            f"the {scope} {name!r} has no {'such ' if of_it else ''}budget.{spans} `metrion budget list` shows them."
        )
    for each in gone:
        db.execute("DELETE FROM budgets WHERE id = ?", (each.id,))
        if scope == "token" and each.per == MONTH:
            _set_of_token(db, name, None)
    return gone


def records(db: sqlite3.Connection) -> tuple[Budget, ...]:
    """Return every budget, oldest first."""
    rows = db.execute("SELECT id, scope, name, usd, per, timezone, at_limit FROM budgets ORDER BY id").fetchall()
    return tuple(
        Budget(number, scope, name, picodollars(Decimal(usd)), per, timezone, then)
        for number, scope, name, usd, per, timezone, then in rows
    )


def like(db: sqlite3.Connection, budget: Budget) -> Budget | None:
    """Return the budget that there is for the same thing and span."""
    return next((each for each in records(db) if _key(each) == _key(budget)), None)


def said(budget: Budget) -> dict[str, object]:
    """Return what an audit says of a budget."""
    return {"usd": _text(budget.limit), "per": budget.per, "timezone": budget.timezone, "then": budget.then}


def follow_token(db: sqlite3.Connection, name: str, usd: Decimal | None) -> None:
    """Have the budget of a token for a month be what its terms say; 0 and ``None``: it has none."""
    if usd:
        _check_amount(usd)
        known = like(db, Budget(0, "token", name, 0, MONTH))
        timezone, then = (known.timezone, known.then) if known else (None, THENS[0])
        _put(db, Budget(0, "token", name, picodollars(usd), MONTH, timezone, then))
    else:
        db.execute("DELETE FROM budgets WHERE scope = 'token' AND name = ? AND per = ?", (name, MONTH))


def forget(db: sqlite3.Connection, scope: str, name: str) -> None:
    """Remove the budgets, and the guard's limits, of a token or an account that is gone.

    Another one may have its name later.
    """
    for table in ("budgets", "guards"):
        db.execute(f"DELETE FROM {table} WHERE scope = ? AND name = ?", (scope, name))  # noqa: S608 -- written here


def _check_amount(usd: Decimal) -> None:
    if not 0 <= usd <= MOST_USD:
        raise ControlError(f"a budget is between 0 and {MOST_USD:,} USD.")


def _check(db: sqlite3.Connection, budget: Budget) -> None:
    _check_amount(dollars(budget.limit))
    try:
        length(budget.per)
        zone(budget.timezone or "UTC")
    except ValueError as error:
        raise ControlError(f"{error}.") from None
    if budget.then not in THENS:
        raise ControlError(f"at the limit a budget can say {' or '.join(THENS)}.")
    if like(db, budget) is None and db.execute("SELECT count(*) FROM budgets").fetchone()[0] >= MOST:
        raise ControlError(f"there are {MOST:,} budgets already: remove some first.")
    match budget.scope:
        case "token":
            names = [row[0] for row in db.execute("SELECT name FROM tokens WHERE revoked_at IS NULL")]
            if budget.name not in names:
                raise UnknownNameError(
                    f"there is no token named {budget.name!r}.{suggestion(budget.name, names)} "
                    "`metrion token list` shows them."
                )
        case "account":
            accounts.require(db, budget.name)
        case "user":
            if not budget.name or check_label(budget.name) != budget.name or "*" in budget.name:
                raise ControlError("a budget is for one label, without blanks around it and without `*`.")
        case "provider":
            if not _PROVIDER.fullmatch(budget.name):
                raise ControlError(f"{budget.name!r} is no provider.")
        case _:
            raise ControlError(f"a budget is for one of {', '.join(SCOPES)}.")


def _text(limit: int) -> str:
    return format(dollars(limit).normalize(), "f")


def _key(budget: Budget) -> tuple[str, str, str]:
    return budget.scope, budget.name, budget.per


def _set_of_token(db: sqlite3.Connection, name: str, usd: str | None) -> None:
    db.execute("UPDATE tokens SET monthly_budget_usd = ? WHERE name = ? AND revoked_at IS NULL", (usd, name))
