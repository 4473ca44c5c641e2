"""OpenAI's chat completions, as OpenAI and many others speak them (Mistral, xAI, Gemini's compatible endpoint, …).

The completions that were before chat (``/completions``) differ in what lies within a choice, and are read as these.

Sources: ``CompletionUsage`` in the openai SDK, and recorded answers of the servers named below.

- Cached and reasoning tokens are *parts* of ``prompt_tokens`` and ``completion_tokens``, and are never added to them.
- A stream's usage is in its last chunk with ``choices: []``; other servers have it in a chunk with choices, or in each
  chunk as a running total. The last one that is not null counts; they are never summed.
- ``service_tier`` beside ``usage`` is the tier that is billed. Mistral has it inside ``usage`` (``UsageInfo`` in the
  mistralai SDK), where ``standard`` is the default and is left out.
- xAI answers a deferred completion at once, with nothing but a ``request_id``; its usage is read back later, with a GET
  (https://docs.x.ai/developers/advanced-api-usage/deferred-chat-completions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.openai.chat_texts import TEXTS
from metrion.dialects.reading.cache_writes import cache_writes
from metrion.dialects.reading.charges import charged, server_tools
from metrion.dialects.reading.totals import sides
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object

_TOTALS = ("prompt_tokens", "completion_tokens", "total_tokens")
PROMPT = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "video_tokens")
_COMPLETION = ("reasoning_tokens", "audio_tokens", "image_tokens", "video_tokens")
"""The parts of the prompt and of the completion."""

PROMPT_DETAILS, COMPLETION_DETAILS = "prompt_tokens_details", "completion_tokens_details"
INPUT_DETAILS, OUTPUT_DETAILS = "input_tokens_details", "output_tokens_details"
"""Where the parts are, and where servers have them that speak the Responses API too."""

_CACHE_READ = (
    ("prompt_token_details", "cached_tokens"),  # OpenAI's Assistants
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("num_cached_tokens",),  # Mistral, before it had details
    ("cached_tokens",),  # Moonshot
    ("cache_read_input_tokens",),  # gateways to Anthropic
    ("cache_read_tokens",),
    ("cacheReadInputTokens",),  # gateways to Bedrock
)
"""Where else servers report what was read from a cache."""
_REASONING = "reasoning_tokens"
"""What Perplexity and Azure report beside the details, others in them."""
CACHED_ELSEWHERE = frozenset(path[0] for path in _CACHE_READ)
_ELSEWHERE = frozenset({_REASONING}) | CACHED_ELSEWHERE
_HIT, _MISS = "prompt_cache_hit_tokens", "prompt_cache_miss_tokens"
"""DeepSeek's parts of the prompt."""

_THOUGHTS_IN_TOTAL = re.compile(r"(?:.*/)?gemini-")
"""Models whose thoughts are in the total only."""

_STANDARD = "standard"


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a completion or a chunk of one says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.service_tier = label(document.get("service_tier"), draft.service_tier)
    if document.keys() == {"request_id"}:
        draft.generation_id, draft.pending = label(document["request_id"]), True
    choices = [mapping(choice) for choice in document.get("choices") or ()]
    for choice in choices:
        draft.finish_reason = label(choice.get("finish_reason"), draft.finish_reason)
    places = [document.get("usage"), mapping(document.get("x_groq")).get("usage")]  # the second: Groq's older streams
    places += [choice.get("usage") for choice in choices]  # Moonshot's streams
    for usage in places:
        if isinstance(usage, Object) and usage:
            draft.usage, draft.usage_source = usage, usage.source
            if usage.get("service_tier") != _STANDARD:
                draft.service_tier = label(usage.get("service_tier"), draft.service_tier)
            break


def usage(reader: UsageReader) -> Usage:
    """Read a ``CompletionUsage``."""
    in_prompt = PROMPT_DETAILS if reader.has(PROMPT_DETAILS) else INPUT_DETAILS
    in_completion = COMPLETION_DETAILS if reader.has(COMPLETION_DETAILS) else OUTPUT_DETAILS
    cached, written, heard, seen, watched = reader.counts(PROMPT, in_prompt)
    reasoning, spoken, drawn, filmed = reader.counts(_COMPLETION, in_completion)
    if reader.has_any(_ELSEWHERE):
        cached = cache_reads(reader, cached, in_prompt)
        reasoning = reader.count(_REASONING) if reasoning is None else reasoning
    written, written_1h = cache_writes(reader, written, in_prompt)
    given, made = _sides(reader, reasoning, heard, cached=(cached or 0) + (written or 0))
    return Usage(
        input_tokens=given,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_tokens=made,
        reasoning_tokens=reasoning,
        input_audio_tokens=heard,
        input_image_tokens=seen,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        server_tools=server_tools(reader),
        raw=reader.raw,
        provider_cost_usd=charged(reader),
        input_video_tokens=watched,
        output_video_tokens=filmed,
    )


def cache_reads(reader: UsageReader, cached: int | None, details: str) -> int | None:
    """Return what was read from a cache, which may be reported elsewhere than in these details too."""
    others = [(path, count) for path in _CACHE_READ if (count := reader.count(*path)) is not None]
    path, other = next(((path, count) for path, count in others if count), others[0] if others else (None, None))
    if path and cached and other and other != cached:
        reader.contradict(*path, by=f"{details}.cached_tokens")
        return None
    hit, missed, prompt = reader.counts((_HIT, _MISS, _TOTALS[0]))
    if hit is not None and missed is not None and prompt is not None and hit + missed != prompt:
        reader.contradict(_MISS, by=_TOTALS[0])
    return cached or (cached if other is None else other)


def _sides(
    reader: UsageReader, reasoning: int | None, heard: int | None, *, cached: int
) -> tuple[int | None, int | None]:
    """Return input and output.

    What ``total_tokens`` has beyond prompt and completion is output where it is the reasoning, which xAI counts beside
    the completion (https://docs.x.ai/docs/guides/reasoning), or the thoughts that only the total of Gemini's compatible
    endpoint has. It is input where it is the audio of the prompt, which Mistral counts beside the prompt's text, in
    details or in none but its seconds (https://docs.mistral.ai/api/endpoint/audio/transcriptions); or where it is what
    Mistral's connectors put into the prompt; or what a cache had a part in, as gateways to Anthropic count it.
    """
    prompt, completion, total = reader.counts(_TOTALS)
    connectors = reader.count("connector_tokens")
    if prompt is None or (completion is None and reader.has("completion_tokens")):
        return prompt, completion
    if total is None:
        return prompt + (connectors or 0), completion
    if total > prompt + (completion or 0):
        if _THOUGHTS_IN_TOTAL.match(reader.model or ""):
            reader.adds_up = True
            return prompt, total - prompt
        if heard is None and not reasoning and reader.count("prompt_audio_seconds"):
            reader.adds_up = True
            return total - (completion or 0), completion
    return sides(reader, prompt, completion, total, reasoning=reasoning, cached=cached, beside=(heard, connectors))


DIALECT = Dialect(
    name="openai_chat",
    wanted=(
        ("model",),
        ("id",),
        ("request_id",),
        ("service_tier",),
        ("usage",),
        ("x_groq", "usage"),
        ("choices", EACH, "finish_reason"),
        ("choices", EACH, "usage"),
    ),
    nullable=("usage", "finish_reason"),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    needs=TOKENS,
    texts=TEXTS,
)
