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

from metrion.dialects import openai_chat
from metrion.dialects.charges import charged, server_tools
from metrion.dialects.figures import Figures
from metrion.model import Usage

LONG_CACHE = "cache_12h"
"""The mode in which something is kept for 12 hours."""


def usage(figures: Figures) -> Usage:
    """Read a usage object of either kind."""
    if figures.has("prompt_tokens"):
        return openai_chat.usage(figures)
    input_tokens = figures.count("input_tokens")
    cache_read_tokens = _detail(figures, "input", "cached_tokens")
    if cache_read_tokens and input_tokens is not None and cache_read_tokens > input_tokens:
        figures.warnings.append("more cached tokens than input tokens")
    reasoning_tokens = _detail(figures, "output", "reasoning_tokens")
    return Usage(
        input_tokens=input_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=_detail(figures, "input", "cache_write_tokens"),
        output_tokens=_output_tokens(figures, input_tokens, reasoning_tokens),
        reasoning_tokens=reasoning_tokens,
        input_audio_tokens=_detail(figures, "input", "audio_tokens"),
        input_image_tokens=_detail(figures, "input", "image_tokens"),
        output_audio_tokens=_detail(figures, "output", "audio_tokens"),
        output_image_tokens=_detail(figures, "output", "image_tokens"),
        server_tools=server_tools(figures),
        provider_cost_usd=charged(figures),
        cache_read_audio_tokens=_detail(figures, "input", "cached_tokens_details", "audio_tokens"),
        cache_read_image_tokens=_detail(figures, "input", "cached_tokens_details", "image_tokens"),
        input_video_tokens=_detail(figures, "input", "video_tokens"),
        output_video_tokens=_detail(figures, "output", "video_tokens"),
        modes=(LONG_CACHE,) if _detail(figures, "input", "cache_write_tokens_details", "ttl_12h_tokens") else None,
    )


def _detail(figures: Figures, side: str, *path: str) -> int | None:
    return figures.first_count((f"{side}_tokens_details", *path), (f"{side}_token_details", *path))


def _output_tokens(figures: Figures, input_tokens: int | None, reasoning_tokens: int | None) -> int | None:
    """Return the output; where the total has just the reasoning beyond it, as in xAI's chat, the reasoning is added."""
    output_tokens, total = figures.count("output_tokens"), figures.count("total_tokens")
    if input_tokens is None or output_tokens is None or total is None or not reasoning_tokens:
        return output_tokens
    return output_tokens + (reasoning_tokens if total - input_tokens - output_tokens == reasoning_tokens else 0)
