"""A budget, and what of it is held for one request. Amounts are picodollars, to which events are exact."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

PICODOLLARS = 10**12
"""In a US dollar."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent by whom, and in which span of time."""

    id: int
    """Never that of another budget, not even of one that was removed."""
    scope: str
    """``token``, ``account``, ``user`` or ``provider``: what ``name`` is the name of."""
    name: str
    limit: int
    """0: nothing may be spent."""
    per: str
    """``day``, ``month``, or the length of a span that ends now, such as ``30d``."""
    timezone: str | None = None
    """Whose days and months; ``None``: the one that is configured."""
    then: str = "refuse"
    """What happens at the limit: ``refuse``, ``warn``, or ``cheaper``: what a policy's ``fallback`` names goes out."""


@dataclass(slots=True)
class Reservation:
    """What of its budgets is held for a request: the one thing of it that changes on its way."""

    budgets: tuple[Budget, ...]
    """Those that bind the request, by their ids."""
    amount: int = 0
    """Of each of them."""
    is_held: bool = False
    model: str | None = None
    """The model by whose price it is held, where the request asks for one only."""


def picodollars(usd: Decimal) -> int:
    """Return an amount in US dollars as whole picodollars."""
    return int(usd * PICODOLLARS)


def dollars(amount: int) -> Decimal:
    """Return picodollars as US dollars."""
    return Decimal(amount).scaleb(-12)
