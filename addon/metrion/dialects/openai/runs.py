"""Runs of OpenAI's Assistants, whole or streamed.

Sources: ``Run``, ``RunStatus`` and ``AssistantStreamEvent`` in the openai SDK.

- A run is billed once, when it is over: its usage is null until then, and covers all of its steps. That of a step,
  which a stream reports too, is a part of it.
- A run that is created without a stream is answered at once, ``queued``; its usage is read back later, with a GET.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object

_UNDER_WAY = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""Statuses of a run that goes on, also without a connection."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a run says. Threads, messages and steps that a stream reports beside it are ignored."""
    if document.get("object") != "thread.run":
        return
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    if status := label(document.get("status")):
        draft.pending = status in _UNDER_WAY
        if not draft.pending:
            draft.finish_reason = label(mapping(document.get("incomplete_details")).get("reason"), status)
    draft.error_type = label(mapping(document.get("last_error")).get("code"), draft.error_type)
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source


def usage(reader: UsageReader) -> Usage:
    """Read a ``Run.Usage``. How many calls of the model it adds up is not reported."""
    found = openai_chat.usage(reader)
    return replace(found, averaged=None if found.input_tokens is None else True)


DIALECT = Dialect(
    name="openai_runs",
    wanted=(
        ("object",),
        ("model",),
        ("id",),
        ("status",),
        ("incomplete_details", "reason"),
        ("last_error", "code"),
        ("usage",),
    ),
    marks=(b"event: thread.run.requires_action", b"event: thread.run.failed", b"event: thread.run.expired"),
    nullable=("usage",),
    output=re.compile(rb"thread\.(?:message|run\.step)\.delta"),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    needs=TOKENS,
)
