"""Event ids sort as events come."""

from __future__ import annotations

import time

import pytest

from metrion.model.event_id import uuid7


def test_ids_are_of_version_7_and_carry_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_760_000_000_123_456_789)
    one = uuid7()
    assert (one.version, one.variant, one.int >> 80) == (7, "specified in RFC 4122", 1_760_000_000_123)


def test_ids_of_one_millisecond_sort_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_760_000_001_000_000_000)
    ids = [uuid7() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert {each.version for each in ids} == {7}


def test_a_clock_that_is_set_back_gives_ids_of_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_760_000_003_000_000_000, 1_760_000_002_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    assert uuid7() > uuid7()
