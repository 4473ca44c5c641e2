"""A price book against the samples of the genai-prices package: what costs something else here than there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from metrion.model import CostSource, Usage
from metrion.pricing import PriceBook
from scripts.prices.blocks import service_tier
from scripts.prices.package import PROVIDERS

_GUESSED = frozenset(
    {"cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "input_audio_tokens", "output_audio_tokens",
     "cache_audio_read_tokens", "output_image_tokens", "cache_image_read_tokens"}
)  # fmt: skip
"""Counts that have a price here only where there is a rate for them."""


def disagreements(prices: PriceBook, package: Mapping[str, Any]) -> list[str]:
    """Return the samples that cost something else here than with genai-prices."""
    found = []
    for theirs, ours in PROVIDERS.items():
        for model, day, context, tokens, total in package[theirs]["samples"]:
            usage = {re.sub(r"cache_(\w+)_read", r"cache_read_\1", key): count for key, count in tokens.items()}
            tier = service_tier(context) if context else None
            cost = prices.cost(
                provider=ours, model=model, model_requested=None, usage=Usage(**usage),
                when=datetime.fromisoformat(day), service_tier=tier,
            )  # fmt: skip
            if cost.source is CostSource.UNPRICED and cost.at_least_usd and _GUESSED & tokens.keys():
                continue  # genai-prices bills what has no rate as the text around it
            if cost.usd is None or cost.usd != Decimal(total):
                found.append(
                    f"{ours} > {model} on {day}, {tier or 'standard'}, {usage}: {cost.usd} here, {total} there"
                )
    return found
