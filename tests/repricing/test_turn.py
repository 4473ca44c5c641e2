"""Repricing takes its turn at the store, beside a proxy that runs and people who read."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import duckdb
import pytest

from metrion import store
from metrion.errors import StoreError
from metrion.journal.writer import Journal
from metrion.model.event_id import uuid7
from metrion.repricing import turn
from metrion.store import locks
from tests.repricing.priced import NEW, USUAL, money, run, settings_of
from tests.store.events import Home, event


def test_what_is_in_the_journal_is_ingested_first(home: Home) -> None:
    home.record(event(**USUAL))
    home.ingest()
    home.record(event(**USUAL))
    assert run(home).changed == 2
    assert home.segments == []


@pytest.fixture
def ingester(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """The ingester of a running proxy."""
    process = store.spawn_ingester(home.journal_dir, home.store_path)
    store.wait_until_ready(process, 20)
    assert process.stdin is not None
    yield process
    process.stdin.close()
    process.wait()


def test_what_a_running_proxy_just_wrote_is_waited_for(home: Home, ingester: subprocess.Popen[bytes]) -> None:
    journal = Journal(home.journal_dir)
    for _ in range(3):
        journal.append(event(**USUAL))
    try:
        result = run(home)  # the segment is still being written
    finally:
        journal.close()
    assert (result.changed, result.waiting) == (3, 0)


def test_each_event_is_there_once_while_more_are_metered(home: Home, ingester: subprocess.Popen[bytes]) -> None:
    stop = threading.Event()
    written = []

    def write() -> None:
        journal = Journal(home.journal_dir)
        while not stop.wait(0.002):
            journal.append(one := event(**(USUAL | {"event_id": uuid7()})))
            written.append(one.event_id)
        journal.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for rate in (1, 2, 3):
            known = len(written)
            result = run(home, {"openai": {"gpt-5": {"input": rate, "output": rate}}})
            assert result.changed >= known
            at_least = f"SELECT count(*) FROM events WHERE cost_usd = 0.00012 * {rate}"  # noqa: S608 -- a number
            assert home.values(at_least)[0][0] >= known
    finally:
        stop.set()
        writer.join()
    assert home.values("SELECT count(*), count(DISTINCT event_id) FROM events") == [(len(written), len(written))]


def test_a_segment_that_nobody_lets_go_of_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "SETTLING_SECONDS", 0.2)
    home.record(event(**USUAL))
    home.ingest()
    journal = Journal(home.journal_dir)
    journal.append(event(**USUAL))
    (segment,) = home.segments
    with (home.journal_dir / segment).open("rb") as file:
        journal.close()
        assert locks.taken(file.fileno())  # as a writer that hangs
        result = run(home)
    assert (result.changed, result.waiting) == (1, 1)
    assert [row["price_version"] == "old" for row in money(home)] == [False, True]


def test_one_at_a_time(home: Home) -> None:
    home.record(event(**USUAL))
    with locks.alone(home.path / ".usage.duckdb.reprice"), pytest.raises(StoreError, match="another `metrion reprice`"):
        run(home)
    assert run(home).changed == 1


def test_readers_that_do_not_let_go_leave_everything_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "WRITING_SECONDS", 0.1)
    monkeypatch.setattr(turn, "TURN_SECONDS", 0.05)
    home.record(event(**USUAL))
    home.ingest()
    before = money(home)
    program = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); input()"
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(home.store_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    try:
        with pytest.raises(StoreError, match="nothing was changed"):
            run(home)
    finally:
        reader.communicate(b"\n")
    assert money(home) == before
    assert run(home).changed == 1


def test_killed_at_any_moment_all_or_nothing_has_happened(home: Home) -> None:
    """Real processes, real kills; then once more to the end."""
    home.record(*(event(**USUAL) for _ in range(3000)))
    home.ingest()
    settings_of(home)
    program = "from metrion.cli import main; main()"
    environment = {**os.environ, "METRION_HOME": str(home.path)}
    command = [sys.executable, "-c", program, "reprice", "--closed"]
    versions = "SELECT count(DISTINCT price_version), count(*), count(DISTINCT event_id) FROM events"
    began = time.monotonic()
    subprocess.run([*command, "--dry-run"], env=environment, check=True, capture_output=True)
    duration = time.monotonic() - began
    for tenths in range(6, 14):
        settings_of(home, {"openai": {"gpt-5": {"input": tenths, "output": tenths}}})
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(duration * tenths / 10)
        process.kill()
        process.wait()
        assert home.values(versions) == [(1, 3000, 3000)]
    settings_of(home)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert {(row["cost_usd"], row["price_version"] == "old") for row in money(home)} == {(NEW, False)}
    with duckdb.connect(str(home.store_path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM ingested").fetchall() == [(3000,)]
