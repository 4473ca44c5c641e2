"""Operations on callers' tokens. Each calls the control store, as commands do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from metrion.admission.labels import MOST_TAGS
from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import (
    Count,
    Dollars,
    Label,
    Model,
    Moment,
    Name,
    Network,
    OperationName,
    Page,
    Paging,
    Seconds,
    TagName,
    TagValue,
    paged,
)
from metrion.budgets.changing import open_control
from metrion.control import (
    ControlStore,
    TokenRecord,
    TokenTerms,
)
from metrion.control.terms import MEMBERS, check_providers
from metrion.errors import UnknownNameError


class Terms(Given):
    """Everything about a token that can be changed. A limit that is null is the plan's, and 0 is no limit."""

    account: Name = "default"
    requests_per_minute: Count | None = None
    requests_per_month: Count | None = None
    monthly_budget_usd: Dollars | None = None
    timeout: Seconds | None = None
    expires_at: Moment | None = None
    user_label: Label | None = None
    tags: dict[TagName, TagValue] = Field(default={}, max_length=MOST_TAGS)
    label_fixed: bool = False
    allowed_labels: list[Label] = Field(default=[], max_length=100)
    key: Name | None = Field(default=None, description="The name of the provider keys that it uses.")
    allowed_providers: list[Name] = Field(default=[], max_length=100, description="Empty: all.")
    allowed_models: list[Model] = Field(default=[], max_length=100, description="`*` is any text. Empty: all.")
    allowed_operations: list[OperationName] = Field(default=[], max_length=100, description="Empty: all.")
    allowed_networks: list[Network] = Field(
        default=[], max_length=100, description="Where its requests may come from. Empty: everywhere."
    )
    takes_unpriced: bool = Field(
        default=False, description="Whether it may use models without a price where a budget binds it."
    )


class NewToken(Terms):
    """A token to make; without a name it is the next `token-N`."""

    name: Name | None = None


class Rotation(Given):
    """How long what a token had before stays valid; without it, it ends at once."""

    keep_until: Moment | None = None


class TokenShown(Shown):
    """A token. Its secret is known nowhere any more."""

    name: str
    account: str
    plan: str
    token: str = Field(description="Its last four characters.")
    state: Literal["active", "expired", "revoked"]
    requests_per_minute: int | None
    requests_per_month: int | None
    monthly_budget_usd: str | None
    timeout: float | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    user_label: str | None
    tags: dict[str, str]
    label_fixed: bool
    allowed_labels: list[str]
    key: str | None
    allowed_providers: list[str]
    allowed_models: list[str]
    allowed_operations: list[str]
    allowed_networks: list[str]
    takes_unpriced: bool


class MadeToken(Shown):
    """A token that was just made. This is the only time its secret is shown."""

    name: str
    account: str
    secret: str


class TokenFilters(Paging):
    """Which tokens."""

    account: Name | None = None
    state: Literal["active", "expired", "revoked"] | None = None


def _with(desk: Desk, terms: TokenTerms, given: Terms) -> TokenTerms:
    """Return the terms with the members that were sent in the place of what was there."""
    check_providers(given.allowed_providers, desk.settings.providers)
    for name in given.model_fields_set & MEMBERS.keys():
        terms = MEMBERS[name](terms, getattr(given, name))
    return terms


def _control(desk: Desk, given: Terms) -> AbstractContextManager[ControlStore]:
    """Return the control store; where a budget was sent, one that counts it."""
    return open_control(desk.settings) if given.monthly_budget_usd is not None else nullcontext(desk.control)


def _token(record: TokenRecord) -> TokenShown:
    limits, labels = record.limits, record.labels
    budget = limits.monthly_budget_usd
    return TokenShown.model_validate(
        {
            "name": record.name,
            "account": record.account,
            "plan": record.plan,
            "token": record.shown,
            "state": record.state,
            "requests_per_minute": limits.requests_per_minute,
            "requests_per_month": limits.requests_per_month,
            "monthly_budget_usd": None if budget is None else format(budget, "f"),
            "timeout": limits.timeout,
            "created_at": record.created_at,
            "expires_at": record.expires_at,
            "revoked_at": record.revoked_at,
            "last_used_at": record.last_used_at,
            "user_label": labels.user,
            "tags": dict(labels.tags),
            "label_fixed": labels.fixed,
            "allowed_labels": list(labels.allowed),
            "key": record.key,
            "allowed_providers": list(record.rules.providers),
            "allowed_models": list(record.rules.models),
            "allowed_operations": list(record.rules.operations),
            "allowed_networks": list(record.rules.networks),
            "takes_unpriced": record.takes_unpriced,
        }
    )


def list_tokens(desk: Desk, call: Call) -> Page[TokenShown]:
    """List the tokens that were ever made, oldest first."""
    wanted = [
        each
        for each in desk.control.tokens()
        if call.query.account in (None, each.account) and call.query.state in (None, each.state)
    ]
    return paged(
        wanted, lambda each: f"{each.created_at:%Y-%m-%dT%H:%M:%SZ} {each.name} {each.shown}", _token, call.query
    )


def get_token(desk: Desk, call: Call) -> TokenShown:
    """Return the token of a name that is in use, else the last one that had the name."""
    found = [each for each in desk.control.tokens() if each.name == call.path.name]
    if not found:
        raise UnknownNameError(f"there is no token named {call.path.name!r}.")
    return _token(next((each for each in found if each.revoked_at is None), found[-1]))


def create_token(desk: Desk, call: Call) -> MadeToken:
    """Make a token."""
    terms = _with(desk, TokenTerms(), call.body)
    with _control(desk, call.body) as control:
        made = control.create_token(
            call.body.name,
            account=terms.account,
            limits=terms.limits,
            labels=terms.labels,
            expires_at=terms.expires_at,
            rules=terms.rules,
            key=terms.key,
            takes_unpriced=terms.takes_unpriced,
        )
    return MadeToken(name=made.name, account=made.account, secret=made.secret)


def set_token(desk: Desk, call: Call) -> TokenShown:
    """Change what is sent of a token's terms."""
    with _control(desk, call.body) as control:
        return _token(control.change_token(call.path.name, lambda terms: _with(desk, terms, call.body)))


def rotate_token(desk: Desk, call: Call) -> MadeToken:
    """Give a token a new secret."""
    made = desk.control.rotate_token(call.path.name, call.body.keep_until or datetime.now(UTC))
    return MadeToken(name=made.name, account=made.account, secret=made.secret)


def revoke_token(desk: Desk, call: Call) -> None:
    """Refuse a token from now on."""
    desk.control.revoke_token(call.path.name)
