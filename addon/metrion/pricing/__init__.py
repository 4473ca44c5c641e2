"""Price files → what a response cost."""

from __future__ import annotations

from metrion.pricing.book import PriceBook
from metrion.pricing.prices import PER_CHARACTER, PER_MILLION, RATES, STANDARD_TIERS

__all__ = ["PER_CHARACTER", "PER_MILLION", "RATES", "STANDARD_TIERS", "PriceBook"]
