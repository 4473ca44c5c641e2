"""OpenAI's batches, when they are created and when they are read back.

Sources: ``Batch`` and ``BatchUsage`` in the openai SDK.

- A batch is billed once, when it is over, at rates of its own; what it costs until then grows, and is ignored.
- Its usage adds up all of its requests, which have one model. Batches of before September 2025 have none.
- xAI's batches, which are at the same place, are another format (:mod:`~metrion.dialects.xai.batches`).
- A usage does not say how much of it is text. Where a batch makes images, its output is images; where it edits some, it
  is not known how much of the input they are, and neither is the cost.
- A usage does not say how long each request was. Rates for long contexts go by the average, and never by the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.openai import token_details as openai_tokens
from metrion.dialects.reading.batch_results import TIER
from metrion.dialects.reading.moments import moment
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.dialects.xai import batches as xai_batches
from metrion.model import Usage
from metrion.parsing.json_values import Object, to_json

_OVER = frozenset({"completed", "failed", "expired", "cancelled"})

_COMPLETED = "completed_requests"
_DRAWN = "images"
"""The names under which the draft keeps, beside the provider's own usage, how many requests there were, and that they
made images."""

_MAKING, _EDITING = "/v1/images/generations", "/v1/images/edits"
"""Endpoints of batches that are about images."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a batch says."""
    if "batch_id" in document:
        xai_batches.read(document, draft)
    if document.get("object") != "batch":
        return
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.service_tier = TIER
    status = label(document.get("status"))
    draft.pending = status is not None and status not in _OVER
    if status not in _OVER:
        return
    draft.finish_reason = status
    draft.done_at = moment(document.get("completed_at"), *(document.get(f"{name}_at") for name in sorted(_OVER)))
    usage = document.get("usage")
    if isinstance(usage, Object) and usage:
        draft.usage = {**usage, _COMPLETED: mapping(document.get("request_counts")).get("completed")}
        if document.get("endpoint") in (_MAKING, _EDITING):
            draft.usage = {**draft.usage, _DRAWN: True}
        if document.get("endpoint") == _EDITING:
            draft.faults.append("how much of the input is images is not told")
        draft.usage_source = to_json(draft.usage)


def usage(reader: UsageReader) -> Usage:
    """Read a ``BatchUsage``, and with it how many requests it adds up."""
    found, completed = openai_tokens.usage(reader), reader.count(_COMPLETED)
    if reader.has(_DRAWN):
        found = replace(found, output_image_tokens=found.output_tokens)
    if not completed or found.input_tokens is None or found.output_tokens is None:
        return replace(found, averaged=None if found.input_tokens is None else True)
    return replace(found, largest_input_tokens=-(-found.input_tokens // completed), averaged=completed > 1 or None)


DIALECT = Dialect(
    name="openai_batches",
    wanted=(
        ("object",),
        ("endpoint",),
        ("model",),
        ("id",),
        ("status",),
        ("usage",),
        ("request_counts", "completed"),
        *((f"{name}_at",) for name in sorted(_OVER)),
        *xai_batches.BATCH,
    ),
    nullable=("usage",),
    read=read,
    usage=usage,
    end_data=b"[DONE]",
    needs=TOKENS,
)
