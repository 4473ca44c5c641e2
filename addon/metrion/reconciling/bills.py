"""What a bill says, whichever form it came in: frozen values, without I/O.

Money is :class:`~decimal.Decimal` in US dollars, exactly as the file has it. ``None`` is what a bill does not report.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""In which amounts are added: it holds any sum of a bill's amounts with every digit."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill."""

    day: date
    model: str | None = None
    """The model, where the bill has a place of its own for it."""
    item: str | None = None
    """What was billed, in the bill's words, where a model can be a part of them: ``gpt-5-2025-08-07, input``."""
    usd: Decimal | None = None
    input_tokens: int | None = None
    """All input, cache included, as in the column ``input_tokens``."""
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """What one file says."""

    provider: str
    lines: tuple[Line, ...]
    days: frozenset[date]
    """The days that the file covers, also those on which nothing was billed."""
    has_amounts: bool = True
    """Whether the file reports money; otherwise tokens only."""
    part_days: frozenset[date] = frozenset()
    """Those of ``days`` of which the file has some hours only."""
    zone: str = "UTC"
    """In which time zone its days begin, by the name in the IANA database."""
    remarks: tuple[str, ...] = ()
    """What a reader of the comparison should know: what the file leaves out, or was left out of it."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as a remark has it."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def days_between(days: frozenset[date]) -> frozenset[date]:
    """Return every day from the first to the last of ``days``."""
    if not days:
        return days
    return frozenset(date.fromordinal(day) for day in range(min(days).toordinal(), max(days).toordinal() + 1))
