"""Gemini's batches, when they are asked for and when they are read back.

Sources: https://ai.google.dev/api/batch-api, and ``BatchJob`` in the google-genai SDK.

- A batch is an operation. To create one costs nothing; when it is over, a GET brings its responses, each with the usage
  of a ``generateContent`` (:mod:`~metrion.dialects.gemini`). They stand in ``response``, or in ``metadata.output``.
- The responses of a batch that was asked for in a file are in a file too. What they cost is not known from the batch.
- Where the usage of one of the responses is not there, that of the batch is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects import gemini
from metrion.dialects.anthropic_batches import Results, usage
from metrion.dialects.dialect import Dialect, Draft, label, mapping
from metrion.dialects.figures import Figures
from metrion.documents import EACH, Object, to_json
from metrion.model import Usage

OVER = frozenset(f"BATCH_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"))

TIER = "batch"
"""The service tier of everything in a batch, which the answer does not name."""

PLACES = (("response",), ("metadata", "output"))
RESPONSES = ("inlinedResponses", "inlinedResponses")


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note what a batch says."""
    metadata = mapping(document.get("metadata"))
    name = label(document.get("name"), metadata.get("name"))
    draft.generation_id = name.rpartition("/")[2] if name else draft.generation_id
    draft.model = label(metadata.get("model"), draft.model)
    state = label(metadata.get("state"))
    draft.pending = state is not None and state not in OVER
    draft.service_tier = TIER
    if state not in OVER:
        return
    draft.finish_reason = state.removeprefix("BATCH_STATE_")
    responses = max((_responses(document, place) for place in PLACES), key=len)
    if not responses:
        return
    results = Results()
    for response in responses:
        raw = response.get("usageMetadata")
        results.add(
            label(response.get("modelVersion"), draft.model),
            gemini.usage(Figures(raw)) if isinstance(raw, Object) else Usage(),
        )
    succeeded = mapping(metadata.get("batchStats")).get("successfulRequestCount")
    if succeeded not in (None, len(responses), str(len(responses))):
        results.add(draft.model, Usage())
    draft.usage, draft.usage_source = results, to_json(results)
    draft.model = next(iter(results.models)) if len(results.models) == 1 else draft.model


def _responses(document: Mapping[str, Any], place: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """Return those that there are; a request that failed has none."""
    found: Any = document
    for name in (*place, *RESPONSES):
        found = mapping(found).get(name)
    items = found if isinstance(found, list) else []
    return [response for item in items if isinstance(response := mapping(item).get("response"), dict)]


DIALECT = Dialect(
    wanted=(
        ("name",),
        *(("metadata", name) for name in ("name", "model", "state", "batchStats")),
        *(
            (*place, *RESPONSES, EACH, "response", name)
            for place in PLACES
            for name in ("modelVersion", "usageMetadata")
        ),
    ),
    marks=(b'"metadata"',),
    read=read,
    usage=usage,
)
