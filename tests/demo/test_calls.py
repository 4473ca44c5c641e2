from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from metrion.demo.calls import CALLS, Call, Outcome, make
from metrion.simulator.answers import REPLIES
from tests.simulated import Simulator, running_simulator


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


def _direct(call: Call) -> Call:
    """The same call without Metrion, which adds the version to the path."""
    return replace(call, segment=call.segment if call.segment == "anthropic" else f"{call.segment}/v1")


@pytest.mark.parametrize("call", [call for call in CALLS if call.segment in {"openai", "anthropic"}])
def test_calls_have_the_outcome_that_they_should(provider: Simulator, call: Call) -> None:
    if call.wrong_token:
        assert not make(_direct(call), provider.url, "").failed  # only Metrion refuses it
        return
    expected = (
        Outcome("OverloadedError, status 529", failed=True) if call.should_fail else Outcome(REPLIES[call.model].text)
    )
    provider.received()
    assert make(_direct(call), provider.url, "sk-any") == expected
    (received,) = provider.received(1)
    assert received.header("x-metrion-user") == [call.user.encode()]


def test_a_failed_call_is_not_retried(provider: Simulator) -> None:
    provider.received()
    call = Call("ann", "openai/v1", "gpt-4o", "?", provider_error=500)
    outcome = make(call, provider.url, "sk-any")
    assert outcome == Outcome("InternalServerError, status 500", failed=True)
    assert len(provider.received(1)) == 1
