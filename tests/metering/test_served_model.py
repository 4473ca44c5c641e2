"""Which models that answered are marked as not allowed."""

from __future__ import annotations

import pytest

from metrion.metering.served_model import MODEL_NOT_ALLOWED, marked
from metrion.model import Caller


def caller(*models: str) -> Caller:
    return Caller("default", "ci", "stored", models=models)


@pytest.mark.parametrize(
    ("given", "provider", "served", "requested", "is_marked"),
    [
        (caller("gpt-4o"), "openai", "gpt-4o", "gpt-4o", False),
        (caller("gpt-4o"), "openai", "gpt-4o-2024-08-06", "gpt-4o", False),
        (caller("gpt-4*"), "openai", "gpt-4.1", "gpt-4o", False),
        (caller("gpt-4o"), "openai", "GPT-4o", None, False),
        (caller("models/gemini-2*"), "google", "gemini-2.5-flash", "x", False),
        (caller("gpt-4o"), "openai", "gpt-5", "gpt-5", False),
        (caller("gpt-4o"), "openai", "gpt-5", "gpt-4o", True),
        (caller("gpt-4o"), "openai", "gpt-4o-mini", "gpt-4o", True),
        (caller("gpt-4o"), "openai", "gpt-5", None, True),
        (caller("gpt-4o"), "openai", None, "gpt-4o", False),
        (caller(), "openai", "gpt-5", "gpt-4o", False),
        (None, "openai", "gpt-5", "gpt-4o", False),
    ],
)
def test_a_model_that_is_not_allowed_is_marked_beside_what_policies_did(
    given: Caller | None, provider: str, served: str | None, requested: str | None, is_marked: bool
) -> None:
    before = {"plan": "alias: gpt-4o"}
    expected = {MODEL_NOT_ALLOWED: served} if is_marked else {}
    assert marked(before, given, provider, served, requested) == before | expected
    assert marked(None, given, provider, served, requested) == (expected or None)
