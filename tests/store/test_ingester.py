from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from metrion.journal.writer import Journal, encode
from metrion.model import EVENT_COLUMNS, Event
from metrion.store import ingester as intake
from metrion.store import locks, segments
from metrion.store.ingester import Ingester
from metrion.store.query import Json
from tests.made import Made
from tests.store.events import STARTED, Home, event, everything, native

FULL: dict[str, Any] = {
    "event_id": UUID("0199a000-0000-7000-8000-000000000001"),
    "request_id": "r",
    "attempt": 2,
    "started_at": STARTED,
    "account": "default",
    "token_name": "laptop",
    "user_label": "alice",
    "tags": {"team": "größe", "": "empty"},
    "credential": "stored",
    "provider": "openai",
    "operation": "chat",
    "method": "POST",
    "path": "/v1/chat/completions",
    "model_requested": "gpt-5",
    "model": "gpt-5-2026",
    "service_tier": "default",
    "streamed": True,
    "generation_id": "chatcmpl-1",
    "status": 200,
    "end_reason": "complete",
    "error_type": "none",
    "finish_reason": "stop",
    "provider_request_id": "req_1",
    "client_retry": 0,
    "input_tokens": 2**63 - 1,
    "cache_read_tokens": 1,
    "cache_write_tokens": 2,
    "cache_write_1h_tokens": 3,
    "output_tokens": 4,
    "reasoning_tokens": 5,
    "input_audio_tokens": 6,
    "input_image_tokens": 7,
    "output_audio_tokens": 8,
    "output_image_tokens": 0,
    "audio_seconds": 1.25,
    "server_tools": {"web_search": 2},
    "usage": Json('{"a": 1.10, "b": [null, "\\u00e4"]}'),
    "usage_source": "reported",
    "cost_usd": Decimal("123456.123456789012"),
    "cost_source": "computed",
    "computed_cost_usd": Decimal("0.000000000001"),
    "cost_parts": {"input": Decimal("0.000000000001"), "output": Decimal("0.000000000000")},
    "price_version": "2026-11-01",
    "latency_ms": 12.5,
    "first_byte_ms": 3.25,
    "overhead_ms": 0.5,
    "request_bytes": 10,
    "response_bytes": 20,
    "unreported_tools": {"google_search": 3},
    "cost_at_least_usd": Decimal("0.000000000002"),
    "client": "OpenAI/Python",
    "session_id": "s-1",
    "provider_limits": Json('{"x-ratelimit-remaining-requests": "59"}'),
    "wire_format": "openai_chat",
    "policy": {"cache": "hit"},
    "queued_ms": 1.5,
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    return home


@pytest.mark.parametrize("columns", [FULL, {"event_id": FULL["event_id"], "provider": "xai"}])
def test_an_event_reads_the_same_from_the_journal_and_from_the_store(home: Home, columns: dict[str, Any]) -> None:
    needed: dict[str, Any] = {"request_id": "r", "started_at": STARTED, "provider": "openai"}
    written = Event(**(needed | columns))
    home.record(written)
    wanted = [tuple(getattr(written, name) for name in EVENT_COLUMNS)]
    assert home.values("FROM events") == wanted
    assert native(home) == []
    home.ingest()
    assert home.values("FROM events") == wanted
    assert native(home) == [("r",)]
    assert home.segments == []


def test_what_a_live_writer_holds_stays_and_is_seen(home: Home) -> None:
    journal = Journal(home.journal_dir)
    journal.append(event(request_id="live"))
    home.record(event(request_id="sealed"))
    home.ingest()
    assert native(home) == [("sealed",)]
    assert everything(home) == ["live", "sealed"]
    journal.close()
    home.ingest()
    assert native(home) == [("live",), ("sealed",)]


def test_nothing_is_in_twice_when_the_segments_outlive_the_commit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.record(event(), event())
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_kwargs: None)
    ingester = Ingester(home.journal_dir, home.store_path)
    for _ in range(2):
        batch = ingester.load()
        assert batch is not None
        assert ingester.commit(batch)
    monkeypatch.undo()
    assert len(home.segments) == 1
    assert len(everything(home)) == len(native(home)) == 2
    home.ingest()
    assert home.segments == []
    assert len(everything(home)) == 2


def test_a_later_segment_waits_for_an_earlier_one_of_its_writer(home: Home) -> None:
    for number in (1, 2):
        (home.journal_dir / f"w-{number:08}.ndjson").write_bytes(encode(event(request_id=f"r{number}"), "w", number))
    first = os.open(home.journal_dir / "w-00000001.ndjson", os.O_RDONLY)
    locks.taken(first)
    home.ingest()
    assert native(home) == []
    assert everything(home) == ["r1", "r2"]
    os.close(first)
    home.ingest()
    assert native(home) == [("r1",), ("r2",)]


def test_a_backlog_goes_in_in_batches(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_BATCH_SEGMENTS", 2)
    for _ in range(5):
        home.record(event())
    ingester = Ingester(home.journal_dir, home.store_path)
    sizes = []
    while batch := ingester.load():
        sizes.append(len(batch.segments))
        assert ingester.commit(batch)
    assert sizes == [2, 2, 1]
    assert len(native(home)) == 5


GOOD = encode(event(request_id="good-1"), "w", 1)
ALSO_GOOD = encode(event(request_id="good-2"), "w", 3)


def endless() -> bytes:
    """Return a line that is longer than what is read at once."""
    return b'{"x": "' + b"x" * 20_000_000 + b'"}\n'


@pytest.mark.parametrize(
    ("content", "readable", "set_aside"),
    [
        pytest.param(b"", [], None, id="empty"),
        pytest.param(GOOD + ALSO_GOOD, ["good-1", "good-2"], None, id="whole"),
        pytest.param(GOOD + ALSO_GOOD[:-200], ["good-1"], None, id="torn last line"),
        pytest.param(GOOD + ALSO_GOOD[:-1], ["good-1", "good-2"], None, id="only the line end is torn off"),
        pytest.param(GOOD + b"\0" * 500, ["good-1"], None, id="zeros after a power cut"),
        pytest.param(GOOD + b"garbage\n" + ALSO_GOOD, ["good-1", "good-2"], b"garbage\n", id="garbage"),
        pytest.param(b"\xff\xfe\n" + GOOD, ["good-1"], b"\xff\xfe\n", id="no UTF-8"),
        pytest.param(GOOD + b"{}\n", ["good-1"], b"{}\n", id="no event"),
        pytest.param(GOOD + b"\n" + ALSO_GOOD, ["good-1", "good-2"], b"\n", id="blank"),
        pytest.param(b"[1]\n" * 3 + GOOD, ["good-1"], b"[1]\n" * 3, id="no objects"),
        pytest.param(
            GOOD + ALSO_GOOD[:300] + ALSO_GOOD, ["good-1"], ALSO_GOOD[:300] + ALSO_GOOD, id="torn in the middle"
        ),
        pytest.param(
            Made(lambda: GOOD + endless() + ALSO_GOOD),
            ["good-1", "good-2"],
            Made(endless),
            id="longer than the reader takes",
        ),
    ],
)
def test_what_cannot_be_read_is_set_aside_and_stops_nothing(
    home: Home, content: bytes, readable: list[str], set_aside: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    (home.journal_dir / "w-00000001.ndjson").write_bytes(content)
    home.record(event(request_id="other"))
    home.ingest()
    assert everything(home) == [*readable, "other"]
    assert len(native(home)) == len(readable) + 1
    assert home.segments == []
    aside = home.journal_dir / "set-aside" / "w-00000001.ndjson"
    assert (aside.read_bytes() if aside.exists() else None) == set_aside
    assert ("set aside" in caplog.text) == (set_aside is not None)


def test_a_value_that_does_not_fit_its_column_sets_its_line_aside_or_is_null(home: Home) -> None:
    columns = json.loads(GOOD) | {"status": 70_000, "cost_usd": "much"}
    (home.journal_dir / "w-00000001.ndjson").write_bytes(json.dumps(columns).encode() + b"\n")
    home.ingest()
    assert home.values("SELECT status, cost_usd FROM events") == [(None, None)]


def test_a_reader_of_our_own_delays_the_ingester_only(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_READER_SECONDS", 0.01)
    home.record(event())
    ingester = Ingester(home.journal_dir, home.store_path)
    batch = ingester.load()
    assert batch is not None
    with locks.reading(home.store_path, 0):
        assert not ingester.commit(batch)
    assert ingester.commit(batch)
    assert len(native(home)) == 1


def test_a_foreign_reader_delays_the_ingester_only(home: Home) -> None:
    home.record(event())
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    ingester = Ingester(home.journal_dir, home.store_path)
    batch = ingester.load()
    assert batch is not None
    with subprocess.Popen(
        [sys.executable, "-c", code, home.store_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        shell.stdout.readline()
        assert not ingester.commit(batch)
        assert len(everything(home)) == 1
        shell.stdin.close()
    assert ingester.commit(batch)
    assert len(native(home)) == 1


def test_what_a_killed_ingester_left_of_the_log_makes_the_store_unreadable_for_nobody(home: Home) -> None:
    wal = home.store_path.with_name("usage.duckdb.wal")
    before = home.store_path.read_bytes()
    with duckdb.connect(home.store_path) as connection:
        connection.execute("INSERT INTO ingested (request_id) SELECT repeat('x', 100) FROM range(10_000)")
        torn = wal.read_bytes()[:-1000]
    home.store_path.write_bytes(before)
    wal.write_bytes(torn)
    # A batch so large that DuckDB would by itself checkpoint it and pass the log by.
    line = json.loads(encode(event(usage=json.dumps({"padding": "x" * 1000})), "w", 1))
    rows = 40_000
    with (home.journal_dir / "w-00000001.ndjson").open("w") as segment:
        segment.writelines(json.dumps(line | {"seq": number}) + "\n" for number in range(1, rows + 1))
    home.ingest()
    assert not wal.exists()
    assert home.values("SELECT count(*) FROM ingested") == [(rows,)]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_rounds_need_of_memory_is_given_back(home: Home) -> None:
    ingester = Ingester(home.journal_dir, home.store_path)

    def anonymous_megabytes_after_a_round() -> float:
        home.record(*[event(usage='{"total_tokens": 1}', path="/v1/chat/completions") for _ in range(300)])
        batch = ingester.load()
        assert batch is not None
        assert ingester.commit(batch)
        ingester.give_memory_back()
        return int(re.search(r"RssAnon:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]  # it is there

    rounds = [anonymous_megabytes_after_a_round() for _ in range(20)]
    assert max(rounds) - rounds[0] < 20, rounds  # 3, and 100 with what DuckDB keeps


def test_the_lines_of_the_view_need_no_metrion(home: Home, tmp_path: Path) -> None:
    home.record(event(request_id="ingested"))
    home.ingest()
    home.record(event(request_id="tail"))
    with duckdb.connect(home.store_path, read_only=True) as connection:
        assert connection.execute("SELECT request_id FROM events ORDER BY ALL").fetchall() == [("ingested",), ("tail",)]
