from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from metrion.errors import StoreError
from metrion.model import Event
from metrion.reports import Span, report
from metrion.store import recent
from metrion.store.recent import Spent
from metrion.store.rollups import DEFERRED_OPERATIONS, LEVELS
from tests.store.events import Home, event

NOW = datetime.now(UTC).replace(tzinfo=None)
MIDNIGHT = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)
"""That of some zone."""

UNKNOWN: dict[str, Any] = {"cost_usd": None, "cost_source": "unknown"}
DAY: list[dict[str, Any]] = [
    {},
    {"cost_usd": Decimal("0.25"), "token_name": "ci", "account": "team"},
    {"cost_usd": Decimal(0), "cost_source": "not_billed", "status": 401, "input_tokens": None, "output_tokens": None},
    {"cost_usd": None, "cost_source": "unpriced"},
    {"cost_usd": Decimal("0.5"), "cost_source": "estimated"},
    {"cost_usd": Decimal(0), "cost_source": "subscription", "computed_cost_usd": Decimal(1)},
    {"cost_usd": None, "cost_source": None},
    UNKNOWN,
    UNKNOWN | {"generation_id": "cut off"},
    UNKNOWN | {"generation_id": "cut off"},
    UNKNOWN | {"generation_id": "read back"},
    {"method": "GET", "generation_id": "read back", "path": "/v1/responses/read-back"},
    UNKNOWN | {"generation_id": "deferred", "token_name": "ci"},
    {"method": "GET", "generation_id": "another", "path": "/v1/chat/deferred-completion/deferred"},
    UNKNOWN | {"generation_id": "run", "operation": "runs", "method": "POST"},
    {"operation": "runs", "method": "POST", "generation_id": "run"},
    {"request_id": "session", "status": 101, "operation": "realtime"},
    {"request_id": "session", "status": 101, "operation": "realtime", "token_name": "laptop"},
    {"request_id": "twice", "end_reason": "retried", "cost_source": "not_billed", "cost_usd": Decimal(0)},
    {"request_id": "twice", "attempt": 2},
    {"account": None, "token_name": None, "status": 401, "cost_source": "not_billed", "cost_usd": Decimal(0)},
    {"provider": None, "generation_id": None, "path": None, "method": "GET", "input_tokens": 2**62},
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


def spent(home: Home, since: datetime = MIDNIGHT, **filters: str) -> Spent:
    return recent.spent(home.journal_dir, home.store_path, since, **filters)  # type: ignore[arg-type]  # only names


def reported(home: Home, since: datetime = MIDNIGHT) -> Spent:
    """What the report of costs says."""
    answer = report(home.journal_dir, home.store_path, "costs", Span(since))
    figures = dict(zip(answer.table.columns, answer.total, strict=True))
    return Spent(**{name: figures[name] for name in Spent.__slots__})


def day(seed: int) -> list[Event]:
    """All of :data:`DAY` in this order, somewhere after midnight, and something of the day before."""
    drawn = random.Random(seed)
    moments = sorted(drawn.uniform(0, 20 * 3600) for _ in DAY)
    return [
        event(**columns, started_at=MIDNIGHT + timedelta(seconds=moment))
        for columns, moment in zip(DAY, moments, strict=True)
    ] + [event(started_at=MIDNIGHT - timedelta(microseconds=1)), event(started_at=MIDNIGHT - timedelta(days=9))]


@pytest.mark.parametrize("seed", range(8))
def test_it_says_what_the_report_says_however_much_is_ingested(home: Home, seed: int) -> None:
    events = day(seed)
    random.Random(seed).shuffle(events)
    for at in range(0, len(events), 5):
        home.record(*events[at : at + 5])
        assert spent(home) == reported(home)
        if (at // 5 + seed) % 2:
            home.ingest()
            assert recent.load(home.store_path) is not None, "the ingester has written the sums"
            assert spent(home) == reported(home)
    assert spent(home, MIDNIGHT + timedelta(hours=7)) == reported(home, MIDNIGHT + timedelta(hours=7))


def test_filters(home: Home) -> None:
    home.record(*day(1)[:10])
    home.ingest()
    home.record(*day(1)[10:])
    assert spent(home, token="ci") == Spent(2, Decimal("0.25"), 0, 0, 200, 40)
    assert spent(home, account="team") == Spent(1, Decimal("0.25"), 0, 0, 100, 20)
    assert spent(home, account="team", token="laptop") == Spent()


def test_where_nothing_has_a_known_cost_there_is_none(home: Home) -> None:
    home.record(event(started_at=NOW, **UNKNOWN), event(started_at=NOW, cost_usd=None, cost_source="unpriced"))
    assert spent(home) == Spent(2, None, 1, 1, 200, 40)


def loses_the_file(home: Home) -> None:
    home.store_path.with_name(".usage.duckdb.recent").unlink()


def has_a_torn_file(home: Home) -> None:
    home.store_path.with_name(".usage.duckdb.recent").write_text('{"version": 1, "gro')


WITH_COSTS = ("ingested", *(level.table for level in LEVELS))
"""The rows, and the sums of them."""


def was_repriced(home: Home) -> None:
    with closing(duckdb.connect(str(home.store_path))) as connection:
        for table in WITH_COSTS:
            connection.execute(f"UPDATE {table} SET cost_usd = 2 * cost_usd")  # noqa: S608 -- the names above


def was_repriced_by_a_process_that_was_killed(home: Home) -> None:
    program = """if True:
        import duckdb, os, sys
        connection = duckdb.connect(sys.argv[1], config={"checkpoint_threshold": "1TB"})
        connection.execute("; ".join(f"UPDATE {table} SET cost_usd = 3 * cost_usd" for table in sys.argv[2:]))
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", program, home.store_path, *WITH_COSTS], check=True)
    assert home.store_path.with_name("usage.duckdb.wal").exists()


@pytest.mark.parametrize(
    "harm", [loses_the_file, has_a_torn_file, was_repriced, was_repriced_by_a_process_that_was_killed]
)
def test_a_file_of_another_state_is_not_believed_and_is_written_anew(home: Home, harm: Any) -> None:
    home.record(*day(2))
    home.ingest()
    harm(home)
    assert recent.load(home.store_path) is None
    assert spent(home) == reported(home)
    assert recent.load(home.store_path) is not None
    assert spent(home) == reported(home)
    home.record(*day(3))
    home.ingest()
    assert recent.load(home.store_path) is not None
    assert spent(home) == reported(home)


def test_it_goes_further_back_where_somebody_asks(home: Home) -> None:
    long_ago = MIDNIGHT - timedelta(days=10)
    home.record(*day(4))
    home.ingest()
    assert spent(home, long_ago) == reported(home, long_ago)


def test_what_is_too_long_to_read_fast_is_not_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MOST_ROWS", 5)
    home.record(*day(5))
    home.ingest()
    assert spent(home) == reported(home)
    assert recent.load(home.store_path) is None


def test_events_reach_the_store_whatever_adding_up_comes_to(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of any kind")

    home.record(event(started_at=NOW))
    monkeypatch.setattr(recent, "with_batch", fail)
    home.ingest()
    assert home.segments == []
    monkeypatch.undo()
    assert spent(home) == reported(home)


def test_a_store_that_another_program_has_open_is_answered_from_the_file(home: Home) -> None:
    home.record(*day(6))
    home.ingest()
    expected = reported(home)
    program = f"import duckdb, sys; c = duckdb.connect({str(home.store_path)!r}); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert spent(home) == expected
        loses_the_file(home)
        with pytest.raises(StoreError, match="open for writing in another process"):
            recent.spent(home.journal_dir, home.store_path, MIDNIGHT, patience=0.1)


def test_without_a_home_or_a_store_there_is_only_the_journal(home: Home, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert recent.spent(nowhere / "journal", nowhere / "usage.duckdb", MIDNIGHT) == Spent()
    assert not nowhere.exists()
    home.store_path.unlink()
    home.record(event(started_at=NOW))
    assert spent(home).requests == 1


def test_a_line_that_is_being_written_is_not_read(home: Home) -> None:
    home.record(event(started_at=NOW))
    (segment,) = (home.journal_dir / name for name in home.segments)
    segment.write_bytes(segment.read_bytes() + b'{"event_id": "torn\n\xff\n[]\n{"seq"')
    assert spent(home).requests == 1


def test_the_operations_that_are_known_not_to_be_deferred_are_not() -> None:
    assert not set(recent.NEVER_DEFERRED) & set(DEFERRED_OPERATIONS)
