"""What pages ask the store: one reader for all of them, with bounds on its memory and threads, and a short memory.

In: queries of our own, with parameters. Out: their rows. The store is open only while it is asked, so that the ingester
always gets its turn. What was asked a moment ago is not asked again while the store is as it was then.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from metrion.errors import StoreError
from metrion.store import database, query, schema

_MEMORY = "160MB"
_THREADS = 2
_KEPT = 64
_FRESH_SECONDS = 1.0
"""So long an answer is given again whatever happens to the store."""
_SAME_SECONDS = 60.0
"""So long an answer is given again while the store is the same."""

type Row = tuple[Any, ...]


class View:
    """The store while it is open: everything metered up to one moment."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the rows of a query; parameters that it does not name are left out."""
        given = {name: value for name, value in (parameters or {}).items() if f"${name}" in sql}
        return self._connection.execute(sql, given).fetchall()

    def dicts(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a query by the names of its columns."""
        rows = self.rows(sql, parameters)
        names = [name for name, *_ in self._connection.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]


class Reader:
    """See the module. Safe to use from several threads, which take turns."""

    def __init__(self, journal_dir: Path, store_path: Path) -> None:
        self._journal_dir = journal_dir
        self._store_path = store_path
        self._answers: OrderedDict[Hashable, tuple[float, object, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._whole: int | None = None
        """The file of the store that had its tables."""

    def ask[T](self, key: Hashable, question: Callable[[View], T]) -> T:
        """Return the answer to a question that ``key`` names.

        :raises StoreError: the store cannot be read, or the question needs too much memory.
        """
        state, now = self._state(), time.monotonic()
        with self._lock:
            kept = self._answers.get(key)
        if kept is not None:
            age = now - kept[0]
            if age < _FRESH_SECONDS or (kept[1] == state and age < _SAME_SECONDS):
                answer: T = kept[2]
                return answer
        with self._opened() as view:
            answer = question(view)
        with self._lock:
            self._answers[key] = (now, state, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
        return answer

    @contextmanager
    def _opened(self) -> Iterator[View]:
        if self._whole is None or self._whole != self._file():  # what is whole stays so
            database.initialise(self._journal_dir, self._store_path)
            self._whole = self._file()
        with database.opened(self._store_path) as connection:
            try:
                connection.execute(f"SET memory_limit = '{_MEMORY}'")
                connection.execute(f"SET threads = {_THREADS}")
                spill = self._store_path.with_name(".dashboard-spill")
                connection.execute(f"SET temp_directory = {schema.literal(str(spill))}")
                query.see_all(connection, self._journal_dir, sums_once=True, any_span=False)
                yield View(connection)
            except duckdb.Error as error:
                raise StoreError(database.explained(self._store_path, error)) from error

    def _file(self) -> int | None:
        with suppress(FileNotFoundError):
            return self._store_path.stat().st_ino
        return None

    def _state(self) -> object:
        files = []
        for path in (self._store_path, *self._journal_dir.glob(schema.SEGMENTS)):
            with suppress(FileNotFoundError):
                stat = path.stat()
                files.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(sorted(files))
