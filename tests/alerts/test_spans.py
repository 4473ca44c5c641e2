from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from metrion.alerts.spans import beginning, length, worded

MADE = datetime(2026, 10, 1, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "now", "zone", "since"),
    [
        ("day", "2026-11-15T12:00", "UTC", "2026-11-15T00:00"),
        ("month", "2026-11-15T12:00", "UTC", "2026-11-01T00:00"),
        ("rule", "2026-11-15T12:00", "UTC", "2026-10-01T08:30"),
        ("15m", "2026-11-15T12:00", "Asia/Kolkata", "2026-11-15T11:45"),
        ("2w", "2026-11-15T12:00", "UTC", "2026-11-01T12:00"),
        # The turn of the month, where it is the configured zone's and not UTC's.
        ("month", "2026-11-30T23:30", "Europe/Berlin", "2026-11-30T23:00"),
        ("month", "2026-11-30T22:59", "Europe/Berlin", "2026-10-31T23:00"),
        ("month", "2026-12-01T03:00", "America/New_York", "2026-11-01T04:00"),
        ("day", "2026-11-15T19:00", "Asia/Kolkata", "2026-11-15T18:30"),
        # The days on which clocks change have 23 or 25 hours.
        ("day", "2026-03-29T22:30", "Europe/Berlin", "2026-03-29T22:00"),
        ("day", "2026-03-29T21:30", "Europe/Berlin", "2026-03-28T23:00"),
        ("day", "2026-10-25T22:30", "Europe/Berlin", "2026-10-24T22:00"),
        ("day", "2026-10-25T23:30", "Europe/Berlin", "2026-10-25T23:00"),
        ("1d", "2026-10-25T22:30", "Europe/Berlin", "2026-10-24T22:30"),
        # A midnight that comes twice (the first one counts), and one that never comes.
        ("day", "2026-11-01T05:30", "America/Havana", "2026-11-01T04:00"),
        ("day", "2026-03-08T12:00", "America/Havana", "2026-03-08T05:00"),
    ],
)
def test_where_a_span_begins(span: str, now: str, zone: str, since: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert beginning(span, at, MADE, ZoneInfo(zone)) == datetime.fromisoformat(since).replace(tzinfo=UTC)


@pytest.mark.parametrize("span", ["", "0m", "0d", "1y", "m", "-1d", "367d", "99999w", "1.5h", "week", "१h"])
def test_what_is_no_span(span: str) -> None:
    with pytest.raises(ValueError, match="write day, month, rule"):
        length(span)


def test_lengths() -> None:
    assert [length(each) for each in ("month", "90m", "1d")] == [None, timedelta(minutes=90), timedelta(days=1)]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("day", "today (since 2026-11-15 01:00 CET)"),
        ("month", "this month (since 2026-11-15 01:00 CET)"),
        ("rule", "since the rule was made (2026-11-15 01:00 CET)"),
        ("1h", "in the last hour (since 2026-11-15 01:00 CET)"),
        ("10m", "in the last 10 minutes (since 2026-11-15 01:00 CET)"),
    ],
)
def test_words_for_a_span(span: str, words: str) -> None:
    assert worded(span, datetime(2026, 11, 15, tzinfo=UTC), ZoneInfo("Europe/Berlin")) == words
