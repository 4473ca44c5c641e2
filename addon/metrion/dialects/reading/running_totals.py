"""The usages that a stream reports one after another: running totals, of which the last counts.

A later usage takes the place of an earlier one. But a last event that knows nothing of the input, or of the output,
reports zeros: then what was known of that side stays, and so do details, such as what was read from a cache. Output
does not fall either, and neither does a prompt of chat; the input of Gemini and of Anthropic does, where they correct
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_INPUT = (
    "prompt_tokens",
    "input_tokens",
    "connector_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "total_input_tokens",
    "total_tool_use_tokens",
)
_OUTPUT = (
    "completion_tokens",
    "output_tokens",
    "candidatesTokenCount",
    "responseTokenCount",
    "thoughtsTokenCount",
    "total_output_tokens",
    "total_thought_tokens",
)
_RISING = (*_OUTPUT, "prompt_tokens")
"""Counts of which the largest is right."""
_TOTALS = ("total_tokens", "totalTokenCount")
_TOOLS = (
    "server_tool_use",
    "server_tool_use_details",
    "server_side_tool_usage_details",
    "connectors",
    "num_sources_used",
    "num_search_queries",
)
"""Calls of tools, which are not undone."""

_DETAILS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
"""Objects with the parts of a count."""


def latest(known: Mapping[str, Any], news: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the news; where they report nothing of the input or the output that was known, both merged."""
    is_less = any(_sum(known, side) and not _sum(news, side) for side in (_INPUT, _OUTPUT))
    is_less = is_less or any(_weight(known.get(name)) and not _weight(news.get(name)) for name in _TOOLS)
    is_less = is_less or any(_loses(known.get(name), news.get(name)) for name in _DETAILS)
    if not is_less and all(_sum(known, (name,)) <= _sum(news, (name,)) for name in _RISING):
        return news
    merged = _merged(known, news)
    merged |= {
        name: max(known[name], news[name])
        for name in _RISING
        if _is_number(known.get(name)) and _is_number(news.get(name))
    }
    for name in _TOTALS:
        if totals := [_total(name, each, merged) for each in (known, news) if _is_number(each.get(name))]:
            merged[name] = max(totals)
    return merged


def _merged(known: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Return the news, with what is known in place of what is nothing in them."""
    merged = dict(known)
    for name, value in news.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _merged(before, value)
        elif (
            _weight(value) or not _weight(before) or isinstance(value, str | bool)
        ):  # the last is no count, and a doubt
            merged[name] = value
    return merged


def _loses(known: object, news: object) -> bool:
    """Whether a part that was counted is not counted any more."""
    if not isinstance(known, dict):
        return False
    left = news if isinstance(news, dict) else {}
    return any(_weight(count) and not _weight(left.get(name)) for name, count in known.items())


def _total(name: str, reported: Mapping[str, Any], merged: Mapping[str, Any]) -> Any:
    """Return a total that was reported, and what the merged parts have more."""
    parts = (*_INPUT, *_OUTPUT)
    return reported[name] + _sum(merged, parts) - _sum(reported, parts)


def _sum(usage: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return sum(value for name in names if _is_number(value := usage.get(name)))


def _weight(value: object) -> Any:
    """Return the sum of all numbers in a value."""
    if isinstance(value, dict):
        return sum(map(_weight, value.values()))
    if isinstance(value, list):
        return sum(map(_weight, value))
    return value if _is_number(value) else 0


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, Decimal) and value.is_finite())
