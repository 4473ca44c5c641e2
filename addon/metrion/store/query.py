"""Read-only SQL over everything metered so far.

In: one query as a person typed it. Out: a :class:`Table`, or the rows one batch after the other. A query never changes
anything, neither the store nor any file: the file is opened read-only, what the journal holds is copied into memory
first, then the database is shut off from files and network, and the query runs in a read-only transaction.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from metrion.errors import OverLimitError, StoreError
from metrion.store import database, histograms, rollups, schema

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


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is still being computed; columns and values as in :class:`Table`."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    batches: Iterator[list[tuple[Any, ...]]]
    """The rows, at most :data:`BATCH_ROWS` at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What DuckDB may use for a query."""

    memory_bytes: int
    spill: Path
    """A folder for what does not fit into memory."""
    spill_bytes: int


_OF_SUMS = re.compile(r"sums|times", re.IGNORECASE)
"""What a query names that asks for sums: the tail's are then made once, and not for each time that it names them."""

_OF_SPANS = re.compile(r"_between", re.IGNORECASE)
"""What a query names that asks for the sums between two moments: it takes a while to make what gives them."""

BATCH_ROWS = 1000
_OWN_MEMORY = 250 << 20


def ask(journal_dir: Path, store_path: Path, query: str, parameters: Mapping[str, Any] | None = None) -> Table:
    """See :func:`metrion.store.ask`."""
    with _asked(journal_dir, store_path, query, parameters) as answer:
        return Table(answer.columns, answer.types, [row for batch in answer.batches for row in batch])


def _own_limits(store_path: Path) -> Limits:
    """Return what Metrion's own questions may use: they are made to need little."""
    return Limits(_OWN_MEMORY, store_path.with_name(".spill"), shutil.disk_usage(store_path.parent).free // 4)


@contextmanager
def answering(journal_dir: Path, store_path: Path, query: str, limits: Limits) -> Iterator[Answer]:
    """Answer a query as :func:`metrion.store.ask` does, while its rows are fetched; the writer stays away meanwhile.

    :raises StoreError: as there; or it needs more than the limits.
    """
    with _asked(journal_dir, store_path, query, limits=limits) as answer:
        yield answer


def write_parquet(journal_dir: Path, store_path: Path, query: str, limits: Limits, path: Path) -> None:
    """Write the answer to a query into the new file ``path``, as Parquet, with DuckDB's own types.

    The query passes the same gate, and is shut off as for :func:`answering`: ``path`` is all that can be opened.

    :raises StoreError: as there; or the file is larger than this process may write.
    """
    with _gated(journal_dir, store_path, query, limits, reachable=path) as (connection, statements):
        if len(statements) > 1:
            raise StoreError(
                "name the columns of the PIVOT, as in ON model IN ('gpt-5'), to have its answer as Parquet"
            )
        inner, _ = _split(query)
        target = f"{schema.literal(str(path))} (FORMAT parquet, USE_TMP_FILE false)"
        try:
            connection.execute(f"COPY (SELECT * FROM (\n{inner}\n)) TO {target}")  # noqa: S608 -- gated
        except duckdb.IOException as error:
            if os.strerror(errno.EFBIG) in str(error):
                raise OverLimitError(str(error)) from error
            raise


@contextmanager
def _asked(
    journal_dir: Path,
    store_path: Path,
    query: str,
    parameters: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> Iterator[Answer]:
    with _gated(journal_dir, store_path, query, limits) as (connection, statements):
        yield _answer(connection, query, statements, dict(parameters or {}))


@contextmanager
def _gated(
    journal_dir: Path, store_path: Path, query: str, limits: Limits | None, reachable: Path | None = None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[duckdb.Statement]]]:
    """Open the store for a query that reads; ``reachable`` is the one file that stays open to it."""
    statements = _gate(query)
    database.initialise(journal_dir, store_path)
    with database.opened(store_path) as connection:
        try:
            _limit(connection, limits or _own_limits(store_path))
            if reachable:
                connection.execute(f"SET allowed_paths = [{schema.literal(str(reachable))}]")
            _shut(connection, journal_dir, query)
            yield connection, statements
        except duckdb.OutOfMemoryException as error:
            raise OverLimitError(str(error)) from error
        except duckdb.Error as error:
            raise StoreError(database.explained(store_path, error)) from error


def _gate(query: str) -> list[duckdb.Statement]:
    """Refuse what is not exactly one statement that reads; return what DuckDB makes of it.

    A PIVOT whose columns are not listed becomes several statements: the first make the list, as a temporary type.
    """
    first, has_more = _split(query)
    try:
        statements = duckdb.extract_statements(query if has_more else first)
    except duckdb.Error as error:
        raise StoreError(str(error)) from error
    if not statements:
        raise StoreError("the query is empty; try: SELECT * FROM events ORDER BY started_at DESC LIMIT 10")
    if not has_more and _is_pivot(statements):
        return _without_transaction(statements)
    for statement in statements:
        if statement.type not in _READING and not _READING_PRAGMA.match(statement.query) and statement.query:
            raise _refusal(statement)
    if has_more:
        raise StoreError("these are several statements; ask one at a time")
    if len(statements) > 1:
        raise _refusal(_without_transaction(statements)[-1])
    return statements


def _refusal(statement: duckdb.Statement) -> StoreError:
    return StoreError(
        f"this is a statement of type {statement.type.name}; only queries that read are answered here "
        "(SELECT, WITH, FROM, PIVOT, UNPIVOT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE)"
    )


def _is_pivot(statements: list[duckdb.Statement]) -> bool:
    """Whether one statement that reads became several. DuckDB gives no text with these, unlike with what was typed."""
    if len(statements) == 1 or any(each.query for each in statements):
        return False
    *before, last = _without_transaction(statements)
    return last.type in _READING and all(each.type == duckdb.StatementType.CREATE for each in before)


def _without_transaction(statements: list[duckdb.Statement]) -> list[duckdb.Statement]:
    return [each for each in statements if each.type != duckdb.StatementType.TRANSACTION]


def _split(query: str) -> tuple[str, bool]:
    """Return the first statement, without the semicolon at its end, and whether there is another one."""
    text = query.encode()
    tokens = [(at, text[at : at + 1]) for at, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    ends = [at for at, first in tokens if first == b";"]
    if not ends:
        return query, False
    return text[: ends[0]].decode(), any(at > ends[0] and first != b";" for at, first in tokens)


def _limit(connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
    connection.execute(f"SET memory_limit = '{limits.memory_bytes}B'")
    connection.execute(f"SET temp_directory = {schema.literal(str(limits.spill))}")
    connection.execute(f"SET max_temp_directory_size = '{limits.spill_bytes}B'")


def _shut(connection: duckdb.DuckDBPyConnection, journal_dir: Path, query: str) -> None:
    """Make the views over copies in memory, then let nothing in or out any more."""
    see_all(connection, journal_dir, sums_once=bool(_OF_SUMS.search(query)), any_span=bool(_OF_SPANS.search(query)))
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute("BEGIN TRANSACTION READ ONLY")


def see_all(
    connection: duckdb.DuckDBPyConnection, journal_dir: Path, *, sums_once: bool = False, any_span: bool = True
) -> None:
    """Make the views, with a copy of what is in the journal.

    ``sums_once``: and of its sums, for many questions. ``any_span``: and what gives the sums between two moments.
    """
    connection.execute("SET TimeZone = 'UTC'")  # so that started_at compares with now()
    connection.execute(f"CREATE TEMP TABLE journal_tail AS {schema.tail(journal_dir)}")
    tail = "FROM journal_tail"
    views = {"events": schema.events(tail), "billing": schema.billing(tail)}
    if sums_once:
        told = rollups.settling("journal_tail")
        settles = connection.execute(f"SELECT 1 FROM ({told}) LIMIT 1").fetchone() is not None  # noqa: S608 -- all of it is written here
        connection.execute(f"CREATE TEMP TABLE tail_sums AS {rollups.recent(tail, settles=settles)}")
        connection.execute(f"CREATE TEMP TABLE tail_times AS {histograms.of_tail(tail)}")
        views |= rollups.views("FROM tail_sums") | histograms.views("FROM tail_times")
    else:
        views |= schema.sums(tail)
    connection.execute("".join(f"CREATE TEMP VIEW {name} AS {query};\n" for name, query in views.items()))
    connection.execute(rollups.MACROS + histograms.MACROS)
    if any_span:
        connection.execute(rollups.SPAN_MACROS + histograms.SPAN_MACROS)


def _answer(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    statements: list[duckdb.Statement],
    parameters: dict[str, Any],
) -> Answer:
    *before, last = statements
    for statement in before:
        connection.execute(statement)
    answer = connection.execute(last, parameters)
    columns = [name for name, *_ in answer.description]
    if any("TIME ZONE" in str(kind) for _, kind, *_ in answer.description):
        # Python's DuckDB needs pytz for these; in UTC they say the same without.
        names = [f"c{number}" for number in range(len(columns))]
        picked = [_without_zone(name, str(kind)) for name, (_, kind, *_) in zip(names, answer.description, strict=True)]
        inner, _ = _split(query)
        answer = connection.execute(
            f"SELECT {', '.join(picked)} FROM (\n{inner}\n) AS answer({', '.join(names)})",  # noqa: S608 -- gated
            parameters,
        )
    kinds = [kind for _, kind, *_ in answer.description]
    return Answer(tuple(columns), tuple(map(str, kinds)), _batches(answer, kinds))


def _batches(answer: duckdb.DuckDBPyConnection, kinds: list[Any]) -> Iterator[list[tuple[Any, ...]]]:
    nested = [number for number, kind in enumerate(kinds) if "JSON" in str(kind)]
    while rows := answer.fetchmany(BATCH_ROWS):
        yield [_with_json(row, kinds, nested) for row in rows] if nested else rows


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
