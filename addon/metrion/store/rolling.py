"""Keeps the sums of :mod:`~metrion.store.rollups` in step with the rows, in the transaction that changes the rows.

In: a connection on which the store is attached as the catalog ``store``, open for writing. Out: the sums that a query
over all rows would have. Commits nothing by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import duckdb

from metrion.store import histograms, rollups
from metrion.store.rollups import COARSER, DAYS, HOURS, QUARTERS

logger = logging.getLogger(__name__)

TABLES = {**rollups.TABLES, **histograms.TABLES}
"""The tables that are kept beside the rows, with their columns."""

_FIFTEEN_MINUTES = timedelta(minutes=15)
_IN_MAKING = "_in_making"
_MANY_ROWS = 500_000
"""What takes longer than one would wait without a word."""
_MEMORY = "400MB"
"""What sums may be made with: the command that finds none may have a bound of its own."""
_QUARTER = f"time_bucket({rollups.QUARTER}, started_at)"


def add(connection: duckdb.DuckDBPyConnection, new: str) -> None:
    """Add the sums of rows that have just been ingested; ``new`` is the table that they are in."""
    # Of the quarters, which are many, only those of the latest hour are looked at.
    ((newest,),) = connection.execute(
        "SELECT max(quarter) FROM store.rollups WHERE quarter >= (SELECT max(hour) FROM store.hours)"
    ).fetchall()
    connection.execute(f"INSERT INTO store.settling {rollups.settling(new)}")
    billing = rollups.billing(new, "store.settling")
    sums = rollups.fitted(rollups.rolled_up(billing))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE batch_sums AS {sums}")
    connection.execute("INSERT INTO store.rollups FROM batch_sums")
    _insert_coarser(connection, "FROM batch_sums")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE batch_times AS {histograms.timed(billing)}")
    connection.execute(f"INSERT INTO store.{histograms.TABLE} FROM batch_times")
    connection.execute(f"INSERT INTO store.{histograms.DAY_TABLE} {histograms.by_day('FROM batch_times')}")
    connection.execute("DROP TABLE batch_sums; DROP TABLE batch_times")
    for quarter in sorted(_settled_by(connection, new)):
        remake(connection, quarter, quarter)
    (latest,) = connection.execute(f"SELECT max({_QUARTER}) FROM {new}").fetchall()[0]  # noqa: S608 -- written here
    if newest is not None and latest is not None and latest > newest:
        _fold(connection, newest, latest)


def remake(connection: duckdb.DuckDBPyConnection, first: datetime, last: datetime) -> None:
    """Make the sums of the quarters from ``first`` to ``last`` anew, both included, and of their hours and days."""
    _delete(connection, QUARTERS.table, QUARTERS.moment, first, last)
    for since, until, _ in _days(connection, first, last):
        _insert(connection, since, until)
    _remake_coarser(connection, first, last, COARSER)


def _fold(connection: duckdb.DuckDBPyConnection, over: datetime, now: datetime) -> None:
    """Give each group of a quarter that is over one row; once an hour, those of its hour and day too."""
    _delete(connection, QUARTERS.table, QUARTERS.moment, over, over)
    _insert(connection, over, over + _FIFTEEN_MINUTES)
    if over.hour != now.hour or now - over >= timedelta(hours=1):
        _remake_coarser(connection, over, over, COARSER)


def _remake_coarser(
    connection: duckdb.DuckDBPyConnection, first: datetime, last: datetime, levels: Iterable[rollups.Level]
) -> None:
    """Make the hours and days of these quarters anew, from the quarters; and the histograms, from rows."""
    for level in levels:
        span = _whole(level, first, last)
        _delete(connection, level.table, level.moment, span[0], span[1] - _FIFTEEN_MINUTES)
        quarters = f"FROM store.rollups WHERE quarter >= {_literal(span[0])} AND quarter < {_literal(span[1])}"
        _insert_coarser(connection, quarters, levels=(level,))
    hours = _whole(HOURS, first, last)
    _delete(connection, histograms.TABLE, "hour", hours[0], hours[1] - _FIFTEEN_MINUTES)
    for since, until, _ in _days(connection, hours[0], hours[1] - _FIFTEEN_MINUTES):
        _insert_times(connection, since, until)
    days = _whole(DAYS, first, last)
    _delete(connection, histograms.DAY_TABLE, "day", days[0], days[1] - _FIFTEEN_MINUTES)
    _insert_day_times(connection, *days)


def make(connection: duckdb.DuckDBPyConnection, tables: Iterable[str] = TABLES) -> None:
    """Make these tables of sums for a store that lacks them.

    Outside of a transaction: it commits each day, so that many take no more memory than one. The tables get their names
    when they are whole. Whoever is killed before leaves tables of other names, which the next one drops.
    """
    ((limit,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    try:
        if set(tables) <= {histograms.DAY_TABLE, *(level.table for level in COARSER)}:
            _make_coarser(connection, set(tables))
        else:
            _make(connection)
    finally:
        connection.execute(f"SET memory_limit = '{limit}'")


def _make(connection: duckdb.DuckDBPyConnection) -> None:
    """Make all of them, from the rows."""
    _begin(connection, TABLES)
    connection.execute(f"INSERT INTO store.settling{_IN_MAKING} {rollups.settling('store.ingested')}")
    first, last, rows = connection.execute(
        f"SELECT min({_QUARTER}), max({_QUARTER}), count(*) FROM store.ingested"  # noqa: S608 -- written here
    ).fetchall()[0]
    if rows >= _MANY_ROWS:
        logger.warning("The store gets sums of its %s rows. This happens once, and takes some seconds a million.", rows)
    waiting = 0
    for since, until, count in _days(connection, first, last) if first is not None else ():
        _insert(connection, since, until, _IN_MAKING)
        quarters = f"FROM store.rollups{_IN_MAKING} WHERE quarter >= {_literal(since)} AND quarter < {_literal(until)}"
        _insert_coarser(connection, quarters, _IN_MAKING)
        _insert_times(connection, since, until, _IN_MAKING)
        _insert_day_times(connection, since, until, _IN_MAKING, _IN_MAKING)
        waiting += count
        if waiting >= _MANY_ROWS:
            connection.execute("CHECKPOINT store")  # what is committed stays in memory until then
            waiting = 0
    _end(connection, TABLES)


def _make_coarser(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> None:
    """Make those that are made of finer ones, day by day."""
    _begin(connection, {table: TABLES[table] for table in tables})
    levels = [level for level in COARSER if level.table in tables]
    days = connection.execute("SELECT DISTINCT date_trunc('day', quarter) FROM store.rollups ORDER BY 1").fetchall()
    for (day,) in days:
        end = day + timedelta(days=1)
        quarters = f"FROM store.rollups WHERE quarter >= {_literal(day)} AND quarter < {_literal(end)}"
        _insert_coarser(connection, quarters, _IN_MAKING, levels)
        if histograms.DAY_TABLE in tables:
            _insert_day_times(connection, day, end, _IN_MAKING)
        connection.execute("CHECKPOINT store")  # what is committed stays in memory until then
    _end(connection, tables)


def _begin(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, str]) -> None:
    for table, columns in tables.items():
        connection.execute(f"DROP TABLE IF EXISTS store.{table}{_IN_MAKING}")
        connection.execute(f"CREATE TABLE store.{table}{_IN_MAKING} ({columns})")


def _end(connection: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    connection.execute("BEGIN")
    for table in tables:
        connection.execute(f"DROP TABLE IF EXISTS store.{table}")
        connection.execute(f"ALTER TABLE store.{table}{_IN_MAKING} RENAME TO {table}")
    connection.execute("COMMIT")


def _days(
    connection: duckdb.DuckDBPyConnection, first: datetime, last: datetime
) -> list[tuple[datetime, datetime, int]]:
    """Return the days from the quarter ``first`` to ``last``: from when to when, and how many rows."""
    end = last + _FIFTEEN_MINUTES
    days = connection.execute(
        "SELECT date_trunc('day', started_at), count(*) FROM store.ingested WHERE started_at >= $first "
        "AND started_at < $end GROUP BY 1 ORDER BY 1",
        {"first": first, "end": end},
    ).fetchall()
    return [(max(first, day), min(end, day + timedelta(days=1)), count) for day, count in days]


def _whole(level: rollups.Level, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return from when to when the intervals of a level are that quarters are in."""
    if level is HOURS:
        return first.replace(minute=0), last.replace(minute=0) + timedelta(hours=1)
    return first.replace(hour=0, minute=0), last.replace(hour=0, minute=0) + timedelta(days=1)


def _delete(connection: duckdb.DuckDBPyConnection, table: str, moment: str, first: datetime, last: datetime) -> None:
    connection.execute(
        f"DELETE FROM store.{table} WHERE {moment} BETWEEN {_literal(first)} AND {_literal(last)}"  # noqa: S608 -- written here
    )


def _insert(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime, suffix: str = "") -> None:
    sums = rollups.fitted(rollups.rolled_up(_billing(since, until, suffix)))
    connection.execute(f"INSERT INTO store.rollups{suffix} {sums}")


def _insert_times(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime, suffix: str = "") -> None:
    times = histograms.timed(_billing(since, until, suffix))
    connection.execute(f"INSERT INTO store.{histograms.TABLE}{suffix} {times}")


def _insert_day_times(
    connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime, suffix: str = "", of: str = ""
) -> None:
    """Add the histograms of days, of the table of hours whose name ends in ``of``."""
    hours = f"FROM store.{histograms.TABLE}{of} WHERE hour >= {_literal(since)} AND hour < {_literal(until)}"
    connection.execute(f"INSERT INTO store.{histograms.DAY_TABLE}{suffix} {histograms.by_day(hours)}")


def _insert_coarser(
    connection: duckdb.DuckDBPyConnection, quarters: str, suffix: str = "", levels: Iterable[rollups.Level] = COARSER
) -> None:
    for level in levels:
        sums = rollups.fitted(rollups.coarser(quarters, level), level.names)
        connection.execute(f"INSERT INTO store.{level.table}{suffix} {sums}")


def _billing(since: datetime, until: datetime, suffix: str) -> str:
    rows = f"(FROM store.ingested WHERE started_at >= {_literal(since)} AND started_at < {_literal(until)})"
    return rollups.billing(rows, f"store.settling{suffix}")


def _literal(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"


def _settled_by(connection: duckdb.DuckDBPyConnection, new: str) -> set[datetime]:
    """Return the quarters of earlier rows that these rows settle."""
    rows = connection.execute(f"""
        SELECT DISTINCT {_QUARTER} FROM store.ingested AS event
        JOIN ({rollups.settling(new)}) AS now ON now.provider = event.provider AND now.id = event.generation_id
        WHERE coalesce(cost_source, 'unknown') = 'unknown' AND now.settled_at >= started_at""").fetchall()  # noqa: S608 -- written here
    return {quarter for (quarter,) in rows}
