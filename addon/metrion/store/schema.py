"""What the store holds, as SQL text: the columns, the tables, and the views over them and the journal.

In: where the journal is. Out: SQL. Pure: imports no database and touches no file.

The view ``events`` is the table ``ingested`` and, after it, the journal's lines above the watermark of their writer. A
line of the journal is in exactly one of the two: the ingester moves rows and watermark in one transaction.

The view ``billing`` is ``events`` for sums of money: a ``cost_source`` that is NULL is ``unknown``, and there are two
more columns. ``settled_later`` is true in a row whose usage is not known because a later request reported it, and has
the cost. ``billed`` is true in a row that has a cost of its own, known or not: it is false where there was nothing to
bill, where a flat-rate plan covers it, and where it is settled later.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from metrion.model import event
from metrion.store import histograms, rollups

STORAGE_VERSION = "v1.4.0"
"""The file format: any DuckDB from 1.4 on opens it."""

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""Settings of every connection: nothing is fetched from the network because a query mentions it."""

QUIET = "SET enable_progress_bar = false"
"""What every connection begins with: DuckDB draws a bar on standard output while a query takes long, pipe or not."""

WRITER_CONFIG = {**CONFIG, "checkpoint_threshold": "1TB"}
"""Settings of every connection that writes: checkpoint when the store is closed, never within a commit.

A large commit that checkpoints by itself passes the write-ahead log (WAL) by. If a killed writer has left a torn one,
that one stays, of an older version than the file, and nobody can open the store any more. Seen with DuckDB
1.5.5; a commit that does go through the WAL cuts off what is torn first.
"""

COLUMN_TYPES = event.COLUMN_TYPES
"""The columns of ``events`` with their DuckDB types, in order."""

MONEY = event.MONEY

COLUMNS = ", ".join(COLUMN_TYPES)

SEGMENTS = "*.ndjson"
"""Which files of the journal's directory are segments."""

SENTINEL = "0-sentinel.ndjson"
"""A segment that is always there and always empty: a pattern that matches no file is an error to DuckDB."""

_WATERMARKS = "CREATE TABLE watermarks (writer VARCHAR, seq BIGINT);"

TABLES = f"""
CREATE TABLE ingested ({", ".join(f"{name} {kind}" for name, kind in COLUMN_TYPES.items())});
{_WATERMARKS}
"""


def literal(text: str) -> str:
    """``text`` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def segments(files: list[Path]) -> str:
    """Return the SQL list of exactly these files."""
    return "[" + ", ".join(literal(_without_wildcards(file)) for file in files) + "]"


def lines(files: str) -> str:
    """Return a query for the readable lines of ``files`` (an SQL string or list).

    It has the columns, ``writer`` and ``seq``. A line that cannot be read, such as the torn last one of a
    killed writer, has no row.
    """
    # A JSON column would hold the text as a JSON string, so it is read as text and parsed by the cast.
    shapes = {name: "VARCHAR" if kind == "JSON" else kind for name, kind in COLUMN_TYPES.items()}
    shapes |= {"writer": "VARCHAR", "seq": "BIGINT"}
    picked = [f"TRY_CAST({name} AS JSON) AS {name}" if kind == "JSON" else name for name, kind in COLUMN_TYPES.items()]
    # hive_partitioning is off because a home such as /data/provider=x/ would otherwise overwrite that column.
    return f"""
SELECT {", ".join(picked)}, writer, seq
FROM read_json({files}, format = 'newline_delimited', ignore_errors = true, hive_partitioning = false,
    columns = {{{", ".join(f"{name}: {literal(kind)}" for name, kind in shapes.items())}}})
WHERE event_id IS NOT NULL AND writer IS NOT NULL AND seq IS NOT NULL"""  # noqa: S608 -- all of it is written here


def tail(journal_dir: Path) -> str:
    """Return a query for the journal's rows that are not in ``ingested`` yet."""
    return above_watermark(f"({lines(_pattern(journal_dir))})", "watermarks")


def watermarks(journal_dir: Path) -> str:
    """Return the statements that make the table ``watermarks`` anew for the rows that ``ingested`` has."""
    return f"""
{_WATERMARKS}
INSERT INTO watermarks SELECT writer, max(seq) FROM ({lines(_pattern(journal_dir))})
WHERE event_id IN (SELECT event_id FROM ingested) GROUP BY writer;
"""  # noqa: S608 -- all of it is written here


def above_watermark(rows: str, watermarks: str) -> str:
    """Return a query for those ``rows`` (a table or subquery with ``writer`` and ``seq``) that are not ingested yet."""
    columns = ", ".join(f"journal.{name}" for name in COLUMN_TYPES)
    return f"""
SELECT {columns} FROM {rows} AS journal LEFT JOIN {watermarks} AS mark ON mark.writer = journal.writer
WHERE mark.seq IS NULL OR journal.seq > mark.seq"""  # noqa: S608 -- all of it is written here


def events(tail: str) -> str:
    """Return the query of the view ``events``; ``tail`` is a query or table of what is not in ``ingested`` yet."""
    return f"SELECT {COLUMNS} FROM ingested UNION ALL {tail}"  # noqa: S608 -- all of it is written here


def billing(tail: str) -> str:
    """Return the query of the view ``billing``; ``tail`` as for :func:`events`."""
    return rollups.billing("events", f"(FROM settling UNION ALL ({rollups.settling(f'({tail})')}))")


def sums(tail: str) -> dict[str, str]:
    """Return the queries of the views of sums and histograms, by their names; ``tail`` as for :func:`events`."""
    return {**rollups.views(rollups.recent(tail)), **histograms.views(histograms.of_tail(tail))}


def views(journal_dir: Path) -> str:
    """Return the statements that make the views; a comment says which definition they have, for :func:`version`."""
    made = "".join(f"CREATE OR REPLACE VIEW {name} AS {query};\n" for name, query in _definitions(journal_dir).items())
    return f"{made}COMMENT ON VIEW events IS {literal(version(journal_dir))};"


def version(journal_dir: Path) -> str:
    """Return the comment of ``events`` in a store whose views are up to date for a journal at this place."""
    definitions = "".join(_definitions(journal_dir).values())
    return f"All that is metered, journal included. {sha256(definitions.encode()).hexdigest()[:16]}"


def _definitions(journal_dir: Path) -> dict[str, str]:
    """Return the queries of the views by their names."""
    made = tail(journal_dir)
    return {"events": events(made), "billing": billing(made), **sums(made)}


def _pattern(journal_dir: Path) -> str:
    return literal(f"{_without_wildcards(journal_dir.absolute())}/{SEGMENTS}")


def _without_wildcards(path: Path) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(path))
