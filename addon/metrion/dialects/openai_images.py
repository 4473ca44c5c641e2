"""OpenAI's Images API, generations, edits and variations, whole or streamed, as OpenAI, xAI and OpenRouter speak it.

Sources: ``ImagesResponse``, ``ImageGenCompletedEvent`` and ``ImageEditCompletedEvent`` in the openai SDK. No answer
names its model. DALL·E's has no usage; xAI's has nothing but what was charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects import openai_tokens
from metrion.dialects.dialect import Dialect, Draft, label
from metrion.documents import Object

END_TYPES = frozenset({"image_generation.completed", "image_edit.completed"})


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a list of images, or an event of a stream, says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
        if document.get("type") in END_TYPES and usage.get("output_tokens_details") is None:
            # By the SDK's own words `output_tokens` is "the number of image tokens in the output image" there.
            draft.usage = {**usage, "output_tokens_details": {"image_tokens": usage.get("output_tokens")}}


DIALECT = Dialect(
    wanted=(("type",), ("model",), ("id",), ("usage",)),
    nullable=("usage",),
    read=read,
    usage=openai_tokens.usage,
    end_data=b"[DONE]",
    end_types=END_TYPES,
)
