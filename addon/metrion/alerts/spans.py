"""The spans of time that rules count over: a text and the present in; a beginning out. Pure.

``day`` and ``month`` begin with the calendar's, in the configured time zone; ``rule`` begins when the rule was made;
``15m``, ``6h``, ``7d`` or ``2w`` is a length that ends now.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=366)
CALENDAR = ("day", "month", "rule")
"""Spans that have no fixed length."""


def length(span: str) -> timedelta | None:
    """Return how long a span is; ``None``: it has no fixed length.

    :raises ValueError: it is no span.
    """
    if span in CALENDAR:
        return None
    found = re.fullmatch(r"([0-9]{1,5})([mhdw])", span)
    if found is not None:
        exact = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if timedelta() < exact <= _LONGEST:
            return exact
    raise ValueError("write day, month, rule (since the rule was made), or a length such as 15m, 6h, 7d or 2w")


def beginning(span: str, now: datetime, made: datetime, zone: tzinfo) -> datetime:
    """Return where a span begins that ends now. ``now`` and ``made`` are aware, and so is the result, in UTC."""
    exact = length(span)
    if exact is not None:
        return (now - exact).astimezone(UTC)
    if span == "rule":
        return made.astimezone(UTC)
    local = now.astimezone(zone)
    # fold=0: a midnight that comes twice is the first one. One that the clock skips is the moment of the change.
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return (midnight.replace(day=1) if span == "month" else midnight).astimezone(UTC)


def worded(span: str, since: datetime, zone: tzinfo) -> str:
    """Say a span as it is within a sentence."""
    at = f"{since.astimezone(zone):%Y-%m-%d %H:%M %Z}".rstrip()
    match span:
        case "day":
            return f"today (since {at})"
        case "month":
            return f"this month (since {at})"
        case "rule":
            return f"since the rule was made ({at})"
    count, unit = span[:-1].lstrip("0"), _UNITS[span[-1]]
    return f"in the last {f'{count} {unit}' if count != '1' else unit.removesuffix('s')} (since {at})"
