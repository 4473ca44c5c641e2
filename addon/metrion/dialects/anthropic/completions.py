"""Anthropic's legacy text completions (``/v1/complete``), whole or streamed. They do not report their usage.

Source: ``Completion`` in the anthropic SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.anthropic.completions_texts import TEXTS
from metrion.dialects.dialect import Dialect, Draft, label
from metrion.model import Usage


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record what a completion, or an event of a streamed one, says."""
    draft.model = label(document.get("model"), draft.model)
    draft.generation_id = label(document.get("id"), draft.generation_id)
    draft.finish_reason = label(document.get("stop_reason"), draft.finish_reason)


DIALECT = Dialect(
    name="anthropic_completions",
    wanted=(("model",), ("id",), ("stop_reason",)),
    nullable=("stop_reason",),
    marks=(b'"usage"',),
    read=read,
    usage=lambda _: Usage(),
    ends_with_body=True,
    texts=TEXTS,
)
