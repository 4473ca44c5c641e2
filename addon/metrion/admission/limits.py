"""Judges limits: what a token may use and what it has used in; ``None`` out, or the limit and when to come back.

Pure: a caller asks :func:`judge` while nobody else can count, and counts the request only if the answer is ``None``. So
a refused request does not count, and what one limit refuses does not count for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from metrion.admission.codes import MONTHLY_CAP, RATE_LIMITED
from metrion.model import Forward, Quota, Refusal, RefusalKind
from metrion.model.policies import Concurrency

SECOND = 1_000_000_000
"""Nanoseconds."""
WINDOW = 60 * SECOND


class Moment(NamedTuple):  # made at every request, in half the time of a frozen dataclass, like Used
    """A point in time on two clocks: each limit needs its own."""

    tick: int
    """Nanoseconds on a clock that nobody sets, from an arbitrary start. For the 60 seconds."""
    now: datetime
    """Aware, in UTC. For the calendar month."""


class Used(NamedTuple):
    """What a token has had forwarded, as far as its quota needs to know."""

    this_month: int
    """Requests of the current calendar month."""
    nth_last: int | None
    """When the N-th last request was forwarded, N being the limit per minute; ``None``: not within 60 seconds."""
    last: int | None
    """When the last one was, if the N-th last one is known."""


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that is used up. Times in nanoseconds from now."""

    kind: RefusalKind
    """The refusal for it."""
    limit: int
    until_next: int
    """Until a request would pass, if no other comes before it."""
    until_reset: int
    """Until the limit is whole again."""
    next_at: datetime | None = field(default=None, compare=False)
    """When a request would pass, aware and in UTC, where that is too far away to count in seconds."""


def judge(quota: Quota, used: Used, moment: Moment) -> Excess | None:
    """Say whether one more request may be forwarded at ``moment``; ``None``: it may.

    Of any N + 1 requests in a row the first and the last are 60 seconds apart or more: so there are never more than N
    in any 60 seconds, and the next passes at the very moment when the N-th last one leaves the window.
    """
    wait = left_in_window(used.nth_last, moment.tick) if quota.requests_per_minute is not None else 0
    if quota.requests_per_month is not None and used.this_month >= quota.requests_per_month:
        turn = _until_next_month(moment.now)
        until_next = max(turn, wait)
        next_at = moment.now + timedelta(microseconds=until_next // 1000)
        return Excess(MONTHLY_CAP, quota.requests_per_month, until_next, turn, next_at)
    if quota.requests_per_minute is not None and wait:
        return Excess(RATE_LIMITED, quota.requests_per_minute, wait, left_in_window(used.last, moment.tick))
    return None


def refusal(forward: Forward, excess: Excess) -> Refusal:
    """Make the refusal of an admitted request."""
    seconds = _seconds(excess.until_next)
    if excess.kind is MONTHLY_CAP:
        span, option, key = "a calendar month (UTC)", "--monthly-requests", "requests_per_month"
    else:
        span, option, key = "any 60 seconds", "--rate", "requests_per_minute"
    when = f"in {seconds} s" if excess.next_at is None else f"on {_minute(excess.next_at):%Y-%m-%d at %H:%M} UTC"
    message = (
        f"The Metrion token {forward.caller.token_name} has used up its limit of {excess.limit} requests in {span}; "
        f"the next passes {when}. The limit is the token's own (`metrion token create {option}`) or its "
        f"plan's (`{key}` in metrion.yaml)."
    )
    headers = (
        (b"retry-after", b"%d" % seconds),
        (b"x-ratelimit-limit-requests", b"%d" % excess.limit),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"%ds" % _seconds(excess.until_reset)),
    )
    return Refusal.of_routed(forward.route, excess.kind, message, caller=forward.caller, headers=headers)


def queue_refusal(forward: Forward, concurrency: Concurrency, why: str) -> Refusal:
    """Refuse an admitted request whose turn did not come; ``why`` follows "the queue"."""
    message = (
        f"{concurrency.at_once} requests at once may go to {forward.route.provider} with this key, and the queue "
        f"{why}. The policy {concurrency.policy} of metrion.yaml says so."
    )
    headers = ((b"retry-after", b"1"),)
    return Refusal.of_routed(forward.route, RATE_LIMITED, message, caller=forward.caller, headers=headers)


def _minute(moment: datetime) -> datetime:
    """Return the first whole minute at which it is not too early, but for what clocks are wrong by."""
    return (moment + timedelta(seconds=59, milliseconds=900)).replace(second=0, microsecond=0)


def month_number(now: datetime) -> int:
    """Count the calendar months, so that each has a number of its own and December is followed by January."""
    return now.year * 12 + now.month - 1


def left_in_window(tick: int | None, now: int) -> int:
    """Return for how many more nanoseconds a request is in the window.

    One in the future was counted before the machine restarted, on another clock: it blocks nothing.
    """
    return tick + WINDOW - now if tick is not None and now - WINDOW < tick <= now else 0


def _until_next_month(now: datetime) -> int:
    year, month = divmod(month_number(now) + 1, 12)
    return int((datetime(year, month + 1, 1, tzinfo=UTC) - now).total_seconds() * SECOND)


def _seconds(nanoseconds: int) -> int:
    """Whole seconds, rounded up: who comes back then is let through."""
    return -(-nanoseconds // SECOND)
