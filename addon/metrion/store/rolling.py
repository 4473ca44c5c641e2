"""Keeps the sums of :mod:`~metrion.store.rollups` in step with the rows, in the transaction that changes the rows.

In: a connection on which the store is attached as the catalog ``store``, open for writing. Out: the sums that a query
over all rows would have. Commits nothing by itself.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import duckdb

from metrion.store import rollups

logger = logging.getLogger(__name__)

_FIFTEEN_MINUTES = timedelta(minutes=15)
_IN_MAKING = "_in_making"
_MANY_ROWS = 500_000
"""What takes longer than one would wait without a word."""
_QUARTER = f"time_bucket({rollups.QUARTER}, started_at)"


def add(connection: duckdb.DuckDBPyConnection, new: str) -> None:
    """Add the sums of rows that have just been ingested; ``new`` is the table that they are in."""
    (newest,) = connection.execute("SELECT max(quarter) FROM store.rollups").fetchall()[0]
    connection.execute(f"INSERT INTO store.settling {rollups.settling(new)}")
    billing = rollups.billing(new, "store.settling")
    connection.execute(f"INSERT INTO store.rollups {rollups.rolled_up(billing)}")
    connection.execute(f"INSERT INTO store.latencies {rollups.timed(billing)}")
    stale = _settled_by(connection, new)
    (latest,) = connection.execute(f"SELECT max({_QUARTER}) FROM {new}").fetchall()[0]  # noqa: S608 -- written here
    if newest is not None and latest is not None and latest > newest:
        stale.add(newest)
    for quarter in sorted(stale):
        remake(connection, quarter, quarter)


def remake(connection: duckdb.DuckDBPyConnection, first: datetime, last: datetime) -> None:
    """Make the sums of the quarters from ``first`` to ``last`` anew, both included."""
    for table in ("rollups", "latencies"):
        span = {"first": first, "last": last}
        connection.execute(f"DELETE FROM store.{table} WHERE quarter BETWEEN $first AND $last", span)  # noqa: S608 -- written here
    for since, until, _ in _days(connection, first, last):
        _insert(connection, since, until)


def make(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of sums for a store that has none, from its rows.

    Outside of a transaction: it commits each day, so that many take no more memory than one. The tables get their names
    when they are whole. Whoever is killed before leaves tables of other names, which the next one drops.
    """
    for table in rollups.TABLES:
        connection.execute(f"DROP TABLE IF EXISTS store.{table}{_IN_MAKING}")
        connection.execute(f"CREATE TABLE store.{table}{_IN_MAKING} ({rollups.TABLES[table]})")
    connection.execute(f"INSERT INTO store.settling{_IN_MAKING} {rollups.settling('store.ingested')}")
    first, last, rows = connection.execute(
        f"SELECT min({_QUARTER}), max({_QUARTER}), count(*) FROM store.ingested"  # noqa: S608 -- written here
    ).fetchall()[0]
    if rows >= _MANY_ROWS:
        logger.warning("The store gets sums of its %s rows. This happens once, and takes some seconds a million.", rows)
    waiting = 0
    for since, until, count in _days(connection, first, last) if first is not None else ():
        _insert(connection, since, until, _IN_MAKING)
        waiting += count
        if waiting >= _MANY_ROWS:
            connection.execute("CHECKPOINT store")  # what is committed stays in memory until then
            waiting = 0
    connection.execute("BEGIN")
    for table in rollups.TABLES:
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


def _insert(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime, suffix: str = "") -> None:
    rows = "(FROM store.ingested WHERE started_at >= $since AND started_at < $until)"
    billing = rollups.billing(rows, f"store.settling{suffix}")
    span = {"since": since, "until": until}
    connection.execute(f"INSERT INTO store.rollups{suffix} {rollups.rolled_up(billing)}", span)
    connection.execute(f"INSERT INTO store.latencies{suffix} {rollups.timed(billing)}", span)


def _settled_by(connection: duckdb.DuckDBPyConnection, new: str) -> set[datetime]:
    """Return the quarters of earlier rows that these rows settle."""
    rows = connection.execute(f"""
        SELECT DISTINCT {_QUARTER} FROM store.ingested AS event
        JOIN ({rollups.settling(new)}) AS now ON now.provider = event.provider AND now.id = event.generation_id
        WHERE coalesce(cost_source, 'unknown') = 'unknown' AND now.settled_at >= started_at""").fetchall()  # noqa: S608 -- written here
    return {quarter for (quarter,) in rows}
