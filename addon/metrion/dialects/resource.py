"""What is kept at a provider and has a model in it, such as cached contents and agents. It tells no usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metrion.dialects.dialect import Dialect, Draft, label
from metrion.model import Usage


def read(document: Mapping[str, Any], draft: Draft) -> None:
    """Note the model."""
    draft.model = label(document.get("model"), draft.model)


DIALECT = Dialect(wanted=(("model",),), marks=(b'"model"',), read=read, usage=lambda _: Usage())
