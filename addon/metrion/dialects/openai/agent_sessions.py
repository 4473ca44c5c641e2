"""Sessions of agents that OpenAI runs, whole or in the events of a stream.

Sources: ``AgentSession``, ``TokenUsage`` and ``AgentSessionEvent`` in the openai SDK.

- What is asked of an agent is answered at once, and the usage follows: a session, read back or in an event of a stream,
  reports all that it has used so far. That is whole whenever the session waits, and grows with the next turn.
- The usage is "best effort and may change", says nothing of tools and environments, and adds up subagents: what is
  computed of it is an estimate.
- The usage of a turn is a part of the session's, and is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.openai import token_details as openai_tokens
from metrion.dialects.reading import growing_usage
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object, Path

_OBJECT = "agent.session"


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a session says, or an event of its stream. What else a stream reports is ignored."""
    session = document if document.get("object") == _OBJECT else mapping(document.get("session"))
    if session.get("object") == _OBJECT:
        draft.generation_id = label(session.get("id"), draft.generation_id)
        draft.model = label(mapping(session.get("agent")).get("model"), draft.model)
        status, usage = label(session.get("status")), session.get("usage")
        draft.pending = status == "in_progress"
        if not draft.pending:
            draft.finish_reason = label(status, draft.finish_reason)
            if isinstance(usage, Object) and usage:
                draft.usage, draft.usage_source, draft.growing, draft.estimated = usage, usage.source, True, True
    elif not draft.pending and draft.usage is None and label(document.get("session_id")):
        draft.generation_id = label(document.get("session_id"), draft.generation_id)
        draft.pending = True


def usage(reader: UsageReader) -> Usage:
    """Read all that was used so far, or since an earlier answer."""
    return growing_usage.usage(reader, _usage)


def _usage(reader: UsageReader) -> Usage:
    found = openai_tokens.usage(reader)
    unused = found.input_tokens == found.output_tokens == 0
    return replace(found, averaged=True if found.input_tokens else None, unbilled=True if unused else None)


_SESSION: tuple[Path, ...] = (("object",), ("id",), ("status",), ("agent", "model"), ("usage",))

DIALECT = Dialect(
    name="openai_agent_sessions",
    wanted=(*_SESSION, ("session_id",), *(("session", *path) for path in _SESSION)),
    marks=(b'"agent.session"',),
    read=read,
    usage=usage,
    ends_with_body=True,
    needs=TOKENS,
)
