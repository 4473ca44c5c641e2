"""Queries that would take for ever, or all memory, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metrion.cli import bounded, sql_process
from tests.cli.console import SCRIPT, Console
from tests.processes import eventually

WITH_PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Prints a command's highest memory in kB. A process of its own, since a fork starts with its parent's: pytest's."""

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b"


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS,
        "WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
        "SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))",  # heeds no interrupt
        "SELECT string_agg(range::VARCHAR, ',') FROM range(1000000000000)",
        "SELECT DISTINCT hash(a.range) % 7 FROM range(10000000) a, range(10000000) b ORDER BY 1",
    ],
)
def test_a_query_without_end_is_ended(metrion: Console, query: str) -> None:
    started = time.monotonic()
    done = metrion("sql", "--timeout", "1", query)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("Error: the query was ended after 1 s.")
    assert "--timeout" in done.err
    assert time.monotonic() - started < 20  # starting takes a while where the machine is busy
    assert not list(metrion.home.glob(".sql-*"))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT list(range) FROM range(1000000000)",
        "SELECT range(1000000000)",
        "SELECT list_sort(range(100000000))",
        "SELECT md5(repeat('abcdefgh', 400000000))",
        "SELECT range(30000000)",  # fits into DuckDB's memory, and not into Python's
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_query_that_takes_all_memory_is_ended(metrion: Console, query: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_PEAK, SCRIPT, "sql", "--memory", "300MB", "--format", "csv", query],
        capture_output=True,
        text=True,
        env=metrion.environment(),
        check=False,
    )
    assert done.returncode == 1
    assert "needs more than 300 MB of memory" in done.stderr
    assert "--memory" in done.stderr
    assert int(done.stdout) < 1_000_000, "kB at the peak"
    assert not list(metrion.home.glob(".sql-*"))


def test_what_is_bounded_by_default() -> None:
    assert 0 < bounded.usual_memory() <= 1 << 30
    assert bounded._OVER_LIMIT == sql_process.OVER_LIMIT


@pytest.mark.parametrize("size", ["1", "10MB", "a lot", "-1GB", "1GB; DROP"])
def test_an_amount_of_memory_that_is_none_is_bad_usage(metrion: Console, size: str) -> None:
    done = metrion("sql", "--memory", size, "SELECT 1")
    assert (done.status, done.out) == (2, "")


@pytest.mark.parametrize("size", ["500MB", "1.5GiB", "4g"])
def test_amounts_of_memory(metrion: Console, size: str) -> None:
    assert metrion.ok("sql", "--memory", size, "--timeout", "0", "--format", "csv", "SELECT 1 AS x") == "x\r\n1\r\n"


@contextmanager
def running(metrion: Console, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [SCRIPT, "sql", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=metrion.environment(),
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def is_at_work(metrion: Console) -> bool:
    return bool(list(metrion.home.glob(".sql-*")))


def test_ctrl_c_ends_it_at_once_with_a_sentence(metrion: Console) -> None:
    with running(metrion, ENDLESS) as process:
        eventually(lambda: is_at_work(metrion))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (1, b"", b"Error: the query was ended by Ctrl-C\n")
    assert not is_at_work(metrion)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_query_ends_with_its_command(metrion: Console, signum: signal.Signals) -> None:
    with running(metrion, ENDLESS) as process:
        eventually(lambda: is_at_work(metrion))
        process.send_signal(signum)
        process.wait(10)
        eventually(lambda: not is_at_work(metrion))


@pytest.mark.parametrize("format_", ["csv", "json", "markdown"])
def test_rows_are_printed_as_they_are_fetched(metrion: Console, format_: str) -> None:
    with running(metrion, "--format", format_, "--timeout", "0", "SELECT * FROM range(1000000000000)") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5000)]
        assert b"4000" in b"".join(lines)
        process.stdout.close()  # as `head` does
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert not is_at_work(metrion)


def test_pieces_are_the_same_as_the_whole(metrion: Console) -> None:
    query = "SELECT range AS n, 'a,\n' || range AS t, {'x': [range]} AS s FROM range(2500)"
    rows = list(csv.reader(io.StringIO(metrion.ok("sql", "--format", "csv", query), newline="")))
    assert rows[0] == ["n", "t", "s"]
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(2500)]
    assert rows[2500] == ["2499", "a,\n2499", '{"x": [2499]}']
    parsed = json.loads(metrion.ok("sql", "--format", "json", query))
    assert [row["n"] for row in parsed] == list(range(2500))
    markdown = metrion.ok("sql", "--format", "markdown", query).splitlines()
    assert len(markdown) == 2502
    assert all(line.startswith("|") and line.endswith("|") for line in markdown)
    assert len(metrion.ok("sql", query).splitlines()) == 2502


@pytest.mark.parametrize("format_", ["table", "csv", "json", "markdown"])
def test_an_answer_without_rows_has_its_columns(metrion: Console, format_: str) -> None:
    out = metrion.ok("sql", "--format", format_, "SELECT 1 AS one WHERE false")
    assert out == "[]\n" if format_ == "json" else "one" in out


def test_a_large_sort_spills_to_a_private_folder_that_is_gone_afterwards(metrion: Console) -> None:
    query = "SELECT max(h) AS m FROM (SELECT hash(range) AS h, repeat('x', 50) FROM range(6000000) ORDER BY h OFFSET 1)"
    with running(metrion, "--memory", "400MB", query) as process:
        eventually(lambda: is_at_work(metrion) or process.poll() is not None)
        for folder in metrion.home.glob(".sql-*"):
            assert folder.stat().st_mode & 0o777 == 0o700
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert not is_at_work(metrion)


def test_what_spills_is_bounded_too(metrion: Console) -> None:
    query = "SELECT max(h) FROM (SELECT hash(range) AS h, repeat('x', 500) FROM range(100000000) ORDER BY h OFFSET 1)"
    home, work = metrion.home, "from metrion.cli import sql_process as p; p._SPILL_FACTOR = 0.01; p.main()"
    job = {"journal_dir": f"{home}/journal", "store_path": f"{home}/usage.duckdb", "format": "csv", "query": query}
    limits = {"memory_bytes": 200_000_000, "spill": f"{home}/.sql-1"}
    with subprocess.Popen([sys.executable, "-c", work, "1"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job | limits).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(50) == sql_process.OVER_LIMIT
        assert process.stderr is not None
        assert b"max_temp_directory_size" in process.stderr.read()


def test_an_abandoned_folder_is_deleted_by_the_next_query(metrion: Console) -> None:
    metrion.ok("sql", "SELECT 1")
    (metrion.home / ".sql-1abc").mkdir()
    (metrion.home / ".sql-1abc" / "piece").write_bytes(b"x")
    old = time.time() - 3600
    os.utime(metrion.home / ".sql-1abc", (old, old))
    metrion.ok("sql", "SELECT 1")
    assert not is_at_work(metrion)


def test_a_file_beside_the_caller_is_not_taken_for_duckdb(metrion: Console, tmp_path: Path) -> None:
    (tmp_path / "duckdb.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(
        [SCRIPT, "sql", "--format", "csv", "SELECT 1 AS x"],
        cwd=tmp_path,
        env=metrion.environment(),
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"x\r\n1\r\n"
