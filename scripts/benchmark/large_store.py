"""Measure what a store of many random events costs: to make its sums, to ask for pages and reports, to add a batch.

Makes a home of its own, by default of ten million events of 300 users, 50 tokens and 12 models at random, which is the
worst that sums can be made of; that takes minutes and two gigabytes of disk. Prints a table, or JSON with --json. CPU
seconds do not depend on what else the machine does, and memory does not either: these are what --check holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import duckdb
from tabulate import tabulate

from metrion import reports, store
from metrion.store import rolling, schema
from scripts.benchmark.results import Result

PAGES = ("/", "/?range=24h", "/?range=90d", "/?provider=openai", "/?user=user-17", "/requests", "/latency", "/errors",
         "/cache", "/limits")  # fmt: skip
MOST_MEGABYTES = 400
MOST_REPORT_CPU = 4.0
"""Seconds of all cores: two of them take half as long."""
MOST_PAGE_CPU = 2.0
_ROWS = """
SELECT (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || lpad(hex(i % 4096), 3, '0') || '-8000-'
    || lpad(hex(i), 12, '0'))::UUID AS event_id, * EXCLUDE (ms, i, fate, sent, written, cached)
FROM (
    SELECT *, lpad(hex(epoch_ms(started_at)), 12, '0') AS ms, 'request-' || i AS request_id, 1 AS attempt,
        'token-' || token AS token_name, 'account-' || token % 5 AS account, 'user-' || who AS user_label,
        ['anthropic', 'openai', 'google', 'mistral', 'xai'][1 + kind % 5] AS provider, 'chat' AS operation,
        'POST' AS method, '/v1/chat/completions' AS path, 'model-' || kind AS model_requested,
        if(fate > 0.96, NULL, 'model-' || kind) AS model, 'made-' || i AS generation_id,
        CASE WHEN fate > 0.98 THEN 429 WHEN fate > 0.96 THEN 529 ELSE 200 END AS status, 'complete' AS end_reason,
        if(fate > 0.96, 'overloaded_error', NULL) AS error_type, if(fate > 0.96, NULL, sent) AS input_tokens,
        if(fate > 0.96, NULL, cached) AS cache_read_tokens, if(fate > 0.96, NULL, written) AS output_tokens,
        if(fate > 0.96, 'none', 'reported') AS usage_source,
        CASE WHEN fate > 0.96 THEN 'not_billed' WHEN fate < 0.02 THEN 'unpriced' ELSE 'computed' END AS cost_source,
        CASE WHEN fate > 0.96 THEN 0 WHEN fate >= 0.02 THEN ((sent - cached) * 3 + cached * 0.3 + written * 15) / 1e6
            END::DECIMAL(18, 12) AS cost_usd,
        if(fate BETWEEN 0.02 AND 0.96, MAP {
            'input': ((sent - cached) * 3 / 1e6)::DECIMAL(18, 12), 'cache_read': (cached * 0.3 / 1e6)::DECIMAL(18, 12),
            'output': (written * 15 / 1e6)::DECIMAL(18, 12)}, NULL) AS cost_parts,
        ms_taken AS latency_ms, ms_taken * 0.3 AS first_byte_ms, 0.1 + fate AS overhead_ms,
        MAP {'team': 'team-' || who % 7} AS tags
    FROM (SELECT *, (sent * share / 4)::BIGINT AS cached FROM (
        SELECT i, $began::TIMESTAMP + to_microseconds((i * $microseconds / $events)::BIGINT) AS started_at,
            floor(random() * 50)::INTEGER AS token, floor(random() * 12)::INTEGER AS kind,
            floor(random() * $users)::INTEGER AS who, random() AS fate,
            exp(5 + 6 * random())::BIGINT AS sent, exp(3 + 6 * random())::BIGINT AS written,
            exp(5 + 5 * random()) AS ms_taken, floor(random() * 3) AS share
        FROM range($first, $last) AS numbers(i)
    ))
)"""
_STEP = 500_000
_DAYS = 90
_MAKES_SUMS = """
import sys
from pathlib import Path
from metrion import store
home = Path(sys.argv[1])
store.initialise(home / "journal", home / "usage.duckdb")
"""
_ASKS = """
import json, re, resource, sys, time
from pathlib import Path
from starlette.testclient import TestClient
from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.web import create_app
settings = Settings(home=Path(sys.argv[1]))
client = TestClient(create_app(settings, lambda *_: iter(())), base_url="http://127.0.0.1:8090")
csrf = re.search(r'name="csrf" value="([^"]+)"', client.get("/login").text)[1]
client.post("/login", data={"csrf": csrf, "token": ControlStore.open(settings).create_admin().secret},
            follow_redirects=False)
for page in sys.argv[2:]:
    began, cpu = time.perf_counter(), time.process_time()
    answer = client.get(page)
    assert answer.status_code == 200, answer.text
    print(json.dumps([page, time.perf_counter() - began, time.process_time() - cpu]))
print(json.dumps(["", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0]))
"""


def make(home: Path, events: int, users: int) -> None:
    """Make a store with random rows, and no sums yet."""
    store.initialise(home / "journal", home / "usage.duckdb")
    with closing(duckdb.connect(str(home / "usage.duckdb"), config=schema.WRITER_CONFIG)) as connection:
        connection.execute(f"{schema.QUIET}; SET memory_limit = '2GB'; SELECT setseed(0.5)")
        began = connection.execute(f"SELECT now()::TIMESTAMP - INTERVAL {_DAYS} DAYS").fetchall()[0][0]
        for first in range(0, events, _STEP):
            connection.execute(
                f"INSERT INTO ingested BY NAME SELECT * EXCLUDE (token, kind, who, share, ms_taken) FROM ({_ROWS})",  # noqa: S608 -- written here
                {"began": began, "microseconds": _DAYS * 86_400_000_000, "events": events, "users": users,
                 "first": first, "last": min(first + _STEP, events)},
            )  # fmt: skip
        for view in ("sums", "sums_by_hour", "sums_by_day", "times"):
            connection.execute(f"DROP VIEW {view}")
        for table in rolling.TABLES:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("CHECKPOINT")


def measure(home: Path) -> Iterator[Result]:
    """Measure everything over a store."""
    yield from _ran("first sums", "initialise", _run(_MAKES_SUMS, home))
    for name in (*reports.QUESTIONS, "costs --by user", "costs --by model", "costs --by tag:team"):
        ran = _run("from metrion.cli import main; import sys; del sys.argv[1]; main()", home, "report", *name.split())
        yield from _ran("report", name, ran)
    asked = subprocess.run(
        [sys.executable, "-c", _ASKS, str(home), *PAGES],
        check=True,
        capture_output=True,
        text=True,
        env=_environment(home),
    )
    for line in asked.stdout.splitlines():
        page, seconds, cpu = json.loads(line)
        if page:
            yield Result("page", page, seconds, "s")
            yield Result("page, CPU", page, cpu, "s")
        else:
            yield Result("page, memory", "all pages", seconds, "MB")


def _run(program: str, home: Path, *arguments: str) -> tuple[float, float, float]:
    """Run a program; return its seconds, its CPU seconds, and its memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(home), *arguments], stdout=subprocess.DEVNULL, env=_environment(home)
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments or 'the first sums'} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "METRION_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _ran(what: str, target: str, ran: tuple[float, float, float]) -> Iterable[Result]:
    seconds, cpu, megabytes = ran
    yield Result(what, target, seconds, "s")
    yield Result(f"{what}, CPU", target, cpu, "s")
    yield Result(f"{what}, memory", target, megabytes, "MB")


def broken(results: Iterable[Result]) -> list[str]:
    """Return what is above its bound."""
    bounds = {"report, CPU": MOST_REPORT_CPU, "page, CPU": MOST_PAGE_CPU, "report, memory": MOST_MEGABYTES,
              "page, memory": MOST_MEGABYTES}  # fmt: skip
    return [
        f"{one.measurement}, {one.target}: {one.value:.2f} {one.unit}, at most {bounds[one.measurement]}"
        for one in results
        if one.measurement in bounds and (one.value or 0) > bounds[one.measurement]
    ]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="scripts/bench-store", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="how many events (default: 10,000,000)")
    parser.add_argument("--users", type=int, default=300, help="how many users send them (default: 300)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is not kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metrion-bench-store-") as folder:
        make(Path(folder), given.events, given.users)
        results = list(measure(Path(folder)))
    if given.json:
        print(json.dumps([[one.measurement, one.target, one.value, one.unit] for one in results], indent=1))
    else:
        print(
            tabulate(
                [(one.measurement, one.target, f"{one.value:.2f}", one.unit) for one in results], disable_numparse=True
            )
        )
    for line in (problems := broken(results)):
        print(f"NOT KEPT  {line}", file=sys.stderr)
    return int(given.check and bool(problems))


if __name__ == "__main__":
    sys.exit(main())
