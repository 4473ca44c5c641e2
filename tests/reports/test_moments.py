# ruff: noqa: DTZ001 -- the store's times are naive UTC
from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from metrion.reports import moment

NOW = datetime(2026, 11, 21, 8, 30, 15, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-01", datetime(2026, 11, 1)),
        ("2026-11-01T08:30", datetime(2026, 11, 1, 8, 30)),
        ("2026-11-01 08:30:15.5", datetime(2026, 11, 1, 8, 30, 15, 500_000)),
        ("2026-11-01T08:30Z", datetime(2026, 11, 1, 8, 30)),
        ("2026-11-01T08:30+02:00", datetime(2026, 11, 1, 6, 30)),
        ("7d", datetime(2026, 11, 14, 8, 30, 15, 5)),
        ("24h", datetime(2026, 11, 20, 8, 30, 15, 5)),
        ("30m", datetime(2026, 11, 21, 8, 0, 15, 5)),
        ("2w", datetime(2026, 11, 7, 8, 30, 15, 5)),
        ("now", datetime(2026, 11, 21, 8, 30, 15, 5)),
        ("today", datetime(2026, 11, 21)),
        ("yesterday", datetime(2026, 11, 20)),
        ("month", datetime(2026, 11, 1)),
    ],
)
def test_moments(text: str, read: datetime) -> None:
    assert moment(text, NOW) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-01", datetime(2026, 10, 31, 23)),
        ("2026-07-01", datetime(2026, 6, 30, 22)),
        ("2026-11-01T08:30", datetime(2026, 11, 1, 7, 30)),
        ("2026-11-01T08:30Z", datetime(2026, 11, 1, 8, 30)),
        ("24h", datetime(2026, 11, 20, 8, 30, 15, 5)),
        ("today", datetime(2026, 11, 20, 23)),
        ("yesterday", datetime(2026, 11, 19, 23)),
        ("month", datetime(2026, 10, 31, 23)),
    ],
)
def test_moments_without_a_zone_are_in_the_given_one(text: str, read: datetime) -> None:
    assert moment(text, NOW, ZoneInfo("Europe/Berlin")) == read


def test_yesterday_begins_at_its_own_midnight_when_the_clocks_change() -> None:
    after = datetime(2026, 10, 26, 12, tzinfo=UTC)  # the 25th had 25 hours
    assert moment("yesterday", after, ZoneInfo("Europe/Berlin")) == datetime(2026, 10, 24, 22)


@pytest.mark.parametrize("text", ["", "7", "d", "7x", "-7d", "last week", "2026-13-01", "999999w"])
def test_what_is_no_moment_is_told_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"no point in time; write 2026-11-01"):
        moment(text, NOW)
