"""Raw usages of every wire format, checked in one place; drafts, finished."""

from __future__ import annotations

from typing import Any

import pytest

from metrion.dialects import FORMATS
from metrion.dialects.dialect import TOKENS, Draft, WireFormat
from metrion.dialects.reading.usage_check import MOST_WARNINGS, check, finish, merged
from metrion.model import Reading, Usage


def form(usage: Usage, *, or_seconds: bool = False) -> WireFormat:
    """A format that reads this usage, whatever is sent, and needs tokens."""
    return WireFormat(name="any", usage=lambda _: usage, needs=TOKENS, or_seconds=or_seconds)


@pytest.mark.parametrize(
    ("usage", "is_doubtful"),
    [
        (Usage(input_tokens=0, output_tokens=0), False),
        (Usage(input_tokens=1), True),
        (Usage(shares=((None, Usage(input_tokens=1, output_tokens=1)),)), False),
        (Usage(input_tokens=1, output_tokens=1, shares=((None, Usage(input_tokens=1)),)), True),
    ],
)
def test_a_usage_without_what_its_format_always_has_is_doubtful(usage: Usage, *, is_doubtful: bool) -> None:
    checked = check({}, form(usage))
    assert (checked.is_unreadable, checked.is_incomplete, checked.is_doubtful) == (False, is_doubtful, is_doubtful)


@pytest.mark.parametrize(
    ("usage", "is_incomplete"),
    [
        (Usage(audio_seconds=3.0), False),
        (Usage(audio_seconds=0.0), False),
        (Usage(output_tokens=3), True),
        (Usage(input_tokens=2, output_tokens=3), False),
        (Usage(shares=((None, Usage(audio_seconds=3.0)), ("m", Usage(output_tokens=1)))), True),
    ],
)
def test_what_is_billed_by_the_second_needs_no_tokens(usage: Usage, *, is_incomplete: bool) -> None:
    assert check({}, form(usage, or_seconds=True)).is_incomplete is is_incomplete


UNREADABLE: dict[str, dict[str, Any]] = {
    "anthropic_messages": {"input_tokens": -5, "output_tokens": 1},
    "gemini": {"promptTokenCount": 5, "thoughtsTokenCount": -1},
    "gemini_live": {"promptTokenCount": -5},
    "openai_chat": {"prompt_tokens": 5, "completion_tokens": "9"},
    "openai_realtime": {"input_tokens": 1.5, "output_tokens": 9},
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_number_that_is_none_is_warned_of_and_doubtful_in_every_format(name: str) -> None:
    checked = check(UNREADABLE[name], FORMATS[name])
    assert checked.is_unreadable
    assert len(checked.warnings) == 1
    draft = Draft(usage=UNREADABLE[name], usage_source="{}")
    reading = finish(draft, FORMATS[name], warnings=["before"])
    assert reading.doubtful
    assert reading.warnings == ("before", *checked.warnings)
    assert reading.usage is not None
    assert reading.usage.raw == "{}"


def test_only_a_usage_can_be_cut_short_or_go_on_and_only_without_one_is_anything_pending() -> None:
    draft = Draft(model="m", pending=True, estimated=True)
    without = finish(draft, FORMATS["openai_chat"], cut_short=True, goes_on=True, is_error=True, wire_format="w")
    assert without == Reading(model="m", pending=True, is_error=True)
    assert without.wire_format == "w"
    draft.usage = {"prompt_tokens": 1, "completion_tokens": 2}
    reading = finish(draft, FORMATS["openai_chat"], cut_short=True, goes_on=True)
    assert (reading.pending, reading.estimated, reading.cut_short, reading.goes_on) == (False, True, True, True)


def test_calls_that_the_answer_shows_are_added_to_the_usage() -> None:
    draft = Draft(usage={"promptTokenCount": 1}, usage_source="{}", unreported_tools={"google_search": 2})
    usage = finish(draft, FORMATS["gemini"]).usage
    assert usage is not None
    assert (usage.input_tokens, usage.unreported_tools) == (1, {"google_search": 2})


def test_warnings_are_given_once_and_are_few() -> None:
    assert merged(["a"], ["b", "a"]) == ["a", "b"]
    assert len(merged([], map(str, range(99)))) == MOST_WARNINGS
