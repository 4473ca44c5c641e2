from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metrion import store
from metrion.cli import commands
from tests.store.events import Home, event


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("METRION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("METRION_CONFIG", raising=False)
    return Home(tmp_path / "home")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(commands, ["sql", *arguments], input=stdin)


def test_it_works_before_the_first_serve(home: Home) -> None:
    done = run("SELECT * FROM events", "--format", "json")
    assert (done.exit_code, done.stdout) == (0, "[]\n")
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.store_path.exists()


def test_the_contract_of_json(home: Home) -> None:
    home.initialise()
    home.record(event(tags={"team": "a"}, usage='{"prompt_tokens": 100}', cost_parts={"input": Decimal("0.5")}))
    query = (
        "SELECT event_id, started_at, sum(input_tokens) AS tokens, sum(cost_usd) AS cost, any_value(latency_ms) AS ms,"
        " any_value(tags) AS tags, any_value(cost_parts) AS parts, any_value(usage) AS usage FROM events GROUP BY ALL"
    )
    (row,) = json.loads(run(query, "--format", "json").stdout)
    assert len(row.pop("event_id")) == 36
    assert row == {
        "started_at": "2026-11-01T10:30:15.123456Z",
        "tokens": 100,
        "cost": "0.001234567890",
        "ms": None,
        "tags": {"team": "a"},
        "parts": {"input": "0.500000000000"},
        "usage": {"prompt_tokens": 100},
    }


@pytest.mark.parametrize("arguments", [["-"], []])
def test_a_query_may_come_from_standard_input(home: Home, arguments: list[str]) -> None:
    done = run(*arguments, "--format", "csv", stdin="SELECT 1 AS one,\n 'a,b' AS two;\n")
    assert (done.exit_code, done.exception) == (0, None)
    assert list(csv.reader(io.StringIO(done.stdout))) == [["one", "two"], ["1", "a,b"]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT modl FROM events", 'Referenced column "modl" not found'),
        ("DROP TABLE ingested", "only queries that read"),
        ("ATTACH 'x.duckdb'", "only queries that read"),
        ("COPY events TO 'x.csv'", "only queries that read"),
        ("INSTALL httpfs", "only queries that read"),
        ("LOAD httpfs", "only queries that read"),
        ("SELECT 1; SELECT 2", "one at a time"),
        ("", "the query is empty"),
    ],
)
def test_what_cannot_be_answered_fails_with_the_reason(home: Home, query: str, message: str) -> None:
    done = run(query)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_a_format_that_does_not_exist_is_bad_usage(home: Home) -> None:
    assert run("SELECT 1", "--format", "xml").exit_code == 2


def test_it_answers_while_an_ingester_is_at_work(home: Home) -> None:
    home.initialise()
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        store.wait_until_ready(process, 30)
        for number in range(1, 6):
            home.record(event())
            done = run("SELECT count(*) AS n FROM events", "--format", "json")
            assert json.loads(done.stdout) == [{"n": number}]
    assert process.wait(30) == 0


def test_any_shell_may_ask_the_file_itself_from_anywhere(home: Home) -> None:
    home.initialise()
    home.record(event(request_id="tail"))
    code = "import sys, duckdb; print(duckdb.connect(sys.argv[1]).execute('SELECT request_id FROM events').fetchall())"
    done = subprocess.run(
        [sys.executable, "-c", code, home.store_path], capture_output=True, text=True, check=True, cwd=os.sep
    )
    assert done.stdout.strip() == "[('tail',)]"
