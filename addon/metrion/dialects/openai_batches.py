"""OpenAI's batches, when they are asked for and when they are read back.

Sources: ``Batch`` and ``BatchUsage`` in the openai SDK.

- A batch is billed once, when it is over, at rates of its own; what it costs until then grows, and is passed over.
- Its usage adds up all of its requests, which have one model. Batches of before September 2025 have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects import openai_tokens
from metrion.dialects.dialect import Dialect, Draft, label
from metrion.documents import Object

OVER = frozenset({"completed", "failed", "expired", "cancelled"})

TIER = "batch"
"""The service tier of everything in a batch, which the answer does not name."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a batch says."""
    if document.get("object") != "batch":
        return
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.service_tier = TIER
    status = label(document.get("status"))
    draft.pending = status is not None and status not in OVER
    if status not in OVER:
        return
    draft.finish_reason = status
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage, draft.usage_source = usage, usage.source


DIALECT = Dialect(
    wanted=(("object",), ("model",), ("id",), ("status",), ("usage",)),
    nullable=("usage",),
    read=read,
    usage=openai_tokens.usage,
    end_data=b"[DONE]",
)
