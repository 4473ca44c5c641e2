"""Operations on the guard's limits of single tokens and accounts, as ``metrion guard`` sets them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import Dollars, Label, Page, Paging, paged, whole
from metrion.control import check_label
from metrion.control.guard_store import GuardStore
from metrion.control.guards import MOST_IDENTICAL, MOST_TOKENS, shown
from metrion.model import GuardLimits, OwnGuard

type Scope = Literal["token", "account"]
"""The items of :data:`metrion.control.guards.SCOPES`."""


class Guarded(Given):
    """Whose limits."""

    scope: Scope
    name: Label = Field(description="Of the token or the account.")


class NewGuard(Guarded):
    """Limits. They take the place of those that there are, and of the configured ones; 0: any number."""

    usd_per_minute: Dollars = Field(default="0", description="US dollars in any 60 seconds.")
    tokens_per_minute: Annotated[int, Field(strict=True, ge=0, le=MOST_TOKENS), BeforeValidator(whole)] = 0
    identical_requests: Annotated[int, Field(strict=True, ge=0, le=MOST_IDENTICAL), BeforeValidator(whole)] = Field(
        default=0, description="How many with one body pass in a row."
    )
    then: Literal["refuse", "warn"] = Field(default="refuse", description="What happens to requests beyond.")


class GuardShown(Shown):
    """The limits of a token or an account."""

    scope: str
    name: str
    usd_per_minute: str
    tokens_per_minute: int
    identical_requests: int
    then: str


def list_guards(desk: Desk, call: Call) -> Page[GuardShown]:
    """List who has limits of its own: accounts first, by name."""
    query: Paging = call.query
    return paged(GuardStore.open(desk.settings).all(), lambda each: f"{each.scope} {each.name}", _shown, query)


def set_guard(desk: Desk, call: Call) -> GuardShown:
    """Set the limits of a token or an account, from the next request on."""
    body: NewGuard = call.body
    limits = GuardLimits(Decimal(body.usd_per_minute), body.tokens_per_minute, body.identical_requests, body.then)
    guard = OwnGuard(body.scope, check_label(body.name), limits)
    GuardStore.open(desk.settings).set(guard)
    return _shown(guard)


def remove_guard(desk: Desk, call: Call) -> None:
    """Have a token or an account bound by what is configured for all."""
    query: Guarded = call.query
    GuardStore.open(desk.settings).remove(query.scope, check_label(query.name))


def _shown(guard: OwnGuard) -> GuardShown:
    limits = guard.limits
    return GuardShown(
        scope=guard.scope,
        name=guard.name,
        usd_per_minute=shown(limits.usd_per_minute),
        tokens_per_minute=limits.tokens_per_minute,
        identical_requests=limits.identical_requests,
        then=limits.then,
    )
