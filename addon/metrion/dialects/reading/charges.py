"""What usage objects of the OpenAI family report beside tokens: amounts that were charged, and calls that are billed.

A usage object goes in, whatever its tokens are called; an amount and counts come out. Nothing here raises.
"""

from __future__ import annotations

from decimal import Decimal

from metrion.dialects.reading.usage_reader import UsageReader

_CALLS = (
    ("num_sources_used",),  # xAI's live search
    ("num_server_side_tools_used",),  # xAI, all of its tools together
    ("num_search_queries",),  # Perplexity
    ("prompt_audio_seconds",),  # Mistral bills what it heard by the second, beside the tokens
    ("request_count",),  # Mistral's moderation
    ("search_units",),  # Cohere's rankings
    ("citation_tokens",),  # Perplexity's research bills them beside its output
)
"""Counts of what is billed by the call. Zero is left out, as a tool that was not called."""

_CALLS_BY_TOOL = (
    "server_tool_use_details",  # OpenRouter
    "server_tool_use",  # OpenRouter, earlier
    "server_side_tool_usage_details",  # xAI
    "connectors",  # Mistral
)
"""Objects of such counts."""

_TOOLS = frozenset({*_CALLS_BY_TOOL, *(path[0] for path in _CALLS)})
_TICKS, _COST = "cost_in_usd_ticks", "cost"
_MONEY = frozenset({_TICKS, _COST})

_DETAILS, _UPSTREAM = "cost_details", "upstream_inference_cost"
_UPSTREAM_PARTS = (
    ("upstream_inference_prompt_cost", "upstream_inference_completions_cost"),
    ("upstream_inference_input_cost", "upstream_inference_output_cost"),
)
"""OpenRouter's names in chat completions, and in Responses."""


def server_tools(reader: UsageReader) -> dict[str, int] | None:
    """Return the calls of tools by the provider's names; ``None`` where it reports nothing of tools."""
    if not reader.has_any(_TOOLS):
        return None
    groups = [reader.calls(name) for name in _CALLS_BY_TOOL]
    groups += [{path[-1]: count} if (count := reader.count(*path)) else {} for path in _CALLS if reader.has(*path)]
    reported = [group for group in groups if group is not None]
    return {name: count for group in reported for name, count in group.items()} if reported else None


def charged(reader: UsageReader) -> Decimal | None:
    """Return what xAI, Perplexity or OpenRouter says it charged, in US dollars."""
    if not reader.has_any(_MONEY):
        return None
    ticks = reader.count(_TICKS)
    if ticks is not None:
        return Decimal(ticks).scaleb(-10)
    if reader.holds_object(_COST):
        return reader.dollars(_COST, "total_cost")
    cost = reader.dollars(_COST)
    if cost is not None and reader.is_true("is_byok"):
        return _with_own_key(reader, cost)
    if cost == 0 and not reader.has("is_byok"):  # nothing was charged, and the provider has a bill all the same
        return reader.dollars(_DETAILS, _UPSTREAM) or cost
    return cost


def _with_own_key(reader: UsageReader, fee: Decimal) -> Decimal | None:
    """Return what a request cost that went out with the caller's own key: OpenRouter's fee, and the provider's bill.

    https://openrouter.ai/docs/use-cases/byok. Without the second, the whole is not known.
    """
    upstream = reader.dollars(_DETAILS, _UPSTREAM)
    if upstream is None:
        for names in _UPSTREAM_PARTS:
            parts = [reader.dollars(_DETAILS, name) for name in names]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                upstream = sum(known, Decimal(0))
    return None if upstream is None else fee + upstream
