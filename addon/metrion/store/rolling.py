"""Keeps the sums of :mod:`~metrion.store.rollups` in step with the rows, in the transaction that changes the rows.

In: a connection on which the store is attached as the catalog ``store``, open for writing. Out: the sums that a query
over all rows would have. Commits nothing by itself.
"""

from __future__ import annotations

from datetime import datetime

import duckdb

from metrion.store import rollups

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


def remake(connection: duckdb.DuckDBPyConnection, first: datetime | None = None, last: datetime | None = None) -> None:
    """Make the sums of the quarters from ``first`` to ``last`` anew, both included; ``None``: there is no bound."""
    span = {"first": first or datetime.min, "last": last or datetime.max}  # noqa: DTZ901 -- naive UTC
    for table in ("rollups", "latencies"):
        connection.execute(f"DELETE FROM store.{table} WHERE quarter BETWEEN $first AND $last", span)  # noqa: S608 -- written here
    rows = f"(FROM store.ingested WHERE started_at >= $first AND {_QUARTER} <= $last)"
    if last is not None:
        rows = f"(FROM store.ingested WHERE started_at >= $first AND started_at < $last + {rollups.QUARTER})"
    billing = rollups.billing(rows, "store.settling")
    connection.execute(f"INSERT INTO store.rollups {rollups.rolled_up(billing)}", span)
    connection.execute(f"INSERT INTO store.latencies {rollups.timed(billing)}", span)


def make(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the sums of a store that has none, from its rows."""
    connection.execute(f"INSERT INTO store.settling {rollups.settling('store.ingested')}")
    remake(connection)


def _settled_by(connection: duckdb.DuckDBPyConnection, new: str) -> set[datetime]:
    """Return the quarters of earlier rows that these rows settle."""
    rows = connection.execute(f"""
        SELECT DISTINCT {_QUARTER} FROM store.ingested AS event
        JOIN ({rollups.settling(new)}) AS now ON now.provider = event.provider AND now.id = event.generation_id
        WHERE coalesce(cost_source, 'unknown') = 'unknown' AND now.settled_at >= started_at""").fetchall()  # noqa: S608 -- written here
    return {quarter for (quarter,) in rows}
