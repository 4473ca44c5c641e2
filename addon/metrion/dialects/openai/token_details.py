"""The usage object of OpenAI's APIs after chat: Responses, images, audio, realtime, batches.

Sources: ``ResponseUsage``, ``ImagesResponse.Usage``, ``Transcription.UsageTokens``, ``RealtimeResponseUsage`` in the
openai SDK; what xAI and others send in its place.

- ``input_tokens`` and ``output_tokens`` are everything that is billed; cached, written and reasoning tokens and the
  modalities are *parts* of them, under ``input_tokens_details`` or, in audio and realtime, ``input_token_details``.
- Writes to a cache that lives for 12 hours are counted apart from those for 30 minutes, also in OpenAI's own accounts
  (``UsageCostsResponse``): they are not priced as if they were the same.
- A server that answers with the usage of chat completions (``prompt_tokens``) is read as these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.reading.cache_writes import cache_writes
from metrion.dialects.reading.charges import charged, server_tools
from metrion.dialects.reading.totals import sides
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage

_TOTALS = ("input_tokens", "output_tokens", "total_tokens")
_INPUT = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "video_tokens")
_OUTPUT = ("reasoning_tokens", "audio_tokens", "image_tokens", "video_tokens")
"""The parts of the input and of the output."""
_MODALITIES = frozenset({"text_tokens", "audio_tokens", "image_tokens"})
_DEEPER = frozenset({"cached_tokens_details", "cache_write_tokens_details"})
"""The parts of parts."""

_LONG_CACHE = "cache_12h"
"""The mode in which something is kept for 12 hours."""


def usage(reader: UsageReader) -> Usage:
    """Read a usage object of either kind."""
    if reader.has("prompt_tokens"):
        return openai_chat.usage(reader)
    input_tokens, output_tokens, total = reader.counts(_TOTALS)
    cached, written, heard, seen, watched = _details(reader, _INPUT, "input")
    reasoning, spoken, drawn, filmed = _details(reader, _OUTPUT, "output")
    if reader.has_any(openai_chat.CACHED_ELSEWHERE):
        cached = openai_chat.cache_reads(reader, cached, "input_tokens_details")
    written, written_1h = cache_writes(reader, written, "input_tokens_details")
    cache = (cached or 0) + (written or 0)
    given, made = sides(reader, input_tokens, output_tokens, total, reasoning=reasoning, cached=cache)
    cached_heard = cached_seen = modes = None
    if reader.has_any(_DEEPER, "input_tokens_details") or reader.has("input_token_details"):
        cached_heard = _detail(reader, "input", "cached_tokens_details", "audio_tokens")
        cached_seen = _detail(reader, "input", "cached_tokens_details", "image_tokens")
        modes = (_LONG_CACHE,) if _detail(reader, "input", "cache_write_tokens_details", "ttl_12h_tokens") else None
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
        cache_read_audio_tokens=cached_heard,
        cache_read_image_tokens=cached_seen,
        input_video_tokens=watched,
        output_video_tokens=filmed,
        modes=modes,
    )


def undivided(reader: UsageReader, usage: Usage, name: str) -> Usage:
    """Return the usage, with a note where it reports how much input it has, and not how much of it is text."""
    details = ("input_tokens_details", "input_token_details")
    if usage.input_tokens is None or any(reader.has_any(_MODALITIES, each) for each in details):
        return usage
    return replace(usage, undivided=(name,))


def _details(reader: UsageReader, names: Sequence[str], side: str) -> list[int | None]:
    """Return the parts of one side."""
    found = reader.counts(names, f"{side}_tokens_details")
    if reader.has(other := f"{side}_token_details"):
        return [reader.count(other, name) if count is None else count for name, count in zip(names, found, strict=True)]
    return found


def _detail(reader: UsageReader, side: str, *path: str) -> int | None:
    return reader.first_count((f"{side}_tokens_details", *path), (f"{side}_token_details", *path))
