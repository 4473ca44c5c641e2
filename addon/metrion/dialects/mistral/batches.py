"""Mistral's batch jobs, and the files with their results.

Sources: ``BatchJob`` and ``BatchJobStatus`` in the mistralai SDK; its ``extra.batch`` for the lines of a file, and
https://docs.mistral.ai/studio-api/batch-processing.

- A job that is over names the file of what was answered, whatever became of it. What failed is in another file, or in
  this one with an ``error`` or a status of 400 and more, and is not billed.
- The ``body`` of a line is what the job's endpoint answers otherwise. Not all of these count tokens of both kinds.
- What a job answers without a file (``outputs``) has no documented form, and is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.mistral import conversations as mistral_conversations
from metrion.dialects.mistral import ocr as mistral_ocr
from metrion.dialects.openai import audio as openai_audio
from metrion.dialects.openai import chat as openai_chat
from metrion.dialects.openai import embeddings as openai_embeddings
from metrion.dialects.reading import batch_results
from metrion.dialects.reading.batch_results import TIER
from metrion.dialects.reading.moments import moment
from metrion.model import Usage

_OVER = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})

_FORMATS = (
    mistral_conversations.DIALECT,
    mistral_ocr.DIALECT,
    openai_audio.DIALECT,
    openai_chat.DIALECT,
    openai_embeddings.DIALECT,
)
"""What the endpoints of jobs answer."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a job says."""
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.model = label(document.get("model"), draft.model)
    draft.service_tier = TIER
    status = label(document.get("status"))
    draft.pending = status is not None and status not in _OVER
    if status in _OVER:
        draft.finish_reason = status
        draft.done_at = moment(document.get("completed_at"))
        file = label(document.get("output_file"))
        draft.output = file and f"files/{file}"


def read_result(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a line of a file of results says."""
    draft.service_tier = TIER
    response = mapping(document.get("response"))
    draft.is_results |= bool(response)
    status, body = response.get("status_code"), response.get("body")
    if document.get("error") or (isinstance(status, int) and status >= 400) or not isinstance(body, dict):
        return
    dialect, uncounted = _format(body)
    model, usage = batch_results.read_answer(dialect, body, draft)
    if usage is None:
        return
    # What is not counted by its format is nothing, or it could not be added up.
    if "input_tokens" in uncounted:
        usage = replace(usage, input_tokens=usage.input_tokens or 0)
    if "output_tokens" in uncounted:
        usage = replace(usage, output_tokens=usage.output_tokens or 0)
    if None in (usage.input_tokens, usage.output_tokens):
        draft.faults.append(batch_results.INCOMPLETE)
    batch_results.add(draft, model, usage)


def _format(body: Mapping[str, Any]) -> tuple[Dialect, tuple[str, ...]]:
    """Return the format of an answer, and what answers of its kind do not count."""
    if "usage_info" in body:
        return mistral_ocr.DIALECT, ("input_tokens", "output_tokens")
    if "conversation_id" in body:
        return mistral_conversations.DIALECT, ()
    if body.get("object") == "chat.completion":
        return openai_chat.DIALECT, ()
    if "prompt_audio_seconds" in mapping(body.get("usage")):
        return openai_audio.DIALECT, ()
    return openai_embeddings.DIALECT, ("output_tokens",)


DIALECT = Dialect(
    name="mistral_batches",
    wanted=(("id",), ("model",), ("status",), ("output_file",), ("completed_at",)),
    marks=(b'"output_file"',),
    read=read,
    usage=lambda _: Usage(),
    ends_with_body=True,
)

OUTPUT = Dialect(
    name="mistral_batch_output",
    wanted=(
        ("error",),
        ("response", "status_code"),
        *sorted({("response", "body", *path) for dialect in _FORMATS for path in (*dialect.wanted, ("object",))}),
    ),
    sourced=frozenset[str]().union(*(dialect.sourced for dialect in _FORMATS)),
    marks=(b'"usage"',),
    read=read_result,
    usage=batch_results.usage,
    draft=batch_results.BatchDraft,
    ends_with_body=True,
    lines=True,
    needs=TOKENS,
)
"""A file that a job names as its output."""
