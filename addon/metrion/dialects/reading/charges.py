"""What usage objects of the OpenAI family say beside tokens: amounts that were charged, and calls that are billed.

In goes a usage object, whatever its tokens are called; out come an amount and counts. Nothing here raises.
"""

from __future__ import annotations

from decimal import Decimal

from metrion.dialects.reading.usage_reader import UsageReader

CALLS = (
    ("num_sources_used",),  # xAI's live search
    ("num_server_side_tools_used",),  # xAI, all of its tools together
    ("num_search_queries",),  # Perplexity
    ("prompt_audio_seconds",),  # Mistral bills what it heard by the second, beside the tokens
    ("request_count",),  # Mistral's moderation
    ("search_units",),  # Cohere's rankings
)
"""Counts of what is billed by the call. Zero is left out, as a tool that was not called."""

CALLS_BY_TOOL = (
    "server_tool_use_details",  # OpenRouter
    "server_tool_use",  # OpenRouter, earlier
    "server_side_tool_usage_details",  # xAI
)
"""Objects of such counts."""

TOOLS = frozenset({*CALLS_BY_TOOL, *(path[0] for path in CALLS)})
TICKS, COST = "cost_in_usd_ticks", "cost"
MONEY = frozenset({TICKS, COST})


def server_tools(reader: UsageReader) -> dict[str, int] | None:
    """Return the calls of tools by the provider's names; ``None`` where it says nothing of tools."""
    if not reader.has_any(TOOLS):
        return None
    groups = [reader.calls(name) for name in CALLS_BY_TOOL]
    groups += [{path[-1]: count} if (count := reader.count(*path)) else {} for path in CALLS if reader.has(*path)]
    told = [group for group in groups if group is not None]
    return {name: count for group in told for name, count in group.items()} if told else None


def charged(reader: UsageReader) -> Decimal | None:
    """Return what xAI, Perplexity or OpenRouter says it charged, in US dollars."""
    if not reader.has_any(MONEY):
        return None
    ticks = reader.count(TICKS)
    if ticks is not None:
        return Decimal(ticks).scaleb(-10)
    return reader.dollars(COST, "total_cost") if reader.holds_object(COST) else reader.dollars(COST)
