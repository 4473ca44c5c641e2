"""Answers as Parquet: their types are kept, and the query that is asked can do no more than any other."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from metrion.errors import StoreError
from metrion.store import query as queries
from tests.store.events import STARTED, Home, event


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.initialise()
    (home.path / "secret").write_text("sk-secret")
    home.record(event(tags={"team": "search"}))
    home.ingest()
    home.record(event(cost_usd=None, cost_source="unknown"))
    return home


def written(home: Home, query: str, read: str = "*") -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the types and the rows of the file; ``read``: what is read of it."""
    path = home.path / "spill" / "answer.parquet"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    limits = queries.Limits(250 << 20, path.parent, 250 << 20)
    queries.write_parquet(home.journal_dir, home.store_path, query, limits, path)
    with duckdb.connect() as other:
        found = other.read_parquet(str(path))
        return [str(kind) for kind in found.types], found.project(read).fetchall()


def test_an_answer_keeps_its_types(home: Home) -> None:
    types, rows = written(
        home, "SELECT started_at, cost_usd, tags, input_tokens FROM events ORDER BY cost_usd NULLS LAST; -- all of them"
    )
    assert types == ["TIMESTAMP", "DECIMAL(18,12)", "MAP(VARCHAR, VARCHAR)", "BIGINT"]
    assert rows == [
        (STARTED, Decimal("0.001234567890"), {"team": "search"}, 100),
        (STARTED, None, None, 100),
    ]


def test_a_moment_keeps_its_zone(home: Home) -> None:
    query = "SELECT TIMESTAMPTZ '2026-11-01 10:00:00+01' AS moment"
    assert written(home, query, "moment::VARCHAR LIKE '2026-11-01 %'") == (["TIMESTAMP WITH TIME ZONE"], [(True,)])


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("DESCRIBE events", None),
        ("SUMMARIZE events", None),
        ("FROM events", 2),
        ("SELECT 1 AS x, 2 AS x", 1),
        ("SELECT 1 WHERE false", 0),
        ("PIVOT events ON provider IN ('openai') USING count(*)", None),
        ("WITH a AS (SELECT 1) FROM a -- ;", 1),
    ],
)
def test_whatever_reads_can_be_taken_away(home: Home, query: str, rows: int | None) -> None:
    found = written(home, query)[1]
    assert len(found) > 0 if rows is None else len(found) == rows


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM read_text('{home}/secret')", "disabled"),
        ("SELECT * FROM read_text('{home}/spill/../secret')", "disabled"),
        ("SELECT * FROM read_csv('https://example.com/x.csv')", "disabled|httpfs"),
        ("COPY (SELECT 1) TO '{home}/copy.csv'", "type COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{home}/copy.csv'", "disabled|syntax"),
        ("SELECT 1)) TO '{home}/copy.csv'; --", "syntax"),
        ("SELECT 1 /* ", "unterminated"),
        ("SELECT 1; SELECT 2", "one at a time"),
        ("DELETE FROM ingested", "type DELETE"),
        ("SET enable_external_access = true", "type SET"),
        ("PIVOT events ON provider", "name the columns"),
        ("", "empty"),
    ],
)
def test_the_gate_holds(home: Home, query: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        written(home, query.format(home=home.path))
    assert not (home.path / "copy.csv").exists()
    assert home.values("SELECT count(*) FROM ingested") == [(1,)]
