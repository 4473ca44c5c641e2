"""What a provider's page says of all its models at once, put into the blocks of each.

Pure functions over plain data, applied last: to what genai-prices has and to what is kept by hand alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from scripts.prices.blocks import Block

_ALLOWED = {"google": ("google_maps", "web_search")}
"""Fees that are due only beyond a number of calls a day or a month that is free.

Source: https://ai.google.dev/gemini-api/docs/pricing (Grounding with Google Search, with Google Maps), checked
2026-11-28."""

_REGIONAL = {
    "openai": (
        (re.compile(r"gpt-(5\.[4-9]|[6-9])"), "1.1"),
        (re.compile(r"(ft:)?(gpt-(3|4|5(?![.\d])|5\.[0-3])|o[134](-|$)|chatgpt-4o|text-embedding-)"), "1"),
    )
}
"""What regional endpoints multiply a price by: a tenth more for models released on or after 2026-03-05, which was the
day of gpt-5.4. A model that is not listed was released on a day that is not known here.

Source: https://developers.openai.com/api/docs/guides/data-residency, checked 2026-11-28."""


def generalised(book: Mapping[str, Mapping[str, Block]]) -> Mapping[str, Mapping[str, Block]]:
    """Complete the blocks of a whole book, and return it."""
    for provider, models in book.items():
        for model, block in models.items():
            factor = next((factor for names, factor in _REGIONAL.get(provider, ()) if names.match(model)), None)
            for prices in _periods(block):
                if allowed := [fee for fee in _ALLOWED.get(provider, ()) if fee in prices.get("fees", {})]:
                    prices["allowance"] = allowed
                if factor:
                    prices["regional"] = factor
            if tiers := block.pop("service_tiers", None):
                block["service_tiers"] = tiers
    return book


def _periods(block: Block) -> Iterator[Block]:
    yield from block.get("rates", [block])
