# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.errors import StoreError
from metrion.store.query import Json
from tests.store.events import Home, event


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_first_question_makes_an_empty_store(home: Home) -> None:
    answer = home.ask("SELECT model, cost_usd FROM events")
    assert (answer.columns, answer.types, answer.rows) == (("model", "cost_usd"), ("VARCHAR", "DECIMAL(18,12)"), [])


def test_everything_is_seen_at_once(home: Home) -> None:
    home.initialise()
    for number in range(1, 4):
        home.record(event())
        assert home.values("SELECT count(*), sum(input_tokens) FROM events") == [(number, number * 100)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS x",
        "select 1 as x;",
        "-- a comment\nSELECT 1 AS x -- another",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "FROM (SELECT 1 AS x)",
        "VALUES (1)",
        "TABLE events",
        "EXPLAIN SELECT * FROM events",
        "EXPLAIN ANALYZE SELECT * FROM events",
        "DESCRIBE events",
        "DESCRIBE SELECT 1",
        "SHOW TABLES",
        "SUMMARIZE events",
        "PRAGMA table_info('events')",
        "PIVOT events ON provider IN ('openai') USING count(*)",
        "PIVOT events ON provider USING count(*)",
        "PIVOT events ON provider USING sum(cost_usd) GROUP BY model ORDER BY ALL; -- the end",
        "PIVOT events ON provider USING max(now());;",
        "FROM (PIVOT events ON provider USING count(*))",
        "WITH x AS (FROM events) PIVOT x ON provider USING count(*)",
        "SELECT * FROM (PIVOT events ON provider) a, (PIVOT events ON model) b",
        "PIVOT (SELECT ';' AS a, 1 AS b) ON a USING sum(b)",
        "EXPLAIN PIVOT events ON provider USING count(*)",
        "EXPLAIN ANALYZE PIVOT events ON provider USING count(*)",
        "DESCRIBE PIVOT events ON provider USING count(*)",
        "SUMMARIZE PIVOT events ON provider USING count(*)",
        "UNPIVOT (SELECT input_tokens, output_tokens FROM events) ON COLUMNS(*) INTO NAME name VALUE n",
        "(SELECT 1)",
        "FROM events",
        "SHOW ALL TABLES",
    ],
)
def test_what_reads_is_answered(home: Home, query: str) -> None:
    home.initialise()
    home.record(event(provider="xai"))
    home.ingest()
    home.record(event())
    assert home.ask(query).columns


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty"),
        ("-- nothing", "empty"),
        ("SELECT 1; SELECT 2", "one at a time"),
        ("SELECT 1; DROP TABLE ingested", "type DROP"),
        ("SELEKT 1", "syntax error"),
        ("SELECT nothing FROM events", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("INSERT INTO ingested SELECT * FROM events", "type INSERT"),
        ("UPDATE ingested SET account = 'x'", "type UPDATE"),
        ("DELETE FROM ingested", "type DELETE"),
        ("CREATE TABLE t (x INT)", "type CREATE"),
        ("CREATE TEMP TABLE t (x INT)", "type CREATE"),
        ("ALTER TABLE ingested ADD COLUMN x INT", "type ALTER"),
        ("ATTACH '{home}/other.duckdb'", "type ATTACH"),
        ("COPY events TO '{home}/copy.csv'", "type COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{home}/copy.csv'", "disabled"),
        ("EXPORT DATABASE '{home}/export'", "type EXPORT"),
        ("INSTALL httpfs", "type LOAD"),
        ("LOAD httpfs", "type LOAD"),
        ("SET threads = 1", "type SET"),
        ("PRAGMA enable_profiling", "type PRAGMA"),
        ("CHECKPOINT", "type CALL"),
        ("EXPLAIN ANALYZE DELETE FROM ingested", "read-only"),
        ("WITH gone AS (DELETE FROM ingested RETURNING *) SELECT * FROM gone", "CTE|read-only"),
        ("PIVOT events ON provider; SELECT 1", "one at a time"),
        ("PIVOT events ON provider; PIVOT events ON model", "one at a time"),
        ("CREATE TABLE t AS FROM (PIVOT events ON provider)", "type CREATE"),
        ("CREATE TEMP TABLE t AS FROM (PIVOT events ON provider); PIVOT events ON model", "one at a time|type CREATE"),
        ("INSERT INTO ingested FROM (PIVOT events ON provider)", "type INSERT"),
        ("DELETE FROM ingested USING (PIVOT events ON provider)", "type DELETE"),
        ("COPY (PIVOT events ON provider) TO '{home}/copy.csv'", "type COPY"),
        ("EXPLAIN ANALYZE COPY (PIVOT events ON provider) TO '{home}/copy.csv'", "disabled"),
        ("EXPLAIN ANALYZE CREATE TABLE t AS FROM (PIVOT events ON provider)", "read-only"),
        ("CREATE TYPE t AS ENUM (SELECT provider FROM events)", "type CREATE"),
        ("BEGIN; PIVOT events ON provider", "type TRANSACTION"),
        ("PIVOT '{home}/secret.csv' ON sk", "disabled"),
        ("PIVOT read_text('{home}/secret') ON size", "disabled"),
        ("SELECT * FROM read_text('{home}/secret')", "disabled"),
        ("SELECT * FROM read_csv('https://example.com/x.csv')", "disabled|httpfs"),
        ("SELECT * FROM '{home}/secret.csv'", "disabled"),
    ],
)
def test_what_does_more_than_read_fails_and_changes_nothing(home: Home, query: str, message: str) -> None:
    home.initialise()
    (home.path / "secret").write_text("sk-secret")
    (home.path / "secret.csv").write_text("sk,secret")
    home.record(event())
    home.ingest()
    before = {path for path in home.path.rglob("*") if "lock" not in path.name and "turnstile" not in path.name}
    with pytest.raises(StoreError, match=message):
        home.ask(query.format(home=home.path))
    after = {path for path in home.path.rglob("*") if "lock" not in path.name and "turnstile" not in path.name}
    assert after == before
    assert home.values("SELECT count(*) FROM ingested") == [(1,)]


def test_a_wrong_query_gets_the_message_of_the_database(home: Home) -> None:
    with pytest.raises(StoreError, match=r"Binder Error: Referenced column \"modl\" not found[^$]*\"model\""):
        home.ask("SELECT modl FROM events")


def test_parameters_fill_their_places(home: Home) -> None:
    home.initialise()
    home.record(event(provider="xai"), event(provider="google"))
    assert home.ask("SELECT provider FROM events WHERE provider = $p", p="xai").rows == [("xai",)]


def test_times_are_utc_and_compare_with_now(home: Home) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    home.initialise()
    home.record(event(started_at=now - timedelta(minutes=30)), event(started_at=now - timedelta(hours=2)))
    assert home.values("SELECT count(*) FROM events WHERE started_at > now() - INTERVAL 1 HOUR") == [(1,)]


@pytest.mark.parametrize("end", [" -- end", ";", "; -- end", " -- one; two\n;\n-- three;", " /* ; */ ; ;"])
def test_times_with_a_zone_come_without_one(home: Home, end: str) -> None:
    query = (
        "SELECT '2026-11-01 10:00:00+02'::TIMESTAMPTZ AS t, ['2026-11-01 10:00:00+02'::TIMESTAMPTZ] AS ts,"
        " 1 AS t ORDER BY 1"
    )
    answer = home.ask(query + end)
    assert answer.columns == ("t", "ts", "t")
    assert answer.rows == [(datetime(2026, 11, 1, 8), "['2026-11-01 08:00:00+00']", 1)]


def test_json_is_known_as_such_at_any_depth(home: Home) -> None:
    ((top, in_list, in_map, in_struct, null, text),) = home.values(
        "SELECT '{\"a\": 1}'::JSON, ['1'::JSON], MAP {'k': '2'::JSON}, {'f': ['3'::JSON, NULL]}, NULL::JSON, '4'"
    )
    assert isinstance(top, Json)
    assert isinstance(in_list[0], Json)
    assert isinstance(in_map["k"], Json)
    assert isinstance(in_struct["f"][0], Json)
    assert null is None
    assert not isinstance(text, Json)


def test_threads_of_one_process_may_ask_at_the_same_time(home: Home) -> None:
    home.initialise()
    home.record(event(cost_usd=Decimal(1)))
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(home.values("SELECT sum(cost_usd) FROM events")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[(Decimal(1),)]] * 6
