"""Operations on accounts and plans. Each calls the control store, as commands do."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import (
    Name,
    Page,
    paged,
)
from metrion.control import (
    Account,
)
from metrion.errors import ControlError, UnknownNameError
from metrion.settings import PlanName


class AccountShown(Shown):
    """Whom tokens and provider keys belong to."""

    name: str
    plan: str
    created_at: datetime


class NewAccount(Given):
    """An account to make."""

    name: Name
    plan: PlanName = "pro"


class AccountChange(Given):
    """What an account gets."""

    plan: PlanName


class RemovedAccount(Shown):
    """An account that is gone."""

    keys: list[str] = Field(description="The providers whose keys are gone with it.")


class PlanShown(Shown):
    """What each token of an account with this plan may use; null is no limit. Plans are changed in `metrion.yaml`."""

    name: str
    requests_per_minute: int | None
    requests_per_month: int | None
    timeout: float | None


class Plans(Shown):
    """The plans."""

    items: list[PlanShown]


def _account(record: Account) -> AccountShown:
    return AccountShown(name=record.name, plan=record.plan, created_at=record.created_at)


def _account_called(desk: Desk, name: str) -> AccountShown:
    for each in desk.control.accounts():
        if each.name == name:
            return _account(each)
    raise UnknownNameError(f"there is no account named {name!r}.")


def list_accounts(desk: Desk, call: Call) -> Page[AccountShown]:
    """List the accounts, by name."""
    return paged(desk.control.accounts(), lambda each: each.name, _account, call.query)


def get_account(desk: Desk, call: Call) -> AccountShown:
    """Return an account."""
    return _account_called(desk, call.path.name)


def create_account(desk: Desk, call: Call) -> AccountShown:
    """Make an account."""
    desk.control.create_account(call.body.name, call.body.plan)
    return _account_called(desk, call.body.name)


def set_account(desk: Desk, call: Call) -> AccountShown:
    """Put an account on another plan."""
    desk.control.set_plan(call.path.name, call.body.plan)
    return _account_called(desk, call.path.name)


def remove_account(desk: Desk, call: Call) -> RemovedAccount:
    """Remove an account that has no tokens, unless intercepted traffic belongs to it."""
    if call.path.name == desk.settings.intercept.account:
        raise ControlError("intercepted traffic belongs to this account: name another as `intercept.account` first.")
    return RemovedAccount(keys=list(desk.control.remove_account(call.path.name)))


def list_plans(desk: Desk, _: Call) -> Plans:
    """List the plans."""
    return Plans(
        items=[
            PlanShown(
                name=name,
                requests_per_minute=plan.requests_per_minute or None,
                requests_per_month=plan.requests_per_month or None,
                timeout=plan.timeout or None,
            )
            for name, plan in desk.settings.plans.items()
        ]
    )
