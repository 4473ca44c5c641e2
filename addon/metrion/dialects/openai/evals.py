"""What OpenAI's evals and graders use of its models.

Sources: ``RunCreateResponse`` of evals and ``GraderRunResponse`` in the openai SDK, and the examples in OpenAI's own
description of its API (https://github.com/openai/openai-openapi).

- Each model that took part, to answer or to judge, is billed under its own name.
- A run of an eval is answered at once, ``queued``; its usage is read back later, with a GET. It adds up all calls of a
  model, so rates for long contexts go by their average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metrion.dialects.dialect import USAGES, Dialect, Draft, label
from metrion.dialects.reading import shares
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import Object, to_json

_UNDER_WAY = frozenset({"queued", "in_progress"})

_RUN = "per_model_usage"
_GRADER = "model_grader_token_usage_per_model"
_BY_MODEL = "by_model"
"""The name under which the draft keeps the counts of all models together."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a run of an eval, or of a grader, says."""
    status = label(document.get("status"))
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.pending = status in _UNDER_WAY
    if draft.pending:
        return
    draft.finish_reason = label(status, draft.finish_reason)
    graders, models = document.get(_GRADER), document.get(_RUN)
    if isinstance(graders, Object):
        models = [{"model_name": name, **counts} for name, counts in graders.items() if isinstance(counts, dict)]
    if isinstance(models, list) and models:
        draft.usage = {_BY_MODEL: models}
        draft.usage_source = to_json(draft.usage)
        names = {label(each.get("model_name")) for each in models if isinstance(each, dict)}
        draft.model = names.pop() if len(names) == 1 else None


def usage(reader: UsageReader) -> Usage:
    """Read the counts of each model."""
    billed = [(each.text("model_name"), _usage(each)) for each in reader.entries(_BY_MODEL) or ()]
    if len({model for model, _ in billed}) == 1:
        billed = [(None, counts) for _, counts in billed]
    return shares.together(billed) if billed else Usage()


def _usage(reader: UsageReader) -> Usage:
    found = Usage(
        input_tokens=reader.count("prompt_tokens"),
        cache_read_tokens=reader.count("cached_tokens"),
        output_tokens=reader.count("completion_tokens"),
    )
    calls = reader.count("invocation_count")
    if not calls or found.input_tokens is None:
        return replace(found, averaged=None if found.input_tokens is None else True)
    return replace(found, largest_input_tokens=-(-found.input_tokens // calls), averaged=calls > 1 or None)


DIALECT = Dialect(
    name="openai_evals",
    wanted=(("id",), ("status",), (_RUN,), (_GRADER,)),
    sourced=USAGES | {_GRADER},
    marks=(b'"status"',),
    read=read,
    usage=usage,
    ends_with_body=True,
)
