"""Anthropic's message batches: a batch, and its results, a line for each request.

Sources: ``MessageBatch`` and ``MessageBatchIndividualResponse`` in the anthropic SDK.

- To create a batch costs nothing. What its requests cost is known from the results, which can be read more than once.
- Only a request that succeeded is billed, as its message says (:mod:`~metrion.dialects.anthropic.messages`); its tier
  is ``batch``. One that was refused has succeeded; where that is not billed, it counts nothing.
- The usage of the lines is added up (:mod:`~metrion.dialects.reading.batch_results`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.anthropic import messages as anthropic_messages
from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.reading import batch_results
from metrion.dialects.reading.moments import moment
from metrion.model import Usage

_NOTHING = Usage(input_tokens=0, output_tokens=0)


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a batch says."""
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.done_at = moment(document.get("ended_at"))
    draft.pending = document.get("type") == "message_batch" and document.get("processing_status") != "ended"


def read_result(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a line of results says."""
    result = mapping(document.get("result"))
    draft.is_results |= bool(result)
    message = anthropic_messages.MessageDraft()
    anthropic_messages.read(mapping(result.get("message")), message)
    usage = (
        batch_results.read(anthropic_messages.DIALECT, message.usage, draft, message.model) if message.usage else None
    )
    if usage is None:
        return
    batch_results.add(draft, message.model, _NOTHING if usage.unbilled else usage)
    draft.service_tier = label(message.service_tier, draft.service_tier)


DIALECT = Dialect(
    name="anthropic_batches",
    wanted=(("type",), ("id",), ("processing_status",), ("ended_at",)),
    marks=(b'"message_batch"',),
    read=read,
    usage=lambda _: Usage(),
    ends_with_body=True,
)

RESULTS = Dialect(
    name="anthropic_batch_results",
    wanted=(("result", "type"), *(("result", "message", *path) for path in anthropic_messages.MESSAGE)),
    marks=(b'"usage"',),
    read=read_result,
    usage=batch_results.usage,
    draft=batch_results.BatchDraft,
    ends_with_body=True,
    lines=True,
    needs=TOKENS,
)
