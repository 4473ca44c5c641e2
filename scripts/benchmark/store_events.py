"""Many random events in a store of their own: the worst that sums can be made of, for the same keys hardly meet twice.

50 tokens, 12 models and as many users as asked for, at random over 90 days that end now. The rows are those of the real
table, and their sums are made as those of any store that has none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb

from metrion import store
from metrion.store import rolling, schema

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
        SELECT i, $began::TIMESTAMP + to_microseconds((i::HUGEINT * $microseconds // $events)::BIGINT) AS started_at,
            floor(random() * 50)::INTEGER AS token, floor(random() * 12)::INTEGER AS kind,
            floor(random() * $users)::INTEGER AS who, random() AS fate,
            exp(5 + 6 * random())::BIGINT AS sent, exp(3 + 6 * random())::BIGINT AS written,
            exp(5 + 5 * random()) AS ms_taken, floor(random() * 3) AS share
        FROM range($first, $last) AS numbers(i)
    ))
)"""
_STEP = 500_000
_DAYS = 90
_VIEWS = ("sums", "sums_by_hour", "sums_by_day", "times")
_MAKES_SUMS = """
import sys
from pathlib import Path
from metrion import store
home = Path(sys.argv[1])
store.initialise(home / "journal", home / "usage.duckdb")
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program has used: seconds, CPU seconds of all its threads, and megabytes at its most."""

    seconds: float
    cpu: float
    megabytes: float


def make(home: Path, events: int, users: int) -> Ran:
    """Make a store; return what its sums have used, the rows apart."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / "usage.duckdb"
    store.initialise(home / "journal", path)
    with closing(duckdb.connect(str(path), config=schema.WRITER_CONFIG)) as connection:
        connection.execute(f"{schema.QUIET}; SET memory_limit = '2GB'; SELECT setseed(0.5)")
        began = connection.execute(f"SELECT now()::TIMESTAMP - INTERVAL {_DAYS} DAYS").fetchall()[0][0]
        for first in range(0, events, _STEP):
            connection.execute(
                f"INSERT INTO ingested BY NAME SELECT * EXCLUDE (token, kind, who, share, ms_taken) FROM ({_ROWS})",  # noqa: S608 -- written here
                {"began": began, "microseconds": _DAYS * 86_400_000_000, "events": events, "users": users,
                 "first": first, "last": min(first + _STEP, events)},
            )  # fmt: skip
            connection.execute("CHECKPOINT")
        for view in _VIEWS:
            connection.execute(f"DROP VIEW IF EXISTS {view}")
        for table in rolling.TABLES:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("CHECKPOINT")
    return run([sys.executable, "-c", _MAKES_SUMS, str(home)], home)


def run(command: list[str], home: Path) -> Ran:
    """Run a program over a home."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(home))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(command[1:])} failed")
    return Ran(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def environment(home: Path) -> dict[str, str]:
    """Return the environment that leads to a home."""
    return {**os.environ, "METRION_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
