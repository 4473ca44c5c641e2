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
)
"""Counts of what is billed by the call. Zero is left out, as a tool that was not called."""

_CALLS_BY_TOOL = (
    "server_tool_use_details",  # OpenRouter
    "server_tool_use",  # OpenRouter, earlier
    "server_side_tool_usage_details",  # xAI
)
"""Objects of such counts."""

_TOOLS = frozenset({*_CALLS_BY_TOOL, *(path[0] for path in _CALLS)})
_TICKS, _COST = "cost_in_usd_ticks", "cost"
_MONEY = frozenset({_TICKS, _COST})


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
    return reader.dollars(_COST, "total_cost") if reader.holds_object(_COST) else reader.dollars(_COST)
