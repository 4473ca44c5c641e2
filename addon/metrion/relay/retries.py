"""When a request is sent again: an answer's head, or a failure in; how long to wait, or why not, out. Pure.

A provider that says when to come back is obeyed, in seconds or with a date; else the wait doubles from one attempt to
the next, and a part of it is chance, so that many clients do not come back together. Nobody waits past the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from metrion.model.policies import Retries

STATUSES = frozenset({429, 503, 529})
"""What says "later": the provider has done nothing for the request."""
MOST_KEPT = 1 << 20
"""How many bytes of a request are kept to be sent again; a longer one is sent once."""
MOST_DROPPED = 64 << 10
DROPPING_SECONDS = 2.0
"""How much of an answer that is not handed on is read, and for how long, before its connection is closed."""

_USED_UP, _TOO_LATE, _UNWANTED = "used up", "beyond the deadline", "the provider wants none"
FALLING_BACK = frozenset({_USED_UP, _TOO_LATE, _UNWANTED})
"""Why a request is sent no more where it was, and may go elsewhere: the provider has done nothing for it."""

_LONGEST_BACKOFF = 8.0
_LONGEST_WAIT = 600.0
"""Where the caller has no timeout."""


def backoff(retries: Retries, number: int, chance: float) -> float:
    """Return the seconds to wait after attempt ``number``. ``chance``: between 0 and 1."""
    return min(retries.backoff * 2.0 ** min(number - 1, 32), max(_LONGEST_BACKOFF, retries.backoff)) * (1 - chance / 2)


def asked_wait(fields: Mapping[bytes, bytes], now: datetime) -> float | None:
    """Return the seconds after which a provider wants to be asked again; ``None``: it does not say."""
    milliseconds, seconds = _number(fields.get(b"retry-after-ms")), fields.get(b"retry-after")
    if milliseconds is not None:
        return milliseconds / 1000
    if seconds is None:
        return None
    return number if (number := _number(seconds)) is not None else _until(seconds, now)


def wait_after_answer(
    retries: Retries, number: int, fields: Mapping[bytes, bytes], *, left: float | None, chance: float, now: datetime
) -> float | str:
    """Return how long to wait after an answer of :data:`STATUSES`, or why it is handed on.

    ``number``: which attempt it answers. ``left``: the seconds to the deadline; ``None``: there is none.
    """
    if fields.get(b"x-should-retry", b"").strip().lower() == b"false":
        return _UNWANTED
    wait = asked_wait(fields, now)
    return _bounded(retries, number, backoff(retries, number, chance) if wait is None else wait, left)


def wait_after_failure(retries: Retries, number: int, *, left: float | None, chance: float) -> float | str:
    """Return how long to wait after a failure, or why it ends the request."""
    return _bounded(retries, number, backoff(retries, number, chance), left)


def _bounded(retries: Retries, number: int, wait: float, left: float | None) -> float | str:
    if number >= retries.attempts:
        return _USED_UP
    return wait if wait < (_LONGEST_WAIT if left is None else left) else _TOO_LATE


def _number(value: bytes | None) -> float | None:
    text = value.strip() if value is not None else b""
    return float(text) if text and len(text) < 16 and text.replace(b".", b"", 1).isdigit() else None


def _until(value: bytes, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(value.decode("latin-1"))
        return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, OverflowError):  # a date of no calendar
        return None
