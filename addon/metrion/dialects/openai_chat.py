"""OpenAI's chat completions, as OpenAI and many others speak them (Mistral, xAI, Gemini's compatible endpoint, …).

The completions that were before chat (``/completions``) differ in what lies within a choice, and are read as these.

Sources: ``CompletionUsage`` in the openai SDK, and recorded answers of the servers named below.

- Cached and reasoning tokens are *parts* of ``prompt_tokens`` and ``completion_tokens``, and are never added to them.
- A stream's usage stands in its last chunk with ``choices: []``; with other servers in a chunk with choices, or in each
  chunk as a running total. The last one that is not null counts; they are never summed.
- ``service_tier`` beside ``usage`` is the tier that is billed. Mistral has it inside ``usage`` (``UsageInfo`` in the
  mistralai SDK), where ``standard`` stands by default and is left.
- xAI answers a deferred completion at once, with nothing but a ``request_id``; its usage is read back later, with a GET
  (https://docs.x.ai/developers/advanced-api-usage/deferred-chat-completions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.charges import charged, server_tools
from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.figures import Figures
from metrion.documents import EACH, Object
from metrion.model import Usage

CACHE_READ = (
    ("prompt_tokens_details", "cached_tokens"),
    ("prompt_token_details", "cached_tokens"),  # OpenAI's Assistants
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("num_cached_tokens",),  # Mistral, before it had details
    ("cached_tokens",),  # Moonshot
)
REASONING = (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",))
"""The second is Perplexity's and Azure's."""

STANDARD = "standard"


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a completion or a chunk of one says."""
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
            if usage.get("service_tier") != STANDARD:
                draft.service_tier = label(usage.get("service_tier"), draft.service_tier)
            break


def usage(figures: Figures) -> Usage:
    """Read a ``CompletionUsage``."""
    input_tokens, output_tokens = _totals(figures)
    cache_read_tokens = figures.first_count(*CACHE_READ)
    if cache_read_tokens and input_tokens is not None and cache_read_tokens > input_tokens:
        figures.warnings.append("more cached tokens than prompt tokens")
    return Usage(
        input_tokens=input_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=figures.count("prompt_tokens_details", "cache_write_tokens"),
        output_tokens=output_tokens,
        reasoning_tokens=figures.first_count(*REASONING),
        input_audio_tokens=figures.count("prompt_tokens_details", "audio_tokens"),
        input_image_tokens=figures.count("prompt_tokens_details", "image_tokens"),
        output_audio_tokens=figures.count("completion_tokens_details", "audio_tokens"),
        output_image_tokens=figures.count("completion_tokens_details", "image_tokens"),
        server_tools=server_tools(figures),
        provider_cost_usd=charged(figures),
        input_video_tokens=figures.count("prompt_tokens_details", "video_tokens"),
        output_video_tokens=figures.count("completion_tokens_details", "video_tokens"),
    )


def _totals(figures: Figures) -> tuple[int | None, int | None]:
    """Return input and output.

    What ``total_tokens`` has beyond prompt and completion is output: xAI counts reasoning beside the completion
    (https://docs.x.ai/docs/guides/reasoning), Gemini's compatible endpoint its thoughts. It is input where it is the
    audio of the prompt, which Mistral counts beside the prompt's text, in details or in none but its seconds
    (https://docs.mistral.ai/api/endpoint/audio/transcriptions).
    """
    prompt, completion, total = (figures.count(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if prompt is None or total is None or (completion is None and figures.has("completion_tokens")):
        return prompt, completion
    beyond = total - prompt - (completion or 0)
    if beyond <= 0:
        return prompt, completion
    heard = figures.count("prompt_tokens_details", "audio_tokens")
    is_heard = bool(figures.count("prompt_audio_seconds")) if heard is None else beyond == heard
    if is_heard and beyond != figures.first_count(*REASONING):
        return prompt + beyond, completion
    return prompt, total - prompt


DIALECT = Dialect(
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
    needs=("input_tokens", "output_tokens"),
)
