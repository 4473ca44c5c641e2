"""Whether the model that answered is one that the caller may ask for. Pure.

Rules say which models may be asked for; which one answers is the provider's doing, and its answer passes. The event
says so, for whoever wants a word about it.
"""

from __future__ import annotations

from collections.abc import Mapping

from metrion.admission.patterns import matches
from metrion.model import Caller
from metrion.pricing.model_names import spellings

MODEL_NOT_ALLOWED = "model_not_allowed"
"""The entry of the column ``policy`` that names a model that answered and is not allowed."""


def marked(
    policy: Mapping[str, str] | None, caller: Caller | None, provider: str, served: str | None, requested: str | None
) -> Mapping[str, str] | None:
    """Return what policies did, with the model that answered where it is not allowed."""
    if caller is None or not caller.models or served is None or is_allowed(caller.models, provider, served, requested):
        return policy
    return {**(policy or {}), MODEL_NOT_ALLOWED: served}


def is_allowed(patterns: tuple[str, ...], provider: str, served: str, requested: str | None) -> bool:
    """Whether a model, however dated, is one of those allowed, or another name of the one that was asked for."""
    names = set(spellings(served, provider))
    if names.intersection(spellings(requested or "", provider)):
        return True
    allowed = [pattern.lower().removeprefix("models/") for pattern in patterns]
    return any(matches(name, pattern) for name in names for pattern in allowed)
