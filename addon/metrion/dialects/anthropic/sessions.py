"""Sessions of Anthropic's managed agents, and dreams, which reorganize what an agent remembers.

Sources: ``BetaManagedAgentsSession``, ``BetaManagedAgentsSessionUsage``, ``BetaManagedAgentsDeploymentRun`` and
``BetaDream`` in the anthropic SDK; https://platform.claude.com/docs/en/managed-agents/session-observability.

- What is asked of an agent is answered at once and without a usage. The session, read back, reports all that it has
  used so far; that is whole whenever the agent waits (``idle``) or has ended, and grows with the next turn.
- A session is billed for its tokens, its searches and the seconds in which it was active. ``list_cost`` has all of it
  together, in whole cents. Where it is missing, the seconds have no rate.
- The models of several agents in one session are not told apart.
- A dream has one model. Its writes to caches have no lifetime, so that their price is an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from metrion.dialects.anthropic import messages as anthropic_messages
from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.reading import growing_usage
from metrion.dialects.reading.moments import moment
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object

_UNDER_WAY = frozenset({"pending", "running", "rescheduling"})

_ACTIVE = "active_seconds"
_CENT = Decimal("0.01")
_DIGITS = re.compile(r"[0-9]{1,9}")


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a session says, or a run of a deployment, which names the session that it has begun."""
    if document.get("type") == "deployment_run":
        draft.generation_id = label(document.get("session_id"), draft.generation_id)
        draft.pending = draft.generation_id is not None
    elif document.get("type") == "session":
        agent = mapping(document.get("agent"))
        _record(document, draft, None if agent.get("multiagent") else agent.get("model"))


def read_dream(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a dream says."""
    if document.get("type") == "dream":
        _record(document, draft, document.get("model"))
        draft.done_at = moment(document.get("ended_at"))
        draft.estimated = bool(draft.usage and draft.usage.get("cache_creation_input_tokens"))


def _record(document: Mapping[str, Any], draft: Draft, model: object) -> None:
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.model = label(model, mapping(model).get("id"))
    status, usage = label(document.get("status")), document.get("usage")
    draft.pending = status in _UNDER_WAY
    if not draft.pending:
        draft.finish_reason = status
        if isinstance(usage, Object) and usage:
            draft.usage, draft.usage_source, draft.growing = usage, usage.source, True


def usage(reader: UsageReader) -> Usage:
    """Read all that was used so far, or since an earlier answer."""
    return growing_usage.usage(reader, _usage)


def _usage(reader: UsageReader) -> Usage:
    found = anthropic_messages.usage(reader)
    active = reader.seconds(_ACTIVE)
    if active:
        found = replace(found, server_tools={**(found.server_tools or {}), _ACTIVE: -int(-active // 1)})
    unused = found.input_tokens == found.output_tokens == 0 and not active
    cents = reader.text("list_cost", "amount") if reader.text("list_cost", "currency") == "USD" else None
    return replace(
        found,
        averaged=True if found.input_tokens else None,
        provider_cost_usd=Decimal(cents) * _CENT if cents is not None and _DIGITS.fullmatch(cents) else None,
        unbilled=True if unused else None,
    )


DIALECT = Dialect(
    name="anthropic_sessions",
    wanted=(
        *(("type",), ("id",), ("session_id",), ("status",), ("usage",)),
        *(("agent", "model"), ("agent", "multiagent", "type")),
    ),
    marks=(b'"session"', b'"deployment_run"'),
    read=read,
    usage=usage,
    ends_with_body=True,
    needs=TOKENS,
)

DREAMS = Dialect(
    name="anthropic_dreams",
    wanted=(("type",), ("id",), ("status",), ("model",), ("ended_at",), ("usage",)),
    marks=(b'"dream"',),
    read=read_dream,
    usage=usage,
    ends_with_body=True,
    needs=TOKENS,
)
