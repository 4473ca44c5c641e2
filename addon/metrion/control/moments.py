"""Points in time as ``control.db`` has them: aware datetimes in, ISO 8601 in UTC with ``Z`` out, and back.

All texts have the same length, so that SQL compares them as what they are.
"""

from __future__ import annotations

from datetime import UTC, datetime


def text_of(moment: datetime) -> str:
    """Write an aware moment, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_text() -> str:
    """Write the present."""
    return text_of(datetime.now(UTC))


def optional_text(moment: datetime | None) -> str | None:
    """Write a moment; ``None`` is NULL."""
    return None if moment is None else text_of(moment)


def optional_moment(text: str | None) -> datetime | None:
    """Read a moment; NULL is ``None``."""
    return None if text is None else datetime.fromisoformat(text)
