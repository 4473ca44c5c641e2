"""How amounts of dollars are written for people. Pure."""

from __future__ import annotations

from decimal import Decimal


def dollars(amount: Decimal | float) -> str:
    """Write an amount with four significant digits, and never without its cents: 0.0001235, 12.35, 1234.50."""
    amount = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    places = min(max(2, 3 - amount.adjusted()), 12) if amount else 2
    return f"{amount:.{places}f}"
