"""Amounts as pictures of characters: a bar for each of several, one line for amounts over time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"

type _Amount = Decimal | float | None


def bars(amounts: Sequence[_Amount], width: int) -> list[str]:
    """Return a bar for each amount, the largest ``width`` characters long. What is not known has none."""
    largest = max((amount for amount in amounts if amount is not None), default=0)
    return [_bar(float(amount) / float(largest), width) if amount and largest > 0 else "" for amount in amounts]


def _bar(share: float, width: int) -> str:
    if share <= 0:
        return ""
    eighths = max(1, round(share * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(amounts: Sequence[_Amount]) -> str:
    """Return a line with a character for each amount; nothing is a space, what is not known ``?``."""
    largest = max((amount for amount in amounts if amount is not None), default=0)
    if not largest:
        return ""
    return "".join(
        "?" if amount is None else _LEVELS[min(7, int(float(amount) / float(largest) * 8))] if amount > 0 else " "
        for amount in amounts
    )


def every_day(amounts: dict[str, _Amount], most: int) -> tuple[list[_Amount], str, str] | None:
    """Return the amounts of the last days, at most so many, with 0 for days that are missing, and the first and last.

    Days are ``2026-11-01``. ``None``: there are fewer than two.
    """
    days = sorted(day for day in amounts if day)
    if len(days) < 2 or most < 2:
        return None
    last = date.fromisoformat(days[-1])
    first = max(date.fromisoformat(days[0]), last - timedelta(days=most - 1))
    shown = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
    return [amounts.get(day, Decimal(0)) for day in shown], shown[0], shown[-1]
