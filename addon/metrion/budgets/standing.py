"""How each budget stands: its file in; what is spent, held and left, and when it turns, out. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metrion.admission.spans import span
from metrion.budgets import ledger
from metrion.model import Budget, dollars
from metrion.settings.timezones import zone


@dataclass(frozen=True, slots=True)
class Standing:
    """One budget now. Amounts are picodollars."""

    budget: Budget
    spent: int | None
    """``None``: it was not counted yet."""
    held: int
    turns_at: int | None
    """When it turns, or when the next amount leaves a span that moves; ``None``: not known, or nothing does."""

    @property
    def left(self) -> int | None:
        """What may still be spent; not below 0."""
        return None if self.spent is None else max(0, self.budget.limit - self.spent - self.held)


def standings(folder: Path, budgets: Iterable[Budget], timezone: str, now: float) -> Iterator[Standing]:
    """Give how each budget stands."""
    for budget in budgets:
        current = span(budget.per, now, zone(budget.timezone or timezone))
        page = ledger.read(folder, budget.id)
        if page is None:
            yield Standing(budget, None, 0, current.until)
            continue
        at = page.turn(current.key)
        turns_at = current.until or page.frees_at or None
        yield Standing(budget, None if at is None else page.spent(at), page.held, turns_at)


def exact(amount: int) -> str:
    """Write picodollars in US dollars, exactly."""
    return format(dollars(amount).normalize(), "f")
