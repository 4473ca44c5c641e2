"""What a price book makes of one event: a new cost, or a reason to keep the recorded one. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from metrion.model import Cost, CostSource
from metrion.pricing import PriceBook
from metrion.repricing.rows import WRITTEN, Row
from metrion.repricing.usages import Usages


class Kept(StrEnum):
    """Why an event keeps its recorded price, though another one is computed today."""

    NO_PRICE = "no_price"
    """The price files no longer have a price for what has one recorded."""
    NO_USAGE = "no_usage"
    """What the price depends on beside the columns cannot be read again."""


def change_of(row: Row, prices: PriceBook, usages: Usages) -> Cost | Kept | None:
    """Return the new cost of an event; ``None``: it is the recorded one."""
    usage, whole = usages.rebuilt(row)
    cost = prices.cost(
        provider=row["provider"],
        model=row["model"],
        model_requested=row["model_requested"],
        usage=usage,
        when=row["started_at"],
        service_tier=row["service_tier"],
        estimated=CostSource.ESTIMATED in (row["cost_source"], row["usage_source"]),
    )
    if _is_recorded(row, cost):
        return None
    if cost.computed_usd is None:
        return Kept.NO_PRICE if row["computed_cost_usd"] is not None else None
    return cost if whole else Kept.NO_USAGE


def columns_of(cost: Cost) -> dict[str, Any]:
    """Return the columns of :data:`~metrion.repricing.rows.WRITTEN` with their new values."""
    parts = dict(cost.parts) if cost.parts else None
    values = (cost.usd, cost.source, cost.computed_usd, parts, cost.price_version, cost.at_least_usd)
    return dict(zip(WRITTEN, values, strict=True))


def _is_recorded(row: Row, cost: Cost) -> bool:
    recorded = (row["cost_usd"], row["cost_source"], row["computed_cost_usd"], row["cost_parts"] or {})
    return recorded == (cost.usd, cost.source, cost.computed_usd, cost.parts or {})
