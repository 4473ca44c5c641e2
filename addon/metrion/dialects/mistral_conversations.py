"""Mistral's conversations with agents, whole or streamed.

Source: ``ConversationResponse``, ``ConversationUsageInfo`` and ``ResponseDoneEvent`` in the mistralai SDK.

- What connectors (search, code, …) put into the prompt, ``connector_tokens``, is input beside ``prompt_tokens``; their
  calls are counted by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.figures import Figures
from metrion.documents import EACH, Object
from metrion.model import Usage


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what an answer, or an event of a streamed one, says."""
    outputs = document.get("outputs")
    for output in (document, *(outputs if isinstance(outputs, list) else ())):
        draft.model = label(mapping(output).get("model"), draft.model)
    draft.generation_id = label(document.get("conversation_id"), draft.generation_id)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source


def usage(figures: Figures) -> Usage:
    """Read a ``ConversationUsageInfo``."""
    return Usage(
        input_tokens=figures.added(("prompt_tokens",), ("connector_tokens",)),
        output_tokens=figures.count("completion_tokens"),
        server_tools=figures.calls("connectors"),
    )


DIALECT = Dialect(
    wanted=(("type",), ("model",), ("conversation_id",), ("outputs", EACH, "model"), ("usage",)),
    nullable=("usage",),
    read=read,
    usage=usage,
    end_types=frozenset({"conversation.response.done"}),
    id_names=("conversation_id",),
)
