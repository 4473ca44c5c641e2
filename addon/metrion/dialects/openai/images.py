"""OpenAI's Images API, generations, edits and variations, whole or streamed, as OpenAI, xAI and OpenRouter speak it.

Sources: ``ImagesResponse``, ``ImageGenCompletedEvent`` and ``ImageEditCompletedEvent`` in the openai SDK. No answer
names its model. DALL·E's has no usage; xAI's has nothing but what was charged.

- A usage whose output has no details is of images alone: they are all that these endpoints make.
- What is edited is an image: how much of the input it is, a usage without details does not tell.
- An image that is a drawing (SVG) is written by another model, whose tokens are apart, in ``svg_usage``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import USAGES, Dialect, Draft, label
from metrion.dialects.openai import token_details as openai_tokens
from metrion.dialects.reading import shares
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object, to_json

_END_TYPES = frozenset({"image_generation.completed", "image_edit.completed"})

_WRITTEN = "svg_usage"
_TEXT = frozenset({"text_tokens"})


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a list of images, or an event of a stream, says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    usage, written = document.get("usage"), document.get(_WRITTEN)
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
    if isinstance(written, Object) and written:
        draft.usage = {**(draft.usage or {}), _WRITTEN: written}
        draft.usage_source = to_json(draft.usage)


def usage(reader: UsageReader) -> Usage:
    """Read an ``ImagesResponse.Usage``, and beside it an ``ImagesResponse.SvgUsage``."""
    drawn = openai_tokens.usage(reader)
    if drawn.output_image_tokens is None and not reader.has_any(_TEXT, "output_tokens_details"):
        # By the SDK's own words `output_tokens` is "the number of image tokens in the output image".
        drawn = replace(drawn, output_image_tokens=drawn.output_tokens)
    if not reader.holds_object(_WRITTEN):
        return drawn
    written = Usage(
        input_tokens=reader.count(_WRITTEN, "input_tokens"),
        output_tokens=reader.count(_WRITTEN, "output_tokens"),
        reasoning_tokens=reader.count(_WRITTEN, "reasoning_tokens"),
    )
    billed: list[tuple[str | None, Usage]] = [(reader.text(_WRITTEN, "model"), written)]
    return shares.together([(None, drawn), *billed] if reader.has("input_tokens") else billed)


def edited_usage(reader: UsageReader) -> Usage:
    """Read the usage of an edit."""
    return openai_tokens.undivided(reader, usage(reader), "input_image")


DIALECT = Dialect(
    name="openai_images",
    wanted=(("type",), ("model",), ("id",), ("usage",), (_WRITTEN,)),
    sourced=USAGES | {_WRITTEN},
    nullable=("usage",),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    end_types=_END_TYPES,
)

EDITS = replace(DIALECT, name="openai_image_edits", usage=edited_usage)
"""Edits and variations."""
