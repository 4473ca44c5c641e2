"""The spans of budgets: where they begin and when they turn, in time zones and over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metrion.admission.spans import QUARTER, length, span
from metrion.settings.timezones import zone


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


@pytest.mark.parametrize(
    ("per", "timezone", "now", "since", "until"),
    [
        ("day", "UTC", "2026-11-28T13:00Z", "2026-11-28T00:00Z", "2026-11-29T00:00Z"),
        ("day", "Europe/Berlin", "2026-11-28T23:30Z", "2026-11-28T23:00Z", "2026-11-29T23:00Z"),
        ("day", "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("day", "Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("day", "Asia/Kathmandu", "2026-11-28T13:00Z", "2026-11-27T18:15Z", "2026-11-28T18:15Z"),
        ("month", "UTC", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("month", "UTC", "2028-02-29T10:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("month", "America/New_York", "2026-12-01T04:59Z", "2026-11-01T04:00Z", "2026-12-01T05:00Z"),
        ("month", "Pacific/Kiritimati", "2026-11-30T10:00Z", "2026-11-30T10:00Z", "2026-12-31T10:00Z"),
    ],
)
def test_days_and_months(per: str, timezone: str, now: str, since: str, until: str) -> None:
    found = span(per, at(now), zone(timezone))
    assert tuple(found) == (at(since), at(since), at(until))
    assert not found.since % QUARTER
    assert span(per, found.since, zone(timezone)) == span(per, at(until) - 1, zone(timezone)) == found
    assert span(per, at(until), zone(timezone)).since == at(until)


@pytest.mark.parametrize(("per", "days"), [("30d", 30), ("4w", 28), ("24h", 1), ("366d", 366)])
def test_a_length_ends_now_and_begins_with_a_quarter(per: str, days: int) -> None:
    found = span(per, at("2026-11-28T13:07Z"), UTC)
    assert found == (0, at("2026-11-28T13:00Z") - days * 86_400, None)


@pytest.mark.parametrize(
    "per", ["", "year", "0d", "-1d", "367d", "99999w", "5m", "1.5d", "30 d", "d", "\N{FULLWIDTH DIGIT THREE}d"]
)
def test_what_is_no_span(per: str) -> None:
    with pytest.raises(ValueError, match="day, month"):
        length(per)
