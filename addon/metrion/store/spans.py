"""Which sums answer for a span of time: the coarsest that have what is asked for. Values in, SQL out; pure.

The whole days or hours of the span come from the table of these, the quarters at its ends from theirs, and what is no
quarter row by row. So any span has its exact sums, and few rows are read for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from metrion.store import rollups
from metrion.store.rollups import DAYS, HOURS, LEVELS, MODEL_DAYS, QUARTERS, Level

_DAY = timedelta(days=1)
_LENGTHS = {QUARTERS: timedelta(minutes=15), HOURS: timedelta(hours=1), DAYS: _DAY, MODEL_DAYS: _DAY}
_CHANGE = timedelta(days=7)
"""No zone changes its clock twice in so short a time."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- naive UTC

type Moment = datetime | None
"""Naive UTC; ``None`` is open."""


def sums(keys: Iterable[str], since: Moment, until: Moment, within: timedelta | None = None) -> str:
    """Return a query for the sums of a span, by at least these of :data:`rollups.KEYS` beside the time.

    Its column ``quarter`` says when what is summed up began, and lasted no longer than ``within``; with ``None`` it
    may be of any length.
    """
    wanted = set(keys) - {"quarter"}
    level = next(
        each for each in reversed(LEVELS) if wanted <= set(each.keys) and (not within or _LENGTHS[each] <= within)
    )
    return _at(level, level.keys, since, until)


def _at(level: Level, keys: tuple[str, ...], since: Moment, until: Moment) -> str:
    """Return a query for the sums of a span, of a level where it has whole intervals, else of the finer one."""
    length = _LENGTHS[level]
    first = None if since is None else _EPOCH - (_EPOCH - since) // length * length
    after = None if until is None else _EPOCH + (until - _EPOCH) // length * length
    if first and after and first >= after:
        return _finer(level, keys, since, until)
    whole = _between(level.moment, first, after)
    picked = ", ".join((f"{level.moment} AS quarter", *keys, *rollups.MEASURES))
    parts = [f"SELECT {picked} FROM {level.view} WHERE {whole}"]  # noqa: S608 -- names, and moments as literals
    parts += [_finer(level, keys, begin, end) for begin, end in ((since, first), (after, until)) if begin != end]
    return "\nUNION ALL ".join(parts)


def _finer(level: Level, keys: tuple[str, ...], since: Moment, until: Moment) -> str:
    if level is not QUARTERS:
        return _at(HOURS if level is MODEL_DAYS else QUARTERS, keys, since, until)
    return of_rows(f"SELECT * FROM billing WHERE {_between('started_at', since, until)}", keys)  # noqa: S608 -- as above


def of_rows(rows: str, keys: Iterable[str], more: Mapping[str, str] | None = None) -> str:
    """Return a query for the sums of these rows of ``billing``, by quarter and the keys.

    ``more``: keys that no sums are kept by, each with the SQL that makes it of a row.
    """
    names, more = ("quarter", *(name for name in keys if name != "quarter")), more or {}
    made = (f"{sql} AS {name}" for name, sql in more.items())
    return rollups.fitted(rollups.rolled_up(rows, *made, keys=names), (*names, *more, *rollups.MEASURES))


def _between(column: str, since: Moment, until: Moment) -> str:
    parts = [f"{column} >= {literal(since)}"] if since else []
    parts += [f"{column} < {literal(until)}"] if until else []
    return " AND ".join(parts) or "true"


def literal(moment: datetime) -> str:
    """Return a naive moment as SQL."""
    return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"


@lru_cache(maxsize=256)
def offsets(since: datetime, until: datetime, timezone: str) -> tuple[tuple[datetime, timedelta], ...]:
    """Return by how much a zone is ahead of UTC in a span: each offset with the moment (naive UTC) at which it ends."""
    zone = ZoneInfo(timezone)

    def ahead(moment: datetime) -> timedelta:
        return moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta(0)

    found = []
    at = since
    while at < until:
        following = min(at + _CHANGE, until)
        if ahead(at) != ahead(following):
            low, high = at, following  # the change is between these, at a quarter
            while high - low > _LENGTHS[QUARTERS]:
                middle = low + (high - low) // 2 // _LENGTHS[QUARTERS] * _LENGTHS[QUARTERS]
                low, high = (middle, high) if ahead(middle) == ahead(at) else (low, middle)
            following = high
            found.append((following, ahead(at)))
        at = following
    return (*found, (until, ahead(until)))


def within(since: datetime, until: datetime, timezone: str) -> timedelta:
    """Return how fine sums must be to make the days of a zone of them.

    Days, where its clock is that of UTC; hours, where it is whole hours ahead.
    """
    ahead = [each for _, each in offsets(since, until, timezone)]
    if not any(ahead):
        return _DAY
    return _LENGTHS[QUARTERS if any(each % _LENGTHS[HOURS] for each in ahead) else HOURS]


def local(moment: str, since: datetime, until: datetime, timezone: str) -> str:
    """Return the SQL of a moment as the clock of a zone has it: by how much that is ahead of UTC stands in it."""
    *changes, (_, last) = offsets(since, until, timezone)
    written = _interval(last)
    if changes:
        before = " ".join(f"WHEN {moment} < {literal(end)} THEN {_interval(ahead)}" for end, ahead in changes)
        written = f"CASE {before} ELSE {written} END"
    return f"{moment} + {written}"


def _interval(length: timedelta) -> str:
    return f"INTERVAL '{int(length.total_seconds())}' SECONDS"
