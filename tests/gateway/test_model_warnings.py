"""Which models that answered are warned of, and how often."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from metrion.gateway.model_warnings import WARNING_SECONDS, ModelWarnings
from metrion.model import Caller, Event


def event(model: str | None, requested: str | None = None, provider: str = "openai") -> Event:
    return Event(
        event_id=UUID(int=1),
        request_id="r",
        started_at=datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        provider=provider,
        model=model,
        model_requested=requested,
    )


def caller(*models: str, name: str | None = "ci") -> Caller:
    return Caller("default", name, "stored", models=models)


@pytest.mark.parametrize(
    ("given", "answered", "expected"),
    [
        (caller("gpt-4o"), event("gpt-4o", "gpt-4o"), 0),
        (caller("gpt-4o"), event("gpt-4o-2024-08-06", "gpt-4o"), 0),
        (caller("gpt-4*"), event("gpt-4.1", "gpt-4o"), 0),
        (caller("gpt-4o"), event("GPT-4o", None), 0),
        (caller("models/gemini-2*"), event("gemini-2.5-flash", "x", "google"), 0),
        (caller("gpt-4o"), event("gpt-5", "gpt-4o"), 1),
        (caller("gpt-4o"), event("gpt-4o-mini", "gpt-4o"), 1),
        (caller("gpt-4o"), event(None, "gpt-4o"), 0),
        (caller(), event("gpt-5", "gpt-4o"), 0),
        (caller("gpt-4o", name=None), event("gpt-5", "gpt-4o"), 0),
    ],
)
def test_a_model_that_is_not_allowed_is_warned_of(
    given: Caller, answered: Event, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    ModelWarnings().note(given, answered)
    assert len(caplog.messages) == expected
    if expected:
        assert f"answered by the model {answered.model} of openai" in caplog.text


def test_each_token_is_warned_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    warnings = ModelWarnings(lambda: now[0])
    for _ in range(3):
        warnings.note(caller("gpt-4o"), event("gpt-5"))
        warnings.note(caller("gpt-4o", name="laptop"), event("gpt-5"))
    assert len(caplog.messages) == 2
    now[0] += WARNING_SECONDS
    warnings.note(caller("gpt-4o"), event("gpt-5"))
    assert len(caplog.messages) == 3
