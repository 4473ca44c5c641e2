"""Which models that answered are warned of, and how often."""

from __future__ import annotations

import pytest

from metrion.gateway.model_warnings import WARNING_SECONDS, ModelWarnings
from metrion.metering.served_model import MODEL_NOT_ALLOWED
from metrion.model import Event
from tests.store.events import event


def answered(name: str | None = "ci", mark: str = MODEL_NOT_ALLOWED) -> Event:
    return event(token_name=name, policy={mark: "gpt-5"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [(answered(), 1), (answered(mark="plan"), 0), (event(policy=None), 0), (answered(None), 0)],
)
def test_a_model_that_is_not_allowed_is_warned_of(
    given: Event, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    ModelWarnings().note(given)
    assert len(caplog.messages) == expected
    if expected:
        assert "answered by the model gpt-5 of openai" in caplog.text


def test_each_token_is_warned_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    warnings = ModelWarnings(lambda: now[0])
    for _ in range(3):
        warnings.note(answered())
        warnings.note(answered("laptop"))
    assert len(caplog.messages) == 2
    now[0] += WARNING_SECONDS
    warnings.note(answered())
    assert len(caplog.messages) == 3
