"""How ``metrion today`` and ``metrion run`` word what was spent. Pure: figures in, a line out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from metrion.cli.dollars import dollars

if TYPE_CHECKING:
    from metrion.store.recent import Spent


def of_today(spent: Spent) -> str:
    """Word it for a prompt: ``$1.84 today · 132 requests · 2 without a cost``."""
    parts = [f"{_amount(spent.cost_usd)} today", _counted(spent.requests, "request")]
    if spent.without_cost:
        parts.append(f"{spent.without_cost:,} without a cost")
    return " · ".join(parts)


def of_a_run(spent: Spent, token: str, *, intercepted: bool = False) -> str:
    """Word what a run cost, and what is not in the sum."""
    if not spent.requests:
        way_out = "A program that reads no base URL from its environment is metered by `metrion run --intercept`."
        return "metrion: no request came." if intercepted else f"metrion: no request came. {way_out}"
    tokens = [
        f"{count:,} tokens {way}"
        for count, way in ((spent.input_tokens, "in"), (spent.output_tokens, "out"))
        if count is not None
    ]
    line = f"metrion: {_amount(spent.cost_usd)} · " + " · ".join([_counted(spent.requests, "request"), *tokens])
    missing = [
        f"{count:,} {why}"
        for count, why in ((spent.unknown, "whose usage is not known"), (spent.unpriced, "of a model without a price"))
        if count
    ]
    if missing:
        line += f" · not in the sum: {' and '.join(missing)}"
    return f"{line} (metrion tail --token {token})"


def _amount(amount: Decimal | None) -> str:
    if amount is None:
        return "$?"
    return f"${amount:,.2f}" if amount >= 1 else f"${dollars(amount)}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
