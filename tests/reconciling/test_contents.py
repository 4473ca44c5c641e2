# ruff: noqa: DTZ001 - moments in bills are naive UTC
from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from metrion.errors import BillError
from metrion.reconciling import contents


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("0.05", "0.05"),
        (" 1,234.50 ", "1234.50"),
        ("-3", "-3"),
        ("1.5E-7", "1.5E-7"),
        (3, "3"),
        (Decimal("0.1"), "0.1"),
        ("0." + "1" * 40, "0." + "1" * 40),
        ("", None),
        ("$5", None),
        ("1,23", None),
        ("1_000", None),
        ("٣", None),
        ("NaN", None),
        ("Infinity", None),
        ("1E999", None),
        ("0." + "1" * 41, None),
        (10**10, None),
        (True, None),
        (None, None),
        ([1], None),
        (0.5, None),
    ],
)
def test_amounts(value: Any, amount: str | None) -> None:
    if amount is not None:
        assert contents.to_amount(value, "here") == Decimal(amount)
        return
    with pytest.raises(BillError, match="here is"):
        contents.to_amount(value, "here")


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("0", 0),
        ("1,000", 1000),
        (7, 7),
        ("1.5", None),
        ("1e3", None),
        (-1, None),
        (10**16, None),
        (False, None),
        (1.0, None),
    ],
)
def test_counts(value: Any, count: int | None) -> None:
    if count is not None:
        assert contents.to_count(value, "here") == count
        return
    with pytest.raises(BillError, match="here is not a count"):
        contents.to_count(value, "here")


def test_moments_and_days() -> None:
    assert contents.to_moment("2026-11-01T02:00:00+02:00", "") == datetime(2026, 11, 1)
    assert contents.to_moment("2026-11-01 07:00:00.5 UTC", "") == datetime(2026, 11, 1, 7, 0, 0, 500_000)
    assert contents.to_unix_moment(1793491200, "") == datetime(2026, 11, 1)
    assert contents.to_day("2026-11-01", "") == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (contents.to_moment, None),
        (contents.to_moment, "0001-01-01T00:00:00+14:00"),
        (contents.to_unix_moment, 10**20),
        (contents.to_unix_moment, 1.5),
        (contents.to_unix_moment, 0),
        (contents.to_day, "1.11.2026"),
        (contents.to_day, "9999-12-31"),
    ],
)
def test_what_is_no_time(read: Any, value: Any) -> None:
    with pytest.raises(BillError, match="here is"):
        read(value, "here")


def test_a_header_may_have_lines_above_it_and_rows_may_be_short() -> None:
    sheet = contents.read_sheet("Invoice,7\n\nday,cost,note\n2026-11-01,1\n,,\n2026-11-02,2,three\n")
    assert sheet.header({"day", "price"}) is None
    header = sheet.header({"day", "cost"})
    assert header is not None
    rows = list(sheet.below(header))
    assert [(row.line, row.text("note")) for row in rows] == [(4, None), (6, "three")]


def test_a_sheet_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_ROWS", 3)
    with pytest.raises(BillError, match="more than 3 lines"):
        contents.read_sheet("a\n" * 4)
    with pytest.raises(BillError, match="it has 4 rows"):
        contents.read_documents("[1,2,3,4]")
