"""OpenAI's Responses API, whole or streamed, as OpenAI, xAI, Azure, DeepSeek, OpenRouter and others speak it.

Sources: ``Response``, ``ResponseStatus``, ``ToolUsage`` and the stream events in the openai SDK;
https://platform.openai.com/docs/guides/tools-web-search for which searches are billed.

- A stream reports its usage once, in the event that ends it: ``response.completed``, ``.incomplete`` or ``.failed``.
- A background response is answered at once, ``queued`` and without usage; the usage is read back later, with a GET.
- Tools of the provider's are counted by the provider where it does so (xAI in ``usage``, OpenAI in ``tool_usage``).
  Where it does not, those that are billed by the call are counted from the output, and stay apart.
- Images are made by another model, which ``tools`` names, and drawings (SVG) are written by a third: what they used is
  in ``tool_usage.image_gen`` and in the output, and is billed under their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, USAGES, Dialect, Draft, label, mapping
from metrion.dialects.openai import token_details as openai_tokens
from metrion.dialects.openai.responses_texts import TEXTS
from metrion.dialects.reading import errors
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object, Path, to_json

_UNDER_WAY = frozenset({"queued", "in_progress"})
"""Statuses of a response that is still being made."""

END_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})

_SEARCH, _PREVIEW = "web_search", "web_search_preview"
"""The tool that searches, and its predecessor, which costs more with some models. Items and counts are the same: which
of the two it was shows in the ``tools`` of the response."""

_IMAGES = "image_gen"
_BILLED_ITEMS: Mapping[str, str] = {
    "web_search_call": _SEARCH,
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": _IMAGES,
}
"""Items of the output that are billed beside the tokens, and the member of ``tool_usage`` that counts them better. The
code interpreter is billed by the container, of which the calls say no number: they have no fee. MCP servers and
functions are not billed."""

_SHELL, _IN_CONTAINER = "shell_call", "container_reference"
"""A command, and the environment of one that the provider runs, in a container that it bills."""

_BILLED_ACTIONS = frozenset({None, "search"})
"""What a web search is billed for; opening a page and finding something in it are not."""

_COUNTED = "calls in output"
"""The name under which the draft keeps the counts of the output beside the provider's own usage."""

_IMAGE_MODEL, _WRITTEN = "image_generation", "svg_usage"
"""The same for the name of the model that made images, and for what was used to write drawings. The first is also the
name of a model that is not named, so that images are never billed under another."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a response, or an event that has one in it, says."""
    within = document.get("response")
    response = within if isinstance(within, dict) else document
    draft.model = label(response.get("model"), draft.model)
    draft.generation_id = label(response.get("id"), draft.generation_id)
    draft.service_tier = label(response.get("service_tier"), draft.service_tier)
    if status := label(response.get("status")):
        _record_status(status, response, draft)
        # Only a background response outlives the connection of its request.
        draft.pending = status in _UNDER_WAY and (response is document or response.get("background") is True)
    if document.get("type") == "response.failed":
        draft.stream_error = True
        draft.error_type = errors.error_type(response) or draft.error_type
    draft.has_output |= bool(response.get("output"))
    places = (response.get("usage"), document.get("usage"))  # the second: xAI's realtime
    if usage := next((usage for usage in places if isinstance(usage, Object) and usage), None):
        draft.usage = {**usage, "tool_usage": response.get("tool_usage"), _COUNTED: _billed_calls(response)}
        draft.usage_source = usage.source
        if images := _images(response):
            draft.usage |= images
            draft.usage_source = to_json({**usage, "tool_usage": response.get("tool_usage"), **images})


def usage(reader: UsageReader) -> Usage:
    """Read a ``ResponseUsage``, and what :func:`read` has put beside it."""
    found = openai_tokens.usage(reader)
    if found.server_tools is not None:
        return found
    counted = _tool_usage(reader)
    better = {name.partition(".")[0]: count for name, count in (counted or {}).items()}
    calls = dict(reader.calls(_COUNTED) or {})
    if _SEARCH in better and reader.has(_COUNTED, _PREVIEW):
        calls[_PREVIEW] = better[_SEARCH]
    shown = {f"{tool}_calls": count for tool, count in calls.items() if count and tool not in better}
    if counted is not None or shown:
        found = replace(
            found,
            server_tools=counted and {name: count for name, count in counted.items() if count},
            unreported_tools=shown or None,
        )
    others = _by_others(reader)
    return replace(found, shares=((None, replace(found, raw=None)), *others)) if others else found


def _record_status(status: str, response: Mapping[str, Any], draft: Draft) -> None:
    if status not in _UNDER_WAY:
        details = (mapping(response.get(name)) for name in ("incomplete_details", "status_details"))
        draft.finish_reason = label(*(detail.get("reason") for detail in details), status)


def _billed_calls(response: Mapping[str, Any]) -> Mapping[str, int] | None:
    items = response.get("output")
    if not isinstance(items, list):
        return None
    search = _PREVIEW if _has_preview(response) else _SEARCH
    calls = Counter({search: 0})
    for item in map(mapping, items):
        billed = _BILLED_ITEMS.get(label(item.get("type")) or "")
        if item.get("type") == _SHELL and mapping(item.get("environment")).get("type") == _IN_CONTAINER:
            calls["shell"] += 1
        if billed and mapping(item.get("action")).get("type") in _BILLED_ACTIONS and item.get("status") != "failed":
            calls[search if billed == _SEARCH else billed] += 1
    return dict(calls)


def _has_preview(response: Mapping[str, Any]) -> bool:
    """Whether the preview is what searches, also under the name of a version: ``web_search_preview_2025_03_11``."""
    tools = response.get("tools")
    names = (label(mapping(tool).get("type")) for tool in (tools if isinstance(tools, list) else ()))
    return any(name is not None and name.startswith(_PREVIEW) for name in names)


def _images(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is reported of images beside the usage; nothing where none were made."""
    made = mapping(mapping(response.get("tool_usage")).get("image_gen"))
    output, tools = ([mapping(item) for item in items] if isinstance(items := response.get(name), list) else []
                     for name in ("output", "tools"))  # fmt: skip
    written = [usage for item in output if isinstance(usage := item.get(_WRITTEN), Object) and usage]
    if not made.get("output_tokens") and not written:
        return {}
    names = (tool.get("model") for tool in tools if tool.get("type") == _IMAGE_MODEL)
    return {_IMAGE_MODEL: label(*names, _IMAGE_MODEL), _WRITTEN: written}


def _by_others(reader: UsageReader) -> list[tuple[str | None, Usage]]:
    """Read what other models used to make images and to write drawings."""
    billed: list[tuple[str | None, Usage]] = []
    made = ("tool_usage", "image_gen")
    if reader.holds_object(*made) and (output_tokens := reader.count(*made, "output_tokens")):
        drawn = reader.count(*made, "output_tokens_details", "image_tokens")
        images = Usage(
            input_tokens=reader.count(*made, "input_tokens"),
            cache_read_tokens=reader.count(*made, "cached_tokens"),
            output_tokens=output_tokens,
            input_image_tokens=reader.count(*made, "input_tokens_details", "image_tokens"),
            output_image_tokens=output_tokens if drawn is None else drawn,
            cache_read_image_tokens=reader.count(*made, "cached_tokens_details", "cached_image_tokens"),
        )
        billed.append((reader.text(_IMAGE_MODEL) or _IMAGE_MODEL, images))
    for each in reader.entries(_WRITTEN) or ():
        written = Usage(
            input_tokens=each.count("input_tokens"),
            output_tokens=each.count("output_tokens"),
            reasoning_tokens=each.count("reasoning_tokens"),
        )
        billed.append((each.text("model") or _IMAGE_MODEL, written))
    return billed


def _tool_usage(reader: UsageReader) -> dict[str, int] | None:
    """Return OpenAI's own counts by tool: ``web_search.num_requests``, ``image_gen.output_tokens``."""
    tools = reader.objects("tool_usage")
    if tools is None:
        return None
    return {f"{tool}.{name}": count for tool, calls in tools.items() for name, count in calls.own_counts().items()}


_IN_RESPONSE: tuple[Path, ...] = (
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
    ("output", EACH, "environment", "type"),
    ("output", EACH, "svg_usage"),
    ("tools", EACH, "type"),
    ("tools", EACH, "model"),
)

DIALECT = Dialect(
    name="openai_responses",
    wanted=(("type",), *_IN_RESPONSE, *(("response", *path) for path in _IN_RESPONSE)),
    sourced=USAGES | {_WRITTEN},
    marks=tuple(sorted(name.encode() for name in END_TYPES)),
    output=re.compile(rb"response\.(?:[a-z_.]+\.delta|output_item\.added)"),
    read=read,
    usage=usage,
    end_types=END_TYPES,
    needs=TOKENS,
    texts=TEXTS,
)
