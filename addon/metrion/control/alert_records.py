"""What ``control.db`` keeps of alerts, as values: rules, the channels that they use, and the history of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

FILTERS = ("provider", "account", "token", "user")
"""By what the requests can be chosen that a rule counts."""

PENDING, SENT, FAILED = "pending", "sent", "failed"
"""The states of a message in the history."""


@dataclass(frozen=True, slots=True)
class NewChannel:
    """A way to somebody that is not stored yet."""

    kind: str
    """``webhook``, ``slack`` or ``email``."""
    shown: str
    """Where it leads, without what is secret."""
    target: str = field(repr=False)
    """All that is needed to send, as one text. It is stored sealed."""


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A stored channel as it may be shown."""

    id: str
    kind: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTerms:
    """What a rule watches, and from where on it warns."""

    measure: str
    """A key of :data:`metrion.alerts.measures.MEASURES`."""
    limit: Decimal
    """In the measure's unit. A message is sent at 90 % of it and at all of it."""
    span: str
    """As :mod:`metrion.alerts.spans` reads it."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Some of :data:`FILTERS`, each with the one value that is counted."""
    allow_private: bool = False
    """Whether its channels may lead to addresses that are not on the public Internet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """A stored rule. Times are aware and in UTC."""

    id: int
    name: str
    terms: RuleTerms
    channels: tuple[AlertChannel, ...]
    created_at: datetime
    changed_at: datetime
    warned_at: datetime | None = None
    alerted_at: datetime | None = None
    alerted_since: datetime | None = None
    """Where the span began that the last alert was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """A message in the history, one for each channel. Times are aware and in UTC."""

    id: int
    rule: str
    kind: str
    """``warning``, ``alert`` or ``test``."""
    at: datetime
    title: str
    message: str
    """A JSON object, as :mod:`metrion.alerts.messages` writes it."""
    channel: str
    """The id of the channel, which it may outlive."""
    shown: str
    state: str
    tries: int
    next_at: datetime | None
    ended_at: datetime | None
    problem: str | None
