"""Gemini's batches, when they are created and when they are read back.

Sources: https://ai.google.dev/api/batch-api, and ``BatchJob`` in the google-genai SDK.

- A batch is an operation. To create one costs nothing; when it is over, a GET brings its responses, each with the usage
  of a ``generateContent`` (:mod:`~metrion.dialects.google.generate_content`). They are in ``response``, or in
  ``metadata.output``.
- The responses of a batch whose requests came in a file are in a file too, which the batch names when it is over: a
  line for each request, with its ``response`` or its ``error`` (https://ai.google.dev/gemini-api/docs/batch-api). What
  Vertex AI's batches write goes to the customer's own storage.
- A batch of embeddings (``SingleEmbedContentResponse`` in the google-genai SDK) counts the tokens of each text.
- If the usage of one of the responses is missing, that of the batch is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.google import generate_content as gemini
from metrion.dialects.reading import batch_results
from metrion.dialects.reading.batch_results import TIER
from metrion.dialects.reading.moments import moment
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object, Path, to_json

_OVER = frozenset(f"BATCH_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"))

_PLACES = (("response",), ("metadata", "output"))
_RESPONSES = ("inlinedResponses", "inlinedResponses")


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a batch says."""
    metadata = mapping(document.get("metadata"))
    name = label(document.get("name"), metadata.get("name"))
    draft.generation_id = name.rpartition("/")[2] if name else draft.generation_id
    draft.model = label(metadata.get("model"), draft.model)
    state = label(metadata.get("state"))
    draft.pending = state is not None and state not in _OVER
    draft.service_tier = TIER
    if state not in _OVER:
        return
    draft.finish_reason = state.removeprefix("BATCH_STATE_")
    draft.done_at = moment(metadata.get("endTime"))
    responses = max((_responses(document, place) for place in _PLACES), key=len)
    if not responses:
        file = label(*(_found(document, (*place, "responsesFile")) for place in _PLACES))
        draft.output = file and f"files/{file.rpartition('/')[2]}"
        return
    results = batch_results.started(draft)
    for response in responses:
        model, usage = _answer(response, draft)
        results.add(model or draft.model, usage or Usage())
    succeeded = mapping(metadata.get("batchStats")).get("successfulRequestCount")
    if succeeded not in (None, len(responses), str(len(responses))):
        results.add(draft.model, Usage())
    draft.model = results.model if len(results.models) == 1 else draft.model


def read_result(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a line of a file of responses says."""
    draft.service_tier = TIER
    draft.is_results = True
    response = document.get("response")
    if not isinstance(response, dict):
        return
    model, usage = _answer(response, draft)
    if usage is not None:
        batch_results.add(draft, model, usage)


def _answer(response: Mapping[str, Any], draft: Draft) -> tuple[str | None, Usage | None]:
    """Return what one response says: of a model that generates, or the embedding of one text."""
    tokens = response.get("tokenCount")
    if isinstance(tokens, str) and tokens.isdecimal():  # as JSON has an int64 of Google's
        tokens = int(tokens)
    if tokens is not None and response.get("usageMetadata") is None:
        usage_metadata = Object(promptTokenCount=tokens)
        usage_metadata.source = to_json(usage_metadata)
        response = {**response, "usageMetadata": usage_metadata}
    model, usage = batch_results.read_answer(gemini.DIALECT, response, draft)
    counts = mapping(response.get("usageMetadata"))
    if usage is not None and usage.output_tokens is None and all(counts.get(name) is None for name in gemini.MADE):
        usage = replace(usage, output_tokens=0)  # a count that is 0 is left out
    return model, usage


def _responses(document: Mapping[str, Any], place: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """Return those that there are; a request that failed has none."""
    found = _found(document, (*place, *_RESPONSES))
    items = found if isinstance(found, list) else []
    return [response for item in items if isinstance(response := mapping(item).get("response"), dict)]


def _found(document: Mapping[str, Any], path: Path) -> Any:
    found: Any = document
    for name in path:
        found = mapping(found).get(name)
    return found


_ANSWER: tuple[Path, ...] = (*gemini.DIALECT.wanted, ("tokenCount",))

DIALECT = Dialect(
    name="gemini_batches",
    wanted=(
        ("name",),
        *(("metadata", name) for name in ("name", "model", "state", "batchStats", "endTime")),
        *((*place, "responsesFile") for place in _PLACES),
        *((*place, *_RESPONSES, EACH, "response", *path) for place in _PLACES for path in _ANSWER),
    ),
    marks=(b'"metadata"',),
    draft=batch_results.BatchDraft,
    read=read,
    usage=batch_results.usage,
    ends_with_body=True,
    needs=TOKENS,
)

OUTPUT = Dialect(
    name="gemini_batch_output",
    wanted=tuple(("response", *path) for path in _ANSWER),
    marks=(b'"usageMetadata"', b'"tokenCount"'),
    read=read_result,
    usage=batch_results.usage,
    draft=batch_results.BatchDraft,
    ends_with_body=True,
    lines=True,
    needs=TOKENS,
)
"""A file that a batch names as its output."""
