# ruff: noqa: DTZ001 - buckets are naive UTC
from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from metrion.errors import BillError
from metrion.reconciling.buckets import Buckets

NOON = datetime(2026, 11, 1, 12)
HOUR = timedelta(hours=1)


def test_days_and_those_of_which_a_part_is_missing() -> None:
    buckets = Buckets()
    assert buckets.add(NOON, NOON + 12 * HOUR, [], "a") == date(2026, 11, 1)
    assert buckets.part_days() == {date(2026, 11, 1)}
    buckets.add(NOON, NOON + 12 * HOUR, [{"of": "another kind"}], "b")
    assert buckets.part_days() == {date(2026, 11, 1)}, "the same hours again are no other hours"
    buckets.add(NOON - 12 * HOUR, NOON, [], "c")
    assert buckets.part_days() == set()
    assert buckets.days() == {date(2026, 11, 1)}


@pytest.mark.parametrize("hours", [-1, 0, 13, 24])
def test_a_bucket_is_within_one_day(hours: int) -> None:
    with pytest.raises(BillError, match="not within one UTC day"):
        Buckets().add(NOON, NOON + hours * HOUR, [], "data[0]")
