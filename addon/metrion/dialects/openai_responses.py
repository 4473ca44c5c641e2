"""OpenAI's Responses API, whole or streamed, as OpenAI, xAI, Azure, DeepSeek, OpenRouter and others speak it.

Sources: ``Response``, ``ResponseStatus``, ``ToolUsage`` and the stream events in the openai SDK;
https://platform.openai.com/docs/guides/tools-web-search for which searches are billed.

- A stream tells its usage once, in the event that ends it: ``response.completed``, ``.incomplete`` or ``.failed``.
- A background response is answered at once, ``queued`` and without usage; that is read back later, with a GET.
- Tools of the provider's are counted by the provider where it does so (xAI in ``usage``, OpenAI in ``tool_usage``).
  Where it does not, those that are billed by the call are counted from the output, and stay apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects import errors, openai_tokens
from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.figures import Figures
from metrion.documents import EACH, Object, Path
from metrion.model import Usage

UNDER_WAY = frozenset({"queued", "in_progress"})
"""Statuses of a response that is still being made."""

END_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})

BILLED_ITEMS: Mapping[str, tuple[str, str]] = {
    "web_search_call": ("web_search_calls", "web_search"),
    "file_search_call": ("file_search_calls", "file_search"),
}
"""Items of the output that are billed by the call: what they are counted as, and the member of ``tool_usage`` that
counts them better. The code interpreter is billed by the container, and MCP servers and functions are not billed."""

BILLED_ACTIONS = frozenset({None, "search"})
"""What a web search is billed for; opening a page and finding something in it are not."""

COUNTED = "calls in output"
"""Under this name the counts of the output stand beside the provider's own usage."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a response, or an event that has one in it, says."""
    within = document.get("response")
    response = within if isinstance(within, dict) else document
    draft.model = label(response.get("model"), draft.model)
    draft.generation_id = label(response.get("id"), draft.generation_id)
    draft.service_tier = label(response.get("service_tier"), draft.service_tier)
    if status := label(response.get("status")):
        _note_status(status, response, draft)
        # Only a background response outlives the connection on which it was asked for.
        draft.pending = status in UNDER_WAY and (response is document or response.get("background") is True)
    if document.get("type") == "response.failed":
        draft.stream_error = True
        draft.error_type = errors.error_type(response) or draft.error_type
    places = (response.get("usage"), document.get("usage"))  # the second: xAI's realtime
    if usage := next((usage for usage in places if isinstance(usage, Object) and usage), None):
        draft.usage = {**usage, "tool_usage": response.get("tool_usage"), COUNTED: _billed_calls(response)}
        draft.usage_source = usage.source


def usage(figures: Figures) -> Usage:
    """Read a ``ResponseUsage``, and with it what :func:`read` has put beside it."""
    found = openai_tokens.usage(figures)
    if found.server_tools is not None:
        return found
    told = _tool_usage(figures)
    better = {kind for name in told or () for kind, tool in BILLED_ITEMS.values() if name.startswith(f"{tool}.")}
    shown = {kind: count for kind, count in (figures.calls(COUNTED) or {}).items() if kind not in better}
    return replace(
        found,
        server_tools=told and {name: count for name, count in told.items() if count},
        unreported_tools=shown or None,
    )


def _note_status(status: str, response: Mapping[str, Any], draft: Draft) -> None:
    if status not in UNDER_WAY:
        details = (mapping(response.get(name)) for name in ("incomplete_details", "status_details"))
        draft.finish_reason = label(*(detail.get("reason") for detail in details), status)


def _billed_calls(response: Mapping[str, Any]) -> Mapping[str, int] | None:
    items = response.get("output")
    if not isinstance(items, list):
        return None
    calls = Counter[str]()
    for item in map(mapping, items):
        billed = BILLED_ITEMS.get(label(item.get("type")) or "")
        if billed and mapping(item.get("action")).get("type") in BILLED_ACTIONS and item.get("status") != "failed":
            calls[billed[0]] += 1
    return dict(calls)


def _tool_usage(figures: Figures) -> dict[str, int] | None:
    """Return OpenAI's own counts by tool: ``web_search.num_requests``, ``image_gen.output_tokens``."""
    if not figures.holds_object("tool_usage"):
        return None
    return {
        f"{tool}.{name}": count
        for tool in figures.names("tool_usage")
        for name in figures.names("tool_usage", tool)
        if not figures.holds_object("tool_usage", tool, name)
        and (count := figures.count("tool_usage", tool, name)) is not None
    }


IN_RESPONSE: tuple[Path, ...] = (
    ("model",),
    ("id",),
    ("status",),
    ("service_tier",),
    ("background",),
    ("incomplete_details",),
    ("status_details",),
    ("error",),
    ("usage",),
    ("tool_usage",),
    ("output", EACH, "type"),
    ("output", EACH, "status"),
    ("output", EACH, "action", "type"),
)

DIALECT = Dialect(
    wanted=(("type",), *IN_RESPONSE, *(("response", *path) for path in IN_RESPONSE)),
    marks=tuple(sorted(name.encode() for name in END_TYPES)),
    read=read,
    usage=usage,
    end_types=END_TYPES,
    needs=("input_tokens", "output_tokens"),
)
