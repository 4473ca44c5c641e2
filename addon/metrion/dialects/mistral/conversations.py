"""Mistral's conversations with agents, whole or streamed.

Source: ``ConversationResponse``, ``ConversationUsageInfo``, ``ResponseDoneEvent``, ``ResponseErrorEvent`` and
``AgentHandoffEntry`` in the mistralai SDK.

- What connectors (search, code, …) put into the prompt, ``connector_tokens``, is input beside ``prompt_tokens``; their
  calls are counted by their names.
- Each call of a connector is followed by a further request to the model; the usage adds them up.
- One usage covers all agents that a conversation was handed to. It does not say which model used what, so that it has
  no price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.reading import errors
from metrion.dialects.reading.totals import TOTAL, sides
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object

_DONE, _FAILED = "conversation.response.done", "conversation.response.error"
_HANDOFF = "agent.handoff"


@dataclass(slots=True)
class ConversationDraft(Draft):
    """A draft that knows of several agents."""

    was_handed_on: bool = False
    """More than one agent had a part in the conversation."""


def read(document: Mapping[str, Any], draft: ConversationDraft) -> None:
    """Record what an answer, or an event of a streamed one, says."""
    outputs = document.get("outputs")
    for output in (document, *(outputs if isinstance(outputs, list) else ())):
        draft.model = label(mapping(output).get("model"), draft.model)
        draft.was_handed_on |= (label(mapping(output).get("type")) or "").startswith(_HANDOFF)
    if document.get("type") == _FAILED:
        draft.stream_error, draft.error_type = True, errors.error_type({"code": document.get("code")})
    draft.generation_id = label(document.get("conversation_id"), draft.generation_id)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
        if draft.was_handed_on:
            draft.faults.append("several agents share one usage")


def usage(reader: UsageReader) -> Usage:
    """Read a ``ConversationUsageInfo``."""
    connectors = reader.calls("connectors")
    given, made = sides(
        reader,
        reader.added(("prompt_tokens",), ("connector_tokens",)),
        reader.count("completion_tokens"),
        reader.count(TOTAL),
    )
    return Usage(input_tokens=given, output_tokens=made, server_tools=connectors, averaged=True if connectors else None)


DIALECT = Dialect(
    name="mistral_conversations",
    wanted=(
        ("type",),
        ("code",),
        ("model",),
        ("conversation_id",),
        ("outputs", EACH, "type"),
        ("outputs", EACH, "model"),
        ("usage",),
    ),
    marks=(_HANDOFF.encode(),),
    nullable=("usage",),
    draft=ConversationDraft,
    read=read,
    usage=usage,
    end_types=frozenset({_DONE, _FAILED}),
    id_names=("conversation_id",),
)
