"""What of a token's terms is sent by its name; moments and lengths of time as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metrion.control import TokenTerms, terms
from metrion.errors import ControlError

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
    assert terms.after(NOW, text, "smhdw") == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "7", "mo", "-1d", "1.5h", "1 d", "1d\n", "1M", "1MO", "٣d", "1dh", "1" * 7 + "d"])
def test_what_is_no_length_of_time(text: str) -> None:
    assert terms.after(NOW, text, "smhdw") is None


@pytest.mark.parametrize("text", ["9000y", "999999y", "999999mo", "999999w"])
def test_what_no_calendar_reaches(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        terms.after(NOW, text, "smhdw")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3mo", "2026-04-30T10:30Z"),
        ("2027-01-31", "2027-01-31T00:00Z"),
        ("2027-01-31T12:00", "2027-01-31T12:00Z"),
        ("2027-01-31T12:00+02:00", "2027-01-31T10:00Z"),
    ],
)
def test_when_a_token_ends(text: str, expected: str) -> None:
    assert terms.expiry(text, NOW) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["3m", "90s", "soon", "", "2026-13-01", "9000y", "2026-01-31", "0d"])
def test_an_expiry_is_never_in_minutes_nor_past(text: str) -> None:
    with pytest.raises(ControlError):
        terms.expiry(text, NOW)


def test_a_token_has_no_more_tags_than_an_event() -> None:
    with pytest.raises(ControlError, match="more than the"):
        terms.MEMBERS["tags"](TokenTerms(), {f"t{n}": "x" for n in range(1000)})
