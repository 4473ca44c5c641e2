"""Blocks by provider and model → the text of pricing.yaml. The same blocks always give the same bytes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping

from scripts.prices.blocks import Block
from scripts.prices.package import GENAI_PRICES

HEADER = f"""\
# What models cost, in US dollars: tokens per million, audio per hour, fees per 1,000. Format: docs/pricing.md.
#
# Made by scripts/update-pricing from genai-prices {GENAI_PRICES} (https://github.com/pydantic/genai-prices, MIT) and
# scripts/pricing-extra.yaml. Do not edit: your own prices belong into a file of your own, named after this one under
# `pricing` in metrion.yaml.
"""


def flow(value: object) -> str:
    """Return a value as YAML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(flow(item) for item in value) + "]"
    text = str(value)
    return json.dumps(text) if re.search(r"[*\[\]{}&!|>%@`,#?]|: |^[-:]|:$", text) else text


def block_lines(key: str, value: object, indent: str) -> list[str]:
    """Return a key and its value as YAML, nested as far as it reads better."""
    match key, value:
        case "rates" | "service_tiers" | "above", dict():
            return [f"{indent}{key}:", *(line for item in value.items() for line in tier_lines(*item, indent + "  "))]
        case "rates", list():
            return [f"{indent}{key}:", *(f"{indent}  - {flow(item)}" for item in value)]
    return [f"{indent}{key}: {flow(value)}"]


def tier_lines(name: object, value: object, indent: str) -> list[str]:
    """Return what stands under one threshold or service tier."""
    if isinstance(value, list):
        return [f"{indent}{name}:", *(f"{indent}  - {flow(item)}" for item in value)]
    return [f"{indent}{name}: {flow(value)}"]


def rendered(book: Mapping[str, Mapping[str, Block]], unpriced: Mapping[str, Mapping[str, Block]] | None = None) -> str:
    """Return the text of pricing.yaml; ``unpriced`` are the models that have a reason in place of a price."""
    comment = textwrap.TextWrapper(
        120, initial_indent="  # ", subsequent_indent="  # ", break_long_words=False, break_on_hyphens=False
    )
    lines = [HEADER]
    for provider, models in sorted(book.items()):
        lines.append(f"{provider}:")
        for model, block in sorted(models.items()):
            lines += [*comment.wrap(block["comment"]), f"  {flow(model)}:"]
            lines += [line for key in block if key != "comment" for line in block_lines(key, block[key], "    ")]
            lines.append("")
        if reasons := (unpriced or {}).get(provider):
            lines.append("  # Without a price:")
            for model, block in sorted(reasons.items()):
                lines += comment.wrap(f"- {model}: {block['unpriced']} {block['source']}, checked {block['checked']}.")
            lines.append("")
    return "\n".join(lines)
