"""Moments and lengths of time as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metrion.cli import values

NOW = datetime(2026, 1, 31, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12h", "2026-01-31T22:30"),
        ("30d", "2026-03-02T10:30"),
        ("2w", "2026-02-14T10:30"),
        ("90s", "2026-01-31T10:31:30"),
        ("30m", "2026-01-31T11:00"),
        ("1mo", "2026-02-28T10:30"),
        ("2mo", "2026-03-31T10:30"),
        ("11mo", "2026-12-31T10:30"),
        ("12mo", "2027-01-31T10:30"),
        ("25mo", "2028-02-29T10:30"),
        ("1y", "2027-01-31T10:30"),
        ("0mo", "2026-01-31T10:30"),
    ],
)
def test_a_month_is_one_of_the_calendar(text: str, expected: str) -> None:
    assert values._after(NOW, text, "smhdw") == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "7", "mo", "-1d", "1.5h", "1 d", "1d\n", "1M", "1MO", "٣d", "1dh", "1" * 7 + "d"])
def test_what_is_no_length_of_time(text: str) -> None:
    assert values._after(NOW, text, "smhdw") is None


@pytest.mark.parametrize("text", ["9000y", "999999y", "999999mo", "999999w"])
def test_what_no_calendar_reaches(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        values._after(NOW, text, "smhdw")


def test_an_expiry_is_never_in_minutes() -> None:
    assert values._after(NOW, "3m", "hdw") is None
