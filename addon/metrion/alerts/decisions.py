"""Decides whether a rule sends: a rule, its figure and the present in; a warning, an alert or nothing out. Pure.

A warning is sent from 90 % of the limit on, an alert from all of it. 24 hours pass between two of a kind for one rule.
An alert also keeps the warning of the same span back: who knows of 100 % need not hear of 90. A clock that jumps never
silences a rule: a message from over 24 hours in the future counts as never sent.

What a channel does not take is tried again with growing pauses, at most a day long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from metrion.alerts.measures import MEASURES, WARNING_SHARE
from metrion.control.alert_records import AlertRecord, AlertRule

PAUSE = timedelta(hours=24)
_RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 720))
"""After each try that failed, how long until the next; after the last the message has failed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a rule's measure is at the moment."""

    value: Decimal | None
    """In the measure's unit; ``None``: not known."""
    since: datetime
    """Where the span begins; aware."""
    of: int | None = None
    """Of how many requests or responses; ``None``: it is no share of any."""
    without_cost: int = 0
    """Responses in the span whose cost is not known, and not in the value."""
    at_least: Decimal | None = None
    """What the known part of those comes to."""
    usd: tuple[Decimal, Decimal] | None = None
    """Of a budget: how much of it is spent, and how much it is."""
    last: datetime | None = None
    """Of silence: when the last one came; ``None``: none ever did."""
    waiting: int = 0
    """Of silence: how many segments of the journal wait to be ingested."""


def decide(rule: AlertRule, figure: Figure, now: datetime) -> str | None:
    """Return ``warning``, ``alert``, or ``None``: nothing is to be sent."""
    measure, limit = MEASURES[rule.terms.measure], rule.terms.limit
    if figure.value is None or (figure.of is not None and figure.of < measure.least):
        return None
    if figure.value >= limit:
        return None if _is_recent(rule.alerted_at, now) else "alert"
    if figure.value < limit * WARNING_SHARE or _is_recent(rule.warned_at, now):
        return None
    if _is_recent(rule.alerted_at, now) and rule.alerted_since is not None:
        moved = figure.since.replace(microsecond=0) > rule.alerted_since
        # The beginning of a span of fixed length moves all the time.
        if not (moved and rule.terms.span in ("day", "month")):
            return None
    return "warning"


def is_due(record: AlertRecord, now: datetime) -> bool:
    """Return whether a pending message is to be tried now."""
    at = record.next_at
    return at is None or at <= now or at - now > _RETRIES[-1]  # the clock has jumped back


def next_try(tries: int, now: datetime) -> datetime | None:
    """Return when to try again after so many tries that failed; ``None``: not any more."""
    return now + _RETRIES[tries - 1] if 0 < tries <= len(_RETRIES) else None


def _is_recent(sent: datetime | None, now: datetime) -> bool:
    return sent is not None and abs(now - sent) < PAUSE
