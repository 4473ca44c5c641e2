"""What only reads, and generates no text: embeddings, moderations and rankings, of OpenAI, Mistral and others.

Sources: ``CreateEmbeddingResponse`` in the openai SDK, ``EmbeddingResponse`` and ``ModerationResponse`` in the
mistralai SDK. The usage is that of chat completions, but what ``total_tokens`` has beyond the prompt is not output: it
is a moderation's own instructions. Voyage reports nothing but the total, which is the input
(https://docs.voyageai.com/reference/embeddings-api). Rankings as Cohere makes them say in ``meta.billed_units`` what
they are billed for (https://docs.cohere.com/reference/rerank).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import USAGES, Dialect, Draft, label, mapping
from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.reading.charges import charged, server_tools
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a list of embeddings, or of judgements, says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    for usage in (document.get("usage"), mapping(document.get("meta")).get("billed_units")):
        if isinstance(usage, Object) and usage:
            draft.usage, draft.usage_source = usage, usage.source
            if document.get("object") == "list" and usage.keys() == {"total_tokens"}:
                draft.usage = {"prompt_tokens": usage["total_tokens"]}
            elif document.get("object") == "list" and _has_more_in_all(usage):
                draft.faults.append("usage.total_tokens is contradicted by its parts")
            break


def _has_more_in_all(usage: Mapping[str, Any]) -> bool:
    """Whether the total of embeddings, which have no instructions of their own, is more than its parts."""
    parts = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    return all(type(part) is int for part in parts) and 0 < parts[0] + parts[1] < parts[2]


def usage(reader: UsageReader) -> Usage:
    """Read a ``CreateEmbeddingResponse.Usage``."""
    given = reader.first_count(("prompt_tokens",), ("input_tokens",))
    total = reader.count("total_tokens")
    if given is not None and total is not None and total < given:
        reader.contradict("total_tokens", by="its parts")
        given = None
    cached, written, heard, seen, watched = reader.counts(openai_chat.PROMPT, openai_chat.PROMPT_DETAILS)
    return Usage(
        input_tokens=given,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=reader.count("completion_tokens"),
        input_audio_tokens=heard,
        input_image_tokens=seen,
        server_tools=server_tools(reader),
        raw=reader.raw,
        provider_cost_usd=charged(reader),
        input_video_tokens=watched,
    )


DIALECT = Dialect(
    name="openai_embeddings",
    wanted=(("object",), ("model",), ("id",), ("usage",), ("meta", "billed_units")),
    sourced=USAGES | {"billed_units"},
    nullable=("usage",),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
)
