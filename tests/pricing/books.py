"""Price books of a few lines, and what the tests of prices ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from metrion.model import Cost, Usage
from metrion.pricing import PriceBook

PRICING = Path(__file__).resolve().parents[2] / "pricing.yaml"
NOW = datetime(2026, 11, 21)  # noqa: DTZ001 -- events have naive UTC times
SOME = Usage(input_tokens=10, output_tokens=1)

CORRECTED = {
    "gpt-4o-mini-audio-preview-2024-12-17": "genai-prices has no rates for its audio",
    "magistral-medium-latest": "the name moved to Mistral Medium 3.5",
    "magistral-small-latest": "the name moved to Mistral Small 4",
    "mistral-large-latest": "the name moved to Mistral Large 3",
    "mistral-small-2506": "cached tokens cost a tenth",
    "voxtral-small-latest": "its audio is billed by the minute",
}
"""Where scripts/pricing-extra.yaml says otherwise than genai-prices, with a source."""


def book(folder: Path, *texts: str) -> PriceBook:
    paths = [folder / f"prices-{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return PriceBook.load(paths)


def cost(
    prices: PriceBook,
    usage: Usage | None,
    *,
    provider: str = "p",
    model: str | None = "m",
    requested: str | None = None,
    when: datetime = NOW,
    tier: str | None = None,
    estimated: bool = False,
) -> Cost:
    return prices.cost(
        provider=provider,
        model=model,
        model_requested=requested,
        usage=usage,
        when=when,
        service_tier=tier,
        estimated=estimated,
    )


def texts(parts: Mapping[str, Decimal] | None) -> dict[str, str] | None:
    return None if parts is None else {name: f"{amount.normalize():f}" for name, amount in parts.items()}


SERVED = """
p:
  m:
    input: 10
    cache_read: 1
    output: 100
    above: {1000000: {input: 20, output: 200}}
    fees: {web_search: 10}
    service_tiers:
      batch: {input: 5, output: 50}
      eu+us: {input: 1.111, output: 50}
      Flex:
        - {from: 2026-01-01, input: 6}
        - {from: 2026-06-01, input: 7, above: {1000000: {input: 8}}}
"""
DATED = """
p:
  m:
    rates:
      - {input: 1, until: 2026-03-13}
      - {input: 2, from: 2026-03-13, until: 2026-06-01}
      - {input: 4, from: 2026-07-01}
      - {input: 3, from: 2026-08-01, until: 2026-08-02}
  single: {from: 2026-01-01, input: 7}
"""
SHARED = """
p:
  m: {input: 2, output: 10, fees: {web_search: 10, request: 1000}, above: {100000: {input: 4}},
      service_tiers: {flex: {input: 1, output: 5}}}
  adviser: {input: 5, output: 25}
"""


def shared(*shares: tuple[str | None, Usage], **totals: Any) -> Usage:
    return Usage(
        input_tokens=sum(share.input_tokens or 0 for _, share in shares),
        output_tokens=sum(share.output_tokens or 0 for _, share in shares),
        shares=shares,
        **totals,
    )
