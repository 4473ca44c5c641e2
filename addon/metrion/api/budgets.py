"""Operations on budgets: set, listed and removed as ``metrion budget`` does it, and counted before they hold."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import Dollars, Label, Page, Paging, paged
from metrion.budgets.changing import open_control
from metrion.budgets.recount import recount
from metrion.budgets.standing import exact, standings
from metrion.control import check_label
from metrion.errors import ControlError, StoreError
from metrion.model import Budget, picodollars
from metrion.providers import canonical_name

type Scope = Literal["token", "account", "user", "provider"]
"""The items of :data:`metrion.admission.budgets.SCOPES`."""
type Then = Literal["refuse", "warn", "cheaper"]
type Per = Annotated[str, StringConstraints(pattern=r"^(day|month|[0-9]{1,5}[hdw])$")]
_PER = "`day`, `month`, or a length that ends now: `24h`, `30d`, `4w`."


class NewBudget(Given):
    """A budget. It takes the place of the one for the same thing and span."""

    scope: Scope
    name: Label = Field(description="Of the token, the account or the provider; or the user label.")
    usd: Dollars = Field(description="How much; 0: nothing may be spent.")
    per: Per = Field(description=_PER)
    timezone: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="Whose days and months; null: the configured one."
    )
    then: Then = Field(
        default="refuse",
        description="What happens to requests that have no room; cheaper: they go out as a policy's `fallback` says.",
    )


class Former(Given):
    """Which budgets to remove."""

    scope: Scope
    name: Label
    per: Per | None = Field(default=None, description="Only the one for this kind of span; without it, all of them.")


class BudgetShown(Shown):
    """A budget, and how it stands."""

    scope: str
    name: str
    usd: str
    per: str
    timezone: str | None
    then: str
    spent: str | None = Field(description="In the present span; null: not known.")
    held: str = Field(description="For requests under way.")
    left: str | None
    turns_at: datetime | None = Field(
        description="When the span ends, or when the next amount leaves one that moves; null: none does."
    )


class Budgets(Page[BudgetShown]):
    """A page of budgets."""

    notes: list[str] = Field(description="What the figures leave out.")


class Removed(Shown):
    """The spans of the budgets that were removed."""

    per: list[str]


def list_budgets(desk: Desk, call: Call) -> Budgets:
    """List the budgets, oldest first. Events are counted first."""
    query: Paging = call.query
    budgets, notes = desk.control.budgets(), []
    if budgets:
        try:
            recount(desk.settings, budgets)
        except StoreError as error:
            notes = [f"The events could not be counted just now ({error})."]
    page = paged(budgets, lambda each: f"{each.id:020}", lambda each: _shown(desk, each), query)
    return Budgets(items=page.items, next_cursor=page.next_cursor, notes=notes)


def set_budget(desk: Desk, call: Call) -> BudgetShown:
    """Set a budget; what is spent already counts."""
    body: NewBudget = call.body
    name = _name(body.scope, body.name)
    if body.scope == "provider" and name not in desk.settings.providers:
        raise ControlError(f"there is no such provider. The providers are {', '.join(desk.settings.providers)}.")
    wanted = Budget(0, body.scope, name, picodollars(Decimal(body.usd)), body.per, body.timezone, body.then)
    with open_control(desk.settings) as control:
        made = control.set_budget(wanted)
    return _shown(desk, made)


def remove_budget(desk: Desk, call: Call) -> Removed:
    """Remove the budgets of something, or the one for a kind of span."""
    query: Former = call.query
    gone = desk.control.remove_budget(query.scope, _name(query.scope, query.name), query.per)
    return Removed(per=[each.per for each in gone])


def _name(scope: Scope, given: str) -> str:
    name = check_label(given)
    return canonical_name(name) if scope == "provider" else name


def _shown(desk: Desk, budget: Budget) -> BudgetShown:
    settings = desk.settings
    (standing,) = standings(settings.budgets_dir, [budget], settings.timezone, time.time())
    turns_at = standing.turns_at
    return BudgetShown(
        scope=budget.scope,
        name=budget.name,
        usd=exact(budget.limit),
        per=budget.per,
        timezone=budget.timezone,
        then=budget.then,
        spent=None if standing.spent is None else exact(standing.spent),
        held=exact(standing.held),
        left=None if standing.left is None else exact(standing.left),
        turns_at=None if turns_at is None else datetime.fromtimestamp(turns_at, UTC),
    )
