"""Buckets of time, as the usage-and-cost APIs of OpenAI and Anthropic page through them → the days that they cover."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any

from metrion.errors import BillError

_DAY = timedelta(days=1)


class Buckets:
    """The buckets of one file. A bucket is within one UTC day; the same bucket twice would be billed twice."""

    def __init__(self) -> None:
        self._spans: dict[tuple[datetime, datetime], list[Any]] = {}

    def add(self, start: datetime, end: datetime, results: list[Any], place: str) -> date:
        """Record a bucket, and return its day."""
        midnight = datetime.combine(start.date(), datetime.min.time())
        if not start < end <= midnight + _DAY:
            raise BillError(
                f"{place} lasts from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, which is not within one UTC day. "
                "Ask for bucket_width=1d, from 00:00 UTC on"
            )
        seen = self._spans.setdefault((start, end), [])
        if results and results in seen:
            raise BillError(f"{place} is in the file twice, with the same results. Leave one out")
        seen.append(results)
        return midnight.date()

    def days(self) -> frozenset[date]:
        """Return the days of which there is a bucket."""
        return frozenset(start.date() for start, _ in self._spans)

    def part_days(self) -> frozenset[date]:
        """Return the days of which some hours are in no bucket."""
        covered = Counter[date]()
        for start, end in self._spans:
            covered[start.date()] += int((end - start).total_seconds())
        return frozenset(day for day, seconds in covered.items() if seconds < _DAY.total_seconds())


def continued(cursor: str | None, *, is_last: bool) -> tuple[str, ...]:
    """Return the remark on a file whose last page has another one behind it."""
    if is_last or cursor is None:
        return ()
    return ("its last page says that there is another: the days behind it are not in the file (has_more, next_page)",)
