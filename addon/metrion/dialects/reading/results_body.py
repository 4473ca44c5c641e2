"""Whether a body of any kind is the results of a batch, by its first JSON document.

A line of results names its request (``custom_id``, ``key``) and what became of it; a page of xAI's is an object of
them. The input of a batch, which names its requests too, says nothing of what became of them.
"""

from __future__ import annotations

from typing import Any

from metrion.dialects.dialect import mapping
from metrion.parsing.json_values import EACH, tree

WANTED = tree(
    (
        ("custom_id",),
        ("key",),
        ("error",),
        ("result", "type"),
        ("response", "status_code"),
        ("response", "usageMetadata"),
        ("response", "modelVersion"),
        ("results", EACH, "batch_request_id"),
        ("results", EACH, "batch_result", "error"),
    )
)
"""What :func:`is_results` looks at."""

_NAMES = ("custom_id", "key")
_OUTCOMES = ("response", "result", "error")


def is_results(document: Any) -> bool:
    """Whether this is the first document of a batch's results, as far as it is known."""
    found = mapping(document)
    if any(name in found for name in _NAMES) and any(name in found for name in _OUTCOMES):
        return True
    response, results = mapping(found.get("response")), found.get("results")
    return (
        "usageMetadata" in response
        or "modelVersion" in response
        or (isinstance(results, list) and any("batch_result" in mapping(each) for each in results))
    )
