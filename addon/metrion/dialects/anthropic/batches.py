"""Anthropic's message batches: a batch, and the results of one, a line for each request.

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
from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.reading import batch_results
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage

NOTHING = Usage(input_tokens=0, output_tokens=0)


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a batch says."""
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.pending = document.get("type") == "message_batch" and document.get("processing_status") != "ended"


def read_result(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a line of results says."""
    message = Draft()
    anthropic_messages.read(mapping(mapping(document.get("result")).get("message")), message)
    if message.usage is None:
        return
    reader = UsageReader(message.usage)
    usage = reader.checked(anthropic_messages.usage(reader))
    if reader.is_doubtful(usage):
        draft.faults += reader.warnings
    batch_results.note(draft, message.model, NOTHING if usage.unbilled else usage)
    draft.service_tier = label(message.service_tier, draft.service_tier)


DIALECT = Dialect(
    wanted=(("type",), ("id",), ("processing_status",)),
    marks=(b'"message_batch"',),
    read=read,
    usage=lambda _: Usage(),
)

RESULTS = Dialect(
    wanted=tuple(("result", "message", *path) for path in anthropic_messages.MESSAGE),
    marks=(b'"usage"',),
    read=read_result,
    usage=batch_results.usage,
    lines=True,
    needs=("input_tokens", "output_tokens"),
)
