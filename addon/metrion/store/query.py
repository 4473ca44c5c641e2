"""Read-only SQL over everything metered so far.

In: one query as a person typed it. Out: a :class:`Table`. A query never changes anything, neither the store nor any
file: the file is opened read-only, what the journal holds is copied into memory first, then the database is shut off
from files and network, and the query runs in a read-only transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from metrion.errors import StoreError
from metrion.store import database, schema

_READING = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})
"""To DuckDB, DESCRIBE, SHOW, SUMMARIZE, VALUES and FROM … are all of type SELECT."""

_READING_PRAGMA = re.compile(
    r"\s*PRAGMA\s+(table_info|show_tables|show_tables_expanded|database_list|database_size|storage_info|version)\b",
    re.IGNORECASE,
)
"""Of type SELECT to DuckDB 1.5, of type PRAGMA, as what changes settings is, to DuckDB 2."""


class Json(str):
    """A value of type JSON, as its text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """An answer. ``types`` are DuckDB's names, such as ``DECIMAL(18,12)``.

    Values are Python's own (:class:`~decimal.Decimal`, naive UTC ``datetime``, ``UUID``, ``dict`` for MAP and STRUCT,
    ``list``), :class:`Json` for JSON at any depth and ``None`` for NULL.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def ask(journal_dir: Path, store_path: Path, query: str, parameters: Mapping[str, Any] | None = None) -> Table:
    """See :func:`metrion.store.ask`."""
    _gate(query)
    database.initialise(journal_dir, store_path)
    with database.opened(store_path) as connection:
        try:
            _shut(connection, journal_dir)
            return _answer(connection, query, dict(parameters or {}))
        except duckdb.Error as error:
            raise StoreError(str(error)) from error


def _gate(query: str) -> None:
    """Refuse what is not exactly one statement that reads."""
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise StoreError(str(error)) from error
    if not statements:
        raise StoreError("the query is empty; try: SELECT * FROM events ORDER BY started_at DESC LIMIT 10")
    for statement in statements:
        if statement.type not in _READING and not _READING_PRAGMA.match(statement.query):
            raise StoreError(
                f"this is a statement of type {statement.type.name}; only queries that read are answered here "
                "(SELECT, WITH, FROM, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE)"
            )
    if len(statements) > 1:
        raise StoreError(f"these are {len(statements)} statements; ask one at a time")


def _shut(connection: duckdb.DuckDBPyConnection, journal_dir: Path) -> None:
    """Make the views over copies in memory, then let nothing in or out any more."""
    connection.execute("SET TimeZone = 'UTC'")  # so that started_at compares with now()
    connection.execute(f"CREATE TEMP TABLE journal_tail AS {schema.tail(journal_dir)}")
    connection.execute(f"CREATE TEMP VIEW events AS {schema.events('FROM journal_tail')}")
    connection.execute(f"CREATE TEMP VIEW billing AS {schema.billing()}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute("BEGIN TRANSACTION READ ONLY")


def _answer(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> Table:
    answer = connection.execute(query, parameters)
    columns = [name for name, *_ in answer.description]
    if any("TIME ZONE" in str(kind) for _, kind, *_ in answer.description):
        # Python's DuckDB needs pytz for these; in UTC they say the same without.
        names = [f"c{number}" for number in range(len(columns))]
        picked = [_without_zone(name, str(kind)) for name, (_, kind, *_) in zip(names, answer.description, strict=True)]
        inner = query.strip().rstrip(";")
        answer = connection.execute(
            f"SELECT {', '.join(picked)} FROM (\n{inner}\n) AS answer({', '.join(names)})",  # noqa: S608 -- gated
            parameters,
        )
    kinds = [kind for _, kind, *_ in answer.description]
    rows = answer.fetchall()
    nested = [number for number, kind in enumerate(kinds) if "JSON" in str(kind)]
    if nested:
        rows = [_with_json(row, kinds, nested) for row in rows]
    return Table(tuple(columns), tuple(map(str, kinds)), rows)


def _without_zone(name: str, kind: str) -> str:
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {name})"
    return f"CAST({name} AS VARCHAR)" if "TIME ZONE" in kind else name


def _with_json(row: tuple[Any, ...], kinds: list[Any], nested: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for number in nested:
        values[number] = _marked(values[number], kinds[number])
    return tuple(values)


def _marked(value: Any, kind: Any) -> Any:
    """Return the value with every JSON text in it made a :class:`Json`."""
    if value is None or "JSON" not in str(kind):
        return value
    if str(kind) == "JSON":
        return Json(value)
    children = dict(kind.children)
    match kind.id:
        case "list" | "array":
            return [_marked(item, children["child"]) for item in value]
        case "map":
            return {_marked(key, children["key"]): _marked(item, children["value"]) for key, item in value.items()}
        case "struct":
            return {name: _marked(item, children[name]) for name, item in value.items()}
        case _:
            return value
