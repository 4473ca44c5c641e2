# ruff: noqa: DTZ001 -- times in events are naive UTC
from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from metrion import store
from metrion.journal.writer import Journal
from metrion.model import EVENT_COLUMNS, Event
from metrion.model.event_id import uuid7
from metrion.store import follow
from metrion.store.follow import Follower, Row
from metrion.store.ingester import Ingester
from tests.store.events import Home, event


def now(**earlier: float) -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) - timedelta(**earlier)


def ids(rows: list[Row]) -> list[UUID]:
    return [row[0] for row in rows]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.initialise()
    return home


@pytest.fixture
def follower(home: Home) -> Iterator[Follower]:
    with Follower(home.journal_dir, home.store_path) as follower:
        yield follower


@pytest.fixture
def always_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CHECK_SECONDS", 0.0)


RICH: dict[str, Any] = {
    "tags": {"team": "ä", "n": "1"},
    "streamed": True,
    "audio_seconds": 1.5,
    "server_tools": {"web_search_requests": 2},
    "usage": '{"prompt_tokens": 1e2, "x": [1.10, null, "é"]}',
    "cost_usd": Decimal("0.25"),
    "computed_cost_usd": Decimal("123456.123456789012"),
    "cost_parts": {"input": Decimal("0.000000000001"), "output": Decimal(2)},
    "latency_ms": 100.0,
    "request_bytes": 2**40,
    "unreported_tools": {"google_search": 1},
    "cost_at_least_usd": Decimal("0.000000000002"),
    "client": "curl/8.5.0",
    "provider_limits": '{"x-ratelimit-remaining-tokens": "1e2"}',
    "policy": {"ü": "1"},
    "queued_ms": 1.5,
    "path": "/v1/\u2028\x07",
}


@pytest.mark.parametrize("columns", [{}, RICH, {"cost_usd": None, "started_at": datetime(2026, 1, 1)}])
def test_a_line_of_the_journal_is_what_the_store_answers(
    home: Home, follower: Follower, columns: dict[str, Any]
) -> None:
    follower.history(0)
    home.record(event(**columns))
    (row,) = follower.news()
    home.ingest()
    (stored,) = home.values("SELECT * FROM events")
    assert row == stored
    assert [type(value) for value in row] == [type(value) for value in stored]


def test_history_is_the_last_ones_metered_oldest_first(home: Home, follower: Follower) -> None:
    events = [event(started_at=now(seconds=60 - n)) for n in range(5)]
    long = event(started_at=now(hours=1), latency_ms=3_599_000.0)  # started first, over last
    home.record(*events[:3], long)
    home.ingest()
    home.record(*events[3:])
    assert ids(follower.history(3)) == [events[3].event_id, events[4].event_id, long.event_id]
    assert list(follower.news()) == []


def test_history_takes_a_condition(home: Home, follower: Follower) -> None:
    home.record(event(user_label="a"), event(user_label="b"), event(user_label="a"))
    assert len(follower.history(10, "user_label = $who", {"who": "a"})) == 2
    assert list(follower.news()) == []  # what is not in the history is old none the less


def test_before_the_first_event_there_is_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    with Follower(home.journal_dir, home.store_path) as follower:
        assert follower.history(10) == []
        assert list(follower.news()) == []
        home.record(one := event())
        assert ids(list(follower.news())) == [one.event_id]


def test_an_event_is_news_once_before_and_after_it_is_ingested(
    home: Home, follower: Follower, always_checks: None
) -> None:
    follower.history(10)
    journal = Journal(home.journal_dir)
    journal.append(first := event(started_at=now()))
    assert ids(list(follower.news())) == [first.event_id]
    journal.append(second := event(started_at=now()))
    journal.close()
    home.ingest()
    assert home.segments == []
    assert ids(list(follower.news())) == [second.event_id]  # the segment was open when it was deleted
    assert list(follower.news()) == []


def came_and_went(home: Home, follower: Follower) -> list[Event]:
    """A writer that nobody has heard of, ingested between two looks."""
    events = [event(started_at=now()), event(started_at=now(seconds=5), latency_ms=5_000.0)]
    home.record(*events)
    home.ingest()
    return events


def a_segment_is_missed(home: Home, follower: Follower) -> list[Event]:
    """A known writer's second segment is gone before its third is seen."""
    events = [event(started_at=now()) for _ in range(3)]
    journal = Journal(home.journal_dir)
    journal.append(events[0])
    journal.close()
    assert ids(list(follower.news())) == [events[0].event_id]
    for one in events[1:]:
        home.ingest()
        journal.append(one)
        journal.close()
    return events[1:]


@pytest.mark.parametrize("miss", [came_and_went, a_segment_is_missed])
def test_what_was_missed_in_the_journal_comes_from_the_store(
    home: Home, follower: Follower, always_checks: None, miss: Callable[[Home, Follower], list[Event]]
) -> None:
    home.record(*(event(started_at=now()) for _ in range(3)))
    home.ingest()
    follower.history(1)
    missed = miss(home, follower)
    assert sorted(ids(list(follower.news()))) == sorted(one.event_id for one in missed)
    assert list(follower.news()) == []
    home.record(later := event(started_at=now()))
    assert ids(list(follower.news())) == [later.event_id]


def test_the_store_is_left_alone_as_long_as_nothing_is_missed(
    home: Home, follower: Follower, always_checks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower.history(0)
    asked: list[str] = []
    real = store.ask

    def ask(journal_dir: Path, store_path: Path, query: str, parameters: Any = None) -> Any:
        asked.append(query)
        return real(journal_dir, store_path, query, parameters)

    monkeypatch.setattr(store, "ask", ask)
    for _ in range(3):
        home.record(event(started_at=now()))
        assert len(list(follower.news())) == 1
    assert asked == []  # nothing was ingested
    home.ingest()
    assert list(follower.news()) == []
    assert list(follower.news()) == []
    assert asked == ["SELECT writer, seq FROM watermarks"]


@pytest.mark.parametrize(
    "line", [b'{"event_id": "x"}', b"{}", b"[1]", b"\xff", b'{"writer":"w","seq":1,"event_id":7}', b"7", b'"text"']
)
def test_a_line_that_cannot_be_read_is_passed_over(home: Home, follower: Follower, line: bytes) -> None:
    follower.history(0)
    home.record(event())
    (segment,) = home.segments
    path = home.journal_dir / segment
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert len(list(follower.news())) == 1


def test_a_line_without_its_end_waits_for_it(home: Home, follower: Follower) -> None:
    home.record(one := event())
    (name,) = home.segments
    line = (home.journal_dir / name).read_bytes()
    (home.journal_dir / name).write_bytes(b"")
    follower.history(0)
    for part in (line[:50], line[50:-1]):
        with (home.journal_dir / name).open("ab") as file:
            file.write(part)
        assert list(follower.news()) == []
    with (home.journal_dir / name).open("ab") as file:
        file.write(line[-1:])
    assert ids(list(follower.news())) == [one.event_id]


def test_nothing_is_lost_or_given_twice_while_segments_are_ingested_and_deleted(
    home: Home, follower: Follower, always_checks: None
) -> None:
    follower.history(0)
    written: list[UUID] = []
    ingested = threading.Event()

    def meter_and_ingest() -> None:
        ingester = Ingester(home.journal_dir, home.store_path)
        lasting = Journal(home.journal_dir)
        for _ in range(15):
            for journal in (lasting, Journal(home.journal_dir)):  # segments come and go, and so do writers
                for _ in range(10):
                    journal.append(one := event(event_id=uuid7(), started_at=now()))
                    written.append(one.event_id)
                journal.close()
            batch = ingester.load()
            assert batch is not None
            while not ingester.commit(batch):
                pass  # the follower reads
            ingested.set()

    given: list[UUID] = []
    with ThreadPoolExecutor() as pool:
        metering = pool.submit(meter_and_ingest)
        while not metering.done():
            ingested.wait(1)  # what was taken in before this look never showed in the journal
            ingested.clear()
            given += ids(list(follower.news()))
        metering.result()
    assert Counter(given + ids(list(follower.news()))) == Counter(written)
    assert len(EVENT_COLUMNS) == len(home.values("SELECT * FROM events LIMIT 1")[0])
