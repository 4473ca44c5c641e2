"""Price files → what a response cost."""

from __future__ import annotations

from metrion.pricing.book import PriceBook
from metrion.pricing.prices import AUDIO_HOUR, PER_CHARACTER, PER_MILLION, RATES, STANDARD_TIERS

__all__ = ["AUDIO_HOUR", "PER_CHARACTER", "PER_MILLION", "RATES", "STANDARD_TIERS", "PriceBook"]
