"""What a price book makes of one event: a new cost, or a reason to keep the recorded one. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from metrion.model import Cost, CostSource, Usage
from metrion.pricing import PriceBook
from metrion.pricing.bill import REGIONAL
from metrion.repricing.rows import WRITTEN, Row
from metrion.repricing.usages import Usages

_AMOUNTS = ("cost_usd", "cost_source", "computed_cost_usd", "cost_at_least_usd")
_BATCH_DAYS = 30
"""So long before its results are read, a batch may have been done."""


class Kept(StrEnum):
    """Why an event keeps its recorded price, though another one is computed today."""

    NO_PRICE = "no_price"
    """The price files no longer have a price for what has one recorded."""
    NO_USAGE = "no_usage"
    """What the price depends on beside the columns cannot be read again."""
    NO_DAY = "no_day"
    """A batch is priced at the day on which it was done. No column has that day, and prices changed about then."""


def change_of(row: Row, prices: PriceBook, usages: Usages) -> Cost | Kept | None:
    """Return the new cost of an event; ``None``: it is the recorded one."""
    usage, whole = usages.rebuilt(row)
    cost = _cost(row, prices, usage, row["started_at"])
    if _is_recorded(row, cost):
        return None
    if "batch" in (row["operation"], row["service_tier"]):
        days = (row["started_at"] - timedelta(days=ago) for ago in range(1, _BATCH_DAYS + 1))
        if any(_cost(row, prices, usage, day) != cost for day in days):
            return Kept.NO_DAY
    if cost.computed_usd is None and row["computed_cost_usd"] is not None:
        return Kept.NO_PRICE
    if cost.computed_usd is None and (cost.at_least_usd is None or cost.source != row["cost_source"]):
        return None
    return cost if whole else Kept.NO_USAGE


def columns_of(cost: Cost) -> dict[str, Any]:
    """Return the columns of :data:`~metrion.repricing.rows.WRITTEN` with their new values."""
    parts = dict(cost.parts) if cost.parts else None
    values = (cost.usd, cost.source, cost.computed_usd, parts, cost.price_version, cost.at_least_usd)
    return dict(zip(WRITTEN, values, strict=True))


def _cost(row: Row, prices: PriceBook, usage: Usage, when: datetime) -> Cost:
    """Price an event as on a day. Whether it went to a regional endpoint is known by a part of its cost."""
    cost = prices.cost(
        provider=row["provider"],
        model=row["model"],
        model_requested=row["model_requested"],
        usage=usage,
        when=when,
        service_tier=row["service_tier"],
        regional=any(part.rpartition(":")[2] == REGIONAL for part in row["cost_parts"] or ()),
        estimated=CostSource.ESTIMATED in (row["cost_source"], row["usage_source"]),
    )
    # An estimate is not certain.
    return replace(cost, at_least_usd=None) if row["usage_source"] == "estimated" else cost


def _is_recorded(row: Row, cost: Cost) -> bool:
    recorded = (*(row[name] for name in _AMOUNTS), row["cost_parts"] or {})
    return recorded == (cost.usd, cost.source, cost.computed_usd, cost.at_least_usd, cost.parts or {})
