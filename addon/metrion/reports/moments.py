"""Points in time as people type them.

In: a text, the present and a time zone. Out: naive UTC, as in the store. A text without a zone is in the given one:
``2026-11-01`` is its midnight, ``month`` the first of its month. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo


def moment(text: str, now: datetime, timezone: tzinfo = UTC) -> datetime:
    """Read a point in time as people type it: ``2026-11-01``, ISO 8601, ``7d``, ``yesterday``, ``month``.

    ``now`` is aware; the result is naive UTC.

    :raises ValueError: the text is none of these.
    """
    if text in _NAMED:
        return _utc(_NAMED[text](now.astimezone(timezone)))
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        if ago:
            return _utc(now.astimezone(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        read = datetime.fromisoformat(text)
        return _utc(read if read.tzinfo else read.replace(tzinfo=timezone))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no point in time; write 2026-11-01, 2026-11-01T08:00:00Z, 7d, 24h, today, yesterday or month"
        ) from None


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


_NAMED: Mapping[str, Callable[[datetime], datetime]] = {
    "now": lambda now: now,
    "today": _midnight,
    "yesterday": lambda now: _midnight(now) - timedelta(days=1),
    "month": lambda now: _midnight(now).replace(day=1),
}
"""What has a name, by the present in the zone that is meant; a day more or less is one of the calendar."""
