"""Mistral's conversations with agents, whole or streamed.

Source: ``ConversationResponse``, ``ConversationUsageInfo``, ``ResponseDoneEvent``, ``ResponseErrorEvent`` and
``AgentHandoffEntry`` in the mistralai SDK.

- What connectors (search, code, …) put into the prompt, ``connector_tokens``, is input beside ``prompt_tokens``; their
  calls are counted by their names.
  Where the usage counts none, those that the answer shows are due all the same.
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
_STARTED = "tool.execution.started"
_EXECUTIONS = frozenset({"tool.execution", _STARTED})
"""A connector at work, in an answer and in a stream."""


@dataclass(slots=True)
class ConversationDraft(Draft):
    """A draft that knows of several agents."""

    was_handed_on: bool = False
    """More than one agent had a part in the conversation."""


def read(document: Mapping[str, Any], draft: ConversationDraft) -> None:
    """Record what an answer, or an event of a streamed one, says."""
    outputs = document.get("outputs")
    for output in map(mapping, (document, *(outputs if isinstance(outputs, list) else ()))):
        draft.model = label(output.get("model"), draft.model)
        kind = label(output.get("type")) or ""
        draft.was_handed_on |= kind.startswith(_HANDOFF)
        if kind in _EXECUTIONS and (name := label(output.get("name"))):
            draft.unreported_tools[name] = draft.unreported_tools.get(name, 0) + 1
    if document.get("type") == _FAILED:
        draft.stream_error, draft.error_type = True, errors.error_type({"code": document.get("code")})
    draft.generation_id = label(document.get("conversation_id"), draft.generation_id)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source
        if usage.get("connectors"):
            draft.unreported_tools.clear()
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
        ("name",),
        ("outputs", EACH, "name"),
        ("usage",),
    ),
    marks=(_HANDOFF.encode(), _STARTED.encode()),
    nullable=("usage",),
    draft=ConversationDraft,
    read=read,
    usage=usage,
    end_types=frozenset({_DONE, _FAILED}),
    id_names=("conversation_id",),
)
