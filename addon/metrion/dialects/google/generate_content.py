"""Gemini's ``generateContent``, whole or streamed as events or as one JSON array, and its embeddings.

Sources: ``GenerateContentResponse.UsageMetadata`` in the REST reference of the Gemini API and of Vertex AI, the
google-genai SDK; https://ai.google.dev/gemini-api/docs/google-search for what a search costs.

- Cached tokens are a part of ``promptTokenCount``. What a tool put into the prompt (``toolUsePromptTokenCount``) is
  input beside it, thoughts are output beside the candidates.
- A stream reports running totals. The last ones count; a chunk that counts nothing does not change them.
- With ``enum-encoding=int`` names are numbers. A count that is 0 is left out, and so is not reported.
- ``billedToolCalls`` counts the calls of tools that are billed, where it is there.
- Models before Gemini 3 bill a prompt that was grounded by searches once, later ones each search. Searches for
  images are searches too. Else than in ``billedToolCalls`` they are in ``groundingMetadata`` only, beside the usage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.google.generate_content_texts import TEXTS
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object, Path

_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "responseTokenCount",  # the Live API's name of the one above
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)
_INPUT = (("promptTokenCount",), ("toolUsePromptTokenCount",))
_OUTPUT = (("candidatesTokenCount",), ("responseTokenCount",), ("thoughtsTokenCount",))
MADE = tuple(path[0] for path in _OUTPUT)
"""What counts output."""
_TRAFFIC_TYPES = {1: "ON_DEMAND", 2: "PROVISIONED_THROUGHPUT", 3: "ON_DEMAND_PRIORITY", 4: "ON_DEMAND_FLEX"}
_FINISH_REASONS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION"}
"""Those on which the Gemini API and Vertex AI agree; of the others the number has to do."""

_AUDIO = ("AUDIO", 4)
_IMAGE = ("IMAGE", 2, "DOCUMENT", 5)
"""The pages of a document are billed as images."""
_VIDEO = ("VIDEO", 3)

_MOST_CALLS = 1 << 12
"""As many calls of tools are kept apart."""

_SEARCH, _MAPS = "google_search", "google_maps"
_QUERIES = ("webSearchQueries", "imageSearchQueries")

_ROUNDING = 1
"""By so much a total has been seen to differ from its parts."""

GROUNDED_ONCE = re.compile(r"(?:.*/)?gemini-[12](?![0-9])")
"""Models that bill the searches of a prompt together."""

_DRAWS = re.compile("-image|-banana")
"""Models that make images, and may answer with text alone."""


@dataclass(slots=True)
class GeminiDraft(Draft):
    """A draft that counts the calls of tools."""

    seen: set[int] = field(default_factory=set)
    """Hashes of the calls that are counted already: a stream reports some of them more than once."""


def read(document: Mapping[str, Any], draft: GeminiDraft) -> None:
    """Record what a response, or a chunk of one, says."""
    draft.model = label(document.get("modelVersion"), draft.model)
    draft.generation_id = label(document.get("responseId"), draft.generation_id)
    blocked = mapping(document.get("promptFeedback")).get("blockReason")
    draft.finish_reason = label(blocked, draft.finish_reason)
    candidates = document.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        reason = mapping(candidate).get("finishReason")
        draft.finish_reason = label(_enum(reason, _FINISH_REASONS), draft.finish_reason)
        record_searches(mapping(mapping(candidate).get("groundingMetadata")), draft)
    record_usage(document.get("usageMetadata"), draft)


def record_usage(usage: object, draft: Draft) -> None:
    """Record the latest usage, where it counts anything."""
    if not isinstance(usage, Object):
        return
    tier = _enum(usage.get("trafficType"), _TRAFFIC_TYPES)
    draft.service_tier = label(usage.get("serviceTier"), tier, draft.service_tier)
    if any(usage.get(name) is not None for name in _COUNTS):
        draft.usage, draft.usage_source = usage, usage.source


def record_searches(grounding: Mapping[str, Any], draft: GeminiDraft) -> None:
    """Count what the provider bills of its searches. Empty ones and repeated ones are free."""
    searches = set[str]()
    for name in _QUERIES:
        queries = grounding.get(name)
        if isinstance(queries, list):
            searches |= {f"{name} {query}" for query in queries if isinstance(query, str) and query}
    _count_tool(_SEARCH, searches, draft)
    chunks = grounding.get("groundingChunks")
    if isinstance(chunks, list) and any(isinstance(mapping(chunk).get("maps"), dict) for chunk in chunks):
        _count_tool(_MAPS, {""}, draft)


def _count_tool(name: str, calls: set[str], draft: GeminiDraft) -> None:
    """Count the calls of a tool that were not seen before: all of them, or the first where one pays for all."""
    new = {hash((name, call)) for call in calls} - draft.seen
    if len(draft.seen) + len(new) > _MOST_CALLS:
        draft.faults.append("calls of tools are too many to be told apart")
        return
    draft.seen |= new
    if new:
        known = draft.unreported_tools.get(name, 0)
        draft.unreported_tools[name] = 1 if GROUNDED_ONCE.match(draft.model or "") else known + len(new)


def _enum(value: object, names: Mapping[int, str]) -> str | None:
    """Return the name of an enum's value, which may be sent as a number; 0 is none."""
    if type(value) is int and value:
        return names.get(value, str(value))
    return value if isinstance(value, str) else None


def billed_tools(reader: UsageReader) -> dict[str, int] | None:
    """Return the calls that the usage itself says are billed, by the names under which searches are counted here."""
    billed = reader.tally("billedToolCalls", by="tool", of="successfulToolCallCount")
    if billed is None:
        return None
    calls: dict[str, int] = {}
    for tool, count in billed.items():
        name = str(tool).lower()
        name = next((known for known in (_SEARCH, _MAPS) if name.startswith(known)), name)
        if count:
            once = GROUNDED_ONCE.match(reader.model or "") and name in (_SEARCH, _MAPS)
            calls[name] = 1 if once else calls.get(name, 0) + count
    return calls


def _sides(reader: UsageReader) -> tuple[int | None, int | None]:
    """Return input and output, where the total does not contradict them."""
    given, made = reader.added(*_INPUT), reader.added(*_OUTPUT)
    total = reader.count("totalTokenCount")
    sides = ((given, _INPUT), (made, _OUTPUT))
    is_unreadable = any(side is None and any(reader.has(*path) for path in paths) for side, paths in sides)
    if total is None or is_unreadable:
        return given, made
    parts = (given or 0) + (made or 0)
    sums = {parts}
    if reader.has("responseTokenCount"):  # the Live API's totals leave out either of these, or both
        thoughts, by_tools = (reader.count(name) or 0 for name in ("thoughtsTokenCount", "toolUsePromptTokenCount"))
        sums |= {parts - thoughts, parts - by_tools, parts - thoughts - by_tools}
    if any(abs(total - each) <= _ROUNDING for each in sums):
        reader.adds_up = True
        return given, made
    reader.contradict("totalTokenCount", by="its parts")
    return None, None


def usage(reader: UsageReader) -> Usage:
    """Read a ``UsageMetadata``."""
    given, made = _sides(reader)
    prompt = reader.tally("promptTokensDetails", by="modality", of="tokenCount")
    if prompt is None:
        prompt = reader.tally("promptTokenDetails", by="modality", of="tokenCount")  # of embeddings
    tool_use = reader.tally("toolUsePromptTokensDetails", by="modality", of="tokenCount")
    inputs = (prompt or {}, tool_use or {})
    outputs = [
        reader.tally(name, by="modality", of="tokenCount") or {}
        for name in ("candidatesTokensDetails", "responseTokensDetails")
    ]
    cached = reader.tally("cacheTokensDetails", by="modality", of="tokenCount")
    cache_read_tokens = reader.count("cachedContentTokenCount")
    # Where the parts add up to the whole, a modality that is not among them was not read.
    absent = 0 if cached is not None and sum(cached.values()) == cache_read_tokens else None
    written = reader.first_count(*_OUTPUT[:2])
    is_whole = bool(written) and any(sum(made.values()) == written for made in outputs)
    not_drawn = 0 if is_whole and _DRAWS.search(reader.model or "") else None
    return Usage(
        raw=reader.raw,
        input_tokens=given,
        cache_read_tokens=cache_read_tokens,
        output_tokens=made,
        reasoning_tokens=reader.count("thoughtsTokenCount"),
        input_audio_tokens=part(inputs, _AUDIO),
        input_image_tokens=part(inputs, _IMAGE),
        output_audio_tokens=part(outputs, _AUDIO),
        output_image_tokens=part(outputs, _IMAGE, not_drawn),
        server_tools=billed_tools(reader),
        cache_read_audio_tokens=part([cached or {}], _AUDIO, absent),
        cache_read_image_tokens=part([cached or {}], _IMAGE, absent),
        input_video_tokens=part(inputs, _VIDEO),
        output_video_tokens=part(outputs, _VIDEO),
    )


def part(
    tallies: Iterable[Mapping[str | int, int]], modality: tuple[str | int, ...], absent: int | None = None
) -> int | None:
    """Return the tokens of one modality; ``absent`` where there are none of it."""
    counts = [tally[name] for tally in tallies if tally for name in modality if name in tally]
    return sum(counts) if counts else absent


GROUNDING: tuple[Path, ...] = (*((name,) for name in _QUERIES), ("groundingChunks", EACH, "maps", "placeId"))
"""What :func:`record_searches` looks at."""

DIALECT = Dialect(
    name="gemini",
    wanted=(
        ("modelVersion",),
        ("responseId",),
        ("usageMetadata",),
        ("promptFeedback", "blockReason"),
        ("candidates", EACH, "finishReason"),
        *(("candidates", EACH, "groundingMetadata", *path) for path in GROUNDING),
    ),
    marks=(b'"usageMetadata"', b'"finishReason"', b'"groundingMetadata"', b'"promptFeedback"'),
    draft=GeminiDraft,
    read=read,
    usage=usage,
    ends_with_body=True,
    needs=("input_tokens",),
    model_names=("modelVersion",),
    id_names=("responseId",),
    texts=TEXTS,
)
