"""When something was done, as providers write it: seconds since 1970, or a date and a time (RFC 3339)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MOST_SECONDS = 1 << 34
"""Some time in the year 2514."""
_FRACTION = re.compile(r"(?<=\.)(\d{6})\d+")


def moment(*values: object) -> datetime | None:
    """Return the first of these that is a moment, as naive UTC."""
    for value in values:
        if type(value) is int and 0 < value < _MOST_SECONDS:
            return datetime.fromtimestamp(value, UTC).replace(tzinfo=None)
        if isinstance(value, str) and len(value) < 64 and (found := _written(value)):
            return found
    return None


def _written(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", text))  # Google writes nanoseconds
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
