"""Vertex AI's ``predict``: embeddings, which count their tokens text by text. Images and others count nothing.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, mapping
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, to_json

_COUNTED = "token_counts"
"""The name under which the draft keeps the counts of all texts together; the provider has them in many places."""


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what the predictions say."""
    predictions = document.get("predictions")
    statistics = [
        mapping(mapping(mapping(prediction).get("embeddings")).get("statistics"))
        for prediction in (predictions if isinstance(predictions, list) else ())
    ]
    if any(each.get("token_count") is not None for each in statistics):
        draft.usage = {_COUNTED: [{"token_count": each.get("token_count")} for each in statistics]}
        draft.usage_source = to_json(draft.usage)


def usage(reader: UsageReader) -> Usage:
    """Add up the counts; ``None`` where one of them is not known."""
    texts = reader.entries(_COUNTED)
    counts = [text.count("token_count") for text in texts or ()]
    known = [count for count in counts if count is not None]
    return Usage(input_tokens=sum(known) if known and len(known) == len(counts) else None)


DIALECT = Dialect(
    name="vertex_predict",
    wanted=(("predictions", EACH, "embeddings", "statistics"),),
    marks=(b'"predictions"',),
    read=read,
    usage=usage,
    ends_with_body=True,
)
