"""What is kept at a provider and names a model, such as cached contents and agents. It reports no usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label
from metrion.model import Usage


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Record the model."""
    draft.model = label(document.get("model"), draft.model)


DIALECT = Dialect(
    name="resource",
    wanted=(("model",),),
    marks=(b'"model"',),
    read=read,
    usage=lambda _: Usage(),
    ends_with_body=True,
)
