"""Which labels are warned of, and how often."""

from __future__ import annotations

import pytest

from metrion.gateway.label_warnings import WARNING_SECONDS, LabelWarnings
from metrion.model import Caller, Inbound, LabelRules, Refusal, RefusalKind

KIND = RefusalKind(429, "rate_limited", "it is a test")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(label: bytes, rules: LabelRules | None, name: str | None = "ci") -> tuple[Inbound, Refusal]:
    caller = Caller("default", name, "stored", labels=rules)
    return Inbound(b"POST", b"/x", ((b"x-metrion-user", label),)), Refusal(KIND, "Wait.", "openai", caller=caller)


ONLY_X = LabelRules(allowed=("x",))


@pytest.mark.parametrize(
    ("label", "rules", "name", "expected"),
    [
        (b"ceo", ONLY_X, "ci", 1),
        (b"x", ONLY_X, "ci", 0),
        (b"ceo", LabelRules(fixed=True), "ci", 0),
        (b"ceo", None, "ci", 0),
        (b"ceo", None, None, 0),
    ],
)
def test_a_label_that_is_not_allowed_is_warned_of(
    label: bytes, rules: LabelRules | None, name: str | None, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    LabelWarnings().note(*asked(label, rules, name))
    assert len(caplog.messages) == expected
    assert "ceo" not in caplog.text


def test_a_request_of_nobody_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    LabelWarnings().note(asked(b"ceo", None)[0], Refusal(KIND, "Wait.", "openai"))
    assert caplog.messages == []


def test_each_token_is_warned_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    warnings = LabelWarnings(clock)
    for number in range(100):
        warnings.note(*asked(b"%d" % number, ONLY_X))
    warnings.note(*asked(b"ceo", ONLY_X, "laptop"))
    assert [message.split()[2] for message in caplog.messages] == ["ci", "laptop"]
    clock.now += WARNING_SECONDS
    warnings.note(*asked(b"ceo", ONLY_X))
    assert len(caplog.messages) == 3
