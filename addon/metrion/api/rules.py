"""Operations on alerts: rules, where they send to, a test, and the history. They call :mod:`metrion.alerts`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from metrion import alerts
from metrion.alerts import AlertRecord, AlertRule, NewChannel, RuleTerms
from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import Label, Name, Page, Paging, paged
from metrion.errors import UnknownNameError
from metrion.providers import canonical_name

type Amount = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")]
type Measure = Literal[
    "spend", "spend-rate", "budget", "errors", "latency", "requests", "unpriced", "model-not-allowed", "silence"
]
"""The keys of :data:`metrion.alerts.MEASURES`."""


class Hook(Given):
    """A URL to post to. What is secret in it is stored sealed, and never read back."""

    kind: Literal["webhook", "slack"]
    url: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Mail(Given):
    """An address, and the server that takes mail for it. The password is stored sealed, and never read back."""

    kind: Literal["email"]
    address: Annotated[str, StringConstraints(min_length=3, max_length=320)]
    server: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="`smtp://user@host:587`, `smtps://…` or `smtp+plain://…`."
    )
    password: Annotated[str, StringConstraints(max_length=1000)] = ""
    sender: Annotated[str, StringConstraints(min_length=3, max_length=320)] | None = None


class Filters(Given):
    """Which requests are counted."""

    provider: Label | None = None
    account: Label | None = None
    token: Label | None = None
    user: Label | None = None


class Terms(Given):
    """What a rule watches, and from where on it warns."""

    measure: Measure
    limit: Amount = Field(description="In the measure's unit. A message is sent at 90 % of it and at all of it.")
    span: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = Field(
        default=None, description="`day`, `month`, `rule` or a length such as `15m`; null: the measure's usual one."
    )
    filters: Filters = Filters()
    allow_private: bool = Field(default=False, description="It may send to addresses that are not public.")


class NewRule(Terms):
    """A rule to make."""

    name: Name
    channels: list[Annotated[Hook | Mail, Field(discriminator="kind")]] = Field(min_length=1, max_length=10)


class RuleChange(Terms):
    """A rule's new terms; without `channels`, they stay."""

    channels: list[Annotated[Hook | Mail, Field(discriminator="kind")]] | None = Field(
        default=None, min_length=1, max_length=10
    )


class ChannelShown(Shown):
    """Where a rule sends to, without what is secret."""

    kind: str
    to: str


class RuleShown(Shown):
    """A rule."""

    name: str
    measure: str
    limit: str
    unit: str
    span: str
    filters: dict[str, str]
    allow_private: bool
    channels: list[ChannelShown]
    created_at: datetime
    changed_at: datetime
    warned_at: datetime | None
    alerted_at: datetime | None


class MessageShown(Shown):
    """A message to one channel."""

    id: int
    at: datetime
    rule: str
    kind: str
    title: str
    to: str
    state: str
    tries: int
    next_at: datetime | None
    ended_at: datetime | None
    problem: str | None


class Messages(Shown):
    """Messages."""

    items: list[MessageShown]


class HistoryAsked(Given):
    """Which messages, the latest first. The last 1,000 are kept."""

    rule: Name | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def list_rules(desk: Desk, call: Call) -> Page[RuleShown]:
    """List the rules, by name."""
    query: Paging = call.query
    return paged(alerts.rules(desk.settings), lambda each: each.name, _rule, query)


def get_rule(desk: Desk, call: Call) -> RuleShown:
    """Return a rule."""
    found = next((each for each in alerts.rules(desk.settings) if each.name == call.path.name), None)
    if found is None:
        raise UnknownNameError("there is no such rule.")
    return _rule(found)


def add_rule(desk: Desk, call: Call) -> RuleShown:
    """Make a rule."""
    body: NewRule = call.body
    return _rule(alerts.add_rule(desk.settings, body.name, _terms(body), _channels(body.channels)))


def change_rule(desk: Desk, call: Call) -> RuleShown:
    """Put new terms in the place of a rule's old ones."""
    body: RuleChange = call.body
    channels = None if body.channels is None else _channels(body.channels)
    return _rule(alerts.change_rule(desk.settings, call.path.name, _terms(body), channels))


def remove_rule(desk: Desk, call: Call) -> None:
    """Forget a rule and where it sends to."""
    alerts.remove_rule(desk.settings, call.path.name)


def try_rule(desk: Desk, call: Call) -> Messages:
    """Send a test by every channel of a rule, and say what became of it. Takes up to 10 s."""
    return _messages(alerts.try_rule(desk.settings, call.path.name))


def history(desk: Desk, call: Call) -> Messages:
    """List what was sent, the latest first."""
    query: HistoryAsked = call.query
    return _messages(alerts.history(desk.settings, query.rule, query.limit))


def _terms(given: Terms) -> RuleTerms:
    filters = given.filters.model_dump(exclude_none=True)
    if "provider" in filters:
        filters["provider"] = canonical_name(filters["provider"])
    return alerts.check_terms(
        given.measure, Decimal(given.limit), given.span, filters, allow_private=given.allow_private
    )


def _channels(given: Sequence[Hook | Mail]) -> list[NewChannel]:
    return [
        alerts.webhook(each.url, each.kind)
        if isinstance(each, Hook)
        else alerts.email(each.address, each.server, each.password, each.sender)
        for each in given
    ]


def _rule(rule: AlertRule) -> RuleShown:
    return RuleShown(
        name=rule.name,
        measure=rule.terms.measure,
        limit=format(rule.terms.limit, "f"),
        unit=alerts.MEASURES[rule.terms.measure].unit,
        span=rule.terms.span,
        filters=dict(rule.terms.filters),
        allow_private=rule.terms.allow_private,
        channels=[ChannelShown(kind=each.kind, to=each.shown) for each in rule.channels],
        created_at=rule.created_at,
        changed_at=rule.changed_at,
        warned_at=rule.warned_at,
        alerted_at=rule.alerted_at,
    )


def _messages(records: Sequence[AlertRecord]) -> Messages:
    return Messages(
        items=[
            MessageShown(
                id=each.id,
                at=each.at,
                rule=each.rule,
                kind=each.kind,
                title=each.title,
                to=each.shown,
                state=each.state,
                tries=each.tries,
                next_at=each.next_at,
                ended_at=each.ended_at,
                problem=each.problem,
            )
            for each in records
        ]
    )
