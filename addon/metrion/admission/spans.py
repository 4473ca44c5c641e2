"""The spans of time that budgets are for: a text and a moment in; when the span began and when it ends, out. Pure.

``day`` and ``month`` are those of the calendar in a time zone; ``12h``, ``30d`` or ``4w`` is a length that ends now.
Moments are seconds since the epoch. Every span begins with a quarter of an hour, as the sums in the store do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

QUARTER = 15 * 60
MOST_DAYS = 366

_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


class Span(NamedTuple):
    """One span."""

    key: int
    """What tells it from the other spans of a budget: when it began, or 0 where the span moves with the present."""
    since: int
    until: int | None
    """When the next one begins; ``None``: it moves."""


def length(per: str) -> int | None:
    """Return for how many seconds a span goes back; ``None``: to the beginning of a day or month.

    :raises ValueError: it is no span.
    """
    if per in ("day", "month"):
        return None
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", per)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= MOST_DAYS * 86_400:
        raise ValueError(f"write day, month, or a length such as 24h, 30d or 4w, up to {MOST_DAYS} days")
    return seconds


def span(per: str, moment: float, zone: tzinfo) -> Span:
    """Return the span that a moment is in."""
    seconds = length(per)
    if seconds is not None:
        return Span(0, int(moment - seconds) // QUARTER * QUARTER, None)
    local = datetime.fromtimestamp(moment, UTC).astimezone(zone)
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if per == "month":
        first = first.replace(day=1)
        following = (first.replace(tzinfo=None) + timedelta(days=31)).replace(day=1)
    else:
        following = first.replace(tzinfo=None) + timedelta(days=1)
    since, until = int(first.timestamp()), int(following.replace(tzinfo=first.tzinfo).timestamp())
    return Span(since, since, until)
