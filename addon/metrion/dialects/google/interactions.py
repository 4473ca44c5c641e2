"""Google's Interactions API, whole or streamed.

Source: ``Usage`` of interactions in the google-genai SDK, and recorded answers.

- Cached tokens are a part of ``total_input_tokens``; what tools put into the prompt is input beside it, thoughts are
  output beside the output.
- A stream reports its usage once, in ``interaction.completed``. A background interaction is answered at once, without;
  its usage is read back later, with a GET.
- ``grounding_tool_count`` counts the searches; which are billed, :mod:`~metrion.dialects.google.generate_content` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.google.generate_content import GROUNDED_ONCE, part
from metrion.dialects.reading.totals import TOTAL, sides
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object, Path

_AUDIO, _VIDEO = ("audio",), ("video",)
_IMAGE = ("image", "document")

_SEARCHES = frozenset({"google_search_call", "google_maps_call"})
"""Outputs that may hold several searches each: where the usage counts none, they have no price."""

_BILLED = "billed calls"
"""The name under which the draft keeps the searches beside the provider's own usage, counted as they are billed."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what an interaction, or an event that has one in it, says."""
    within = document.get("interaction")
    interaction = within if isinstance(within, dict) else document
    draft.model = label(interaction.get("model"), interaction.get("agent"), draft.model)
    draft.generation_id = label(interaction.get("id"), draft.generation_id)
    draft.service_tier = label(interaction.get("service_tier"), draft.service_tier)
    if status := label(interaction.get("status")):
        draft.pending = status == "in_progress" and document.get("event_type") is None
        draft.finish_reason = None if status == "in_progress" else status
    outputs = interaction.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        kind = label(mapping(output).get("type"))
        if kind in _SEARCHES:
            draft.unreported_tools[kind] = draft.unreported_tools.get(kind, 0) + 1
    usage = interaction.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
        tools = UsageReader(usage).tally("grounding_tool_count", by="type", of="count")
        if tools is not None:
            draft.unreported_tools.clear()
            once = GROUNDED_ONCE.match(draft.model or "") is not None
            billed = {str(name): 1 if once else count for name, count in tools.items() if count}
            draft.usage = {**usage, _BILLED: billed}


def usage(reader: UsageReader) -> Usage:
    """Read a ``Usage``."""
    tallies = {
        name: reader.tally(f"{name}_tokens_by_modality", by="modality", of="tokens") or {}
        for name in ("input", "tool_use", "output", "cached")
    }
    inputs, outputs, cached = (tallies["input"], tallies["tool_use"]), [tallies["output"]], tallies["cached"]
    cache_read_tokens = reader.count("total_cached_tokens")
    absent = 0 if cached and sum(cached.values()) == cache_read_tokens else None
    given, made = sides(
        reader,
        reader.added(("total_input_tokens",), ("total_tool_use_tokens",)),
        reader.added(("total_output_tokens",), ("total_thought_tokens",)),
        reader.count(TOTAL),
    )
    return Usage(
        input_tokens=given,
        cache_read_tokens=cache_read_tokens,
        output_tokens=made,
        reasoning_tokens=reader.count("total_thought_tokens"),
        input_audio_tokens=part(inputs, _AUDIO),
        input_image_tokens=part(inputs, _IMAGE),
        output_audio_tokens=part(outputs, _AUDIO),
        output_image_tokens=part(outputs, _IMAGE),
        server_tools=reader.calls(_BILLED),
        cache_read_audio_tokens=part([cached], _AUDIO, absent),
        cache_read_image_tokens=part([cached], _IMAGE, absent),
        input_video_tokens=part(inputs, _VIDEO),
        output_video_tokens=part(outputs, _VIDEO),
    )


_INTERACTION: tuple[Path, ...] = (
    *((name,) for name in ("model", "agent", "id", "service_tier", "status", "usage")),
    ("outputs", EACH, "type"),
)

DIALECT = Dialect(
    name="gemini_interactions",
    wanted=(("event_type",), *_INTERACTION, *(("interaction", *path) for path in _INTERACTION)),
    marks=(b'"interaction"',),
    nullable=("usage",),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    needs=("input_tokens",),
    model_names=("model", "agent"),
)
