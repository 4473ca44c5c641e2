# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.journal import writer as journal_module
from metrion.journal.writer import Journal, encode
from metrion.model import Event
from tests.store.events import event


def line(**columns: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(encode(event(**columns), "w", 1))
    return read


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.ndjson"))


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for segment in segments(directory) for text in segment.read_bytes().splitlines()]


def held(segment: Path) -> bool:
    with segment.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def wait_for(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("metrion.journal.writer.os.write", disk.write)
    return disk


class Disk:
    """A disk that has ``room`` bytes left; ``None``: enough."""

    def __init__(self) -> None:
        self.room: int | None = None
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room is None:
            return self._write(descriptor, data)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


# --- lines ---


@pytest.mark.parametrize(
    ("column", "value", "written"),
    [
        ("started_at", datetime(2026, 11, 1, 10, 0), "2026-11-01T10:00:00"),
        ("started_at", datetime(2026, 11, 1, 10, 0, tzinfo=UTC), "2026-11-01T10:00:00"),
        ("started_at", datetime(2026, 11, 1, 10, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-01T08:00:00"),
        ("cost_usd", Decimal("1E-12"), "0.000000000001"),
        ("cost_usd", Decimal("0.0000000000005"), "0.000000000000"),  # half-even
        ("cost_usd", Decimal("0.0000000000015"), "0.000000000002"),
        ("cost_usd", Decimal("-1.5"), "-1.500000000000"),
        ("cost_usd", Decimal("999999.999999999999"), "999999.999999999999"),
        ("cost_parts", {"input": Decimal("0.1")}, {"input": "0.100000000000"}),
        ("server_tools", {"web_search": 2}, {"web_search": 2}),
        ("unreported_tools", {"google_search": 2}, {"google_search": 2}),
        ("cost_at_least_usd", Decimal("0.1"), "0.100000000000"),
        ("provider_limits", '{"x-ratelimit-limit-tokens": "1e5"}', '{"x-ratelimit-limit-tokens": "1e5"}'),
        ("policy", {"cache": "hit"}, {"cache": "hit"}),
        ("queued_ms", 1.5, 1.5),
        ("tags", {"team": "größe"}, {"team": "größe"}),
        ("input_tokens", 2**63 - 1, 2**63 - 1),
        ("input_tokens", 0, 0),
        ("latency_ms", 1.5, 1.5),
        ("streamed", False, False),
        ("usage", '{"x": 1.10, "big": 12345678901234567890}', '{"x": 1.10, "big": 12345678901234567890}'),
        ("usage", r'{"x": "\u00e4\ud83d\ude00"}', r'{"x": "\u00e4\ud83d\ude00"}'),
        ("usage", r'{"x": "a\ud800b\udc00"}', r'{"x": "a\ufffdb\ufffd"}'),
        ("usage", r'{"x": "\\ud800"}', r'{"x": "\\ud800"}'),  # a backslash, then text
        ("usage", '{"x": "a\ud800"}', '{"x": "a\ufffd"}'),
        ("path", "/v1/caf\udce9", "/v1/caf\ufffd"),
        ("path", "/v1/\x00", "/v1/\ufffd"),
        ("path", r"/v1/\u0000", r"/v1/\u0000"),
        ("path", "/" + "x" * 20_000, "/" + "x" * (journal_module.TEXT_CHARACTERS - 1)),
        ("user_label", 7, 7),  # no text, but the store reads it as such
        ("user_label", b"raw", "b'raw'"),
        ("tags", {"a\ud800": "b\x00"}, {"a\ufffd": "b\ufffd"}),
    ],
)
def test_a_value_is_written_so_that_the_store_reads_it(column: str, value: Any, written: Any) -> None:
    assert line(**{column: value})[column] == written


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", 2**15),
        ("status", -(2**15) - 1),
        ("status", 1.5),
        ("input_tokens", 2**63),
        ("input_tokens", "12"),
        ("audio_seconds", float("nan")),
        ("latency_ms", float("inf")),
        ("cost_usd", Decimal(1000000)),
        ("cost_usd", Decimal("999999.9999999999996")),  # rounds up to what does not fit
        ("cost_usd", Decimal("NaN")),
        ("cost_usd", Decimal("1E+999999")),
        ("cost_usd", 0.1),
        ("cost_parts", {"input": Decimal("Infinity")}),
        ("server_tools", {"web_search": 2**64}),
        ("usage", "{'x': 1}"),
        ("usage", '{"x": NaN}'),
        ("usage", "[" * 100_000),
        ("usage", '"' + "x" * 600_000 + '"'),
        ("usage", '{"x": "\x00"}'),
    ],
)
def test_what_a_column_cannot_hold_is_null_with_a_warning_that_names_it(
    column: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert column not in line(**{column: value})
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert f"column {column} is stored as NULL" in warning.getMessage()
    assert str(value)[:40] not in warning.getMessage()


def test_an_event_that_is_too_long_loses_its_maps_not_its_row(caplog: pytest.LogCaptureFixture) -> None:
    written = line(tags={f"tag-{number}": "x" * 10_000 for number in range(200)})
    assert "tags" not in written
    assert written["model"] == "gpt-5"
    assert "column tags" in caplog.text


def test_a_line_says_who_wrote_it_and_leaves_nulls_out() -> None:
    written = json.loads(encode(event(model=None), "w", 7))
    assert (written["writer"], written["seq"]) == ("w", 7)
    assert "model" not in written
    assert set(written) - {"writer", "seq"} <= {field.name for field in fields(Event)}


# --- segments ---


def test_an_event_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "home" / "journal", writer="worker_1")
    assert not (tmp_path / "home").exists()
    for number in range(3):
        journal.append(event(request_id=f"r{number}"))
        assert [read["request_id"] for read in lines(journal.directory)] == [f"r{n}" for n in range(number + 1)]
    (segment,) = segments(journal.directory)
    assert segment.name.startswith("worker_1-")
    assert held(segment)
    assert segment.stat().st_mode & 0o777 == 0o600
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    journal.close()
    assert not held(segment)


def test_two_journals_of_one_name_are_two_writers(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path, writer="w")
        journal.append(event())
        journal.close()
    assert len({read["writer"] for read in lines(tmp_path)}) == 2


@pytest.mark.parametrize("name", ["", "a/b", "a-b", "é"])
def test_a_writer_is_named_so_that_it_can_name_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="writer"):
        Journal(tmp_path, writer=name)


def test_a_closed_journal_still_takes_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(event())
    journal.close()
    journal.append(event())
    journal.close()
    assert [read["seq"] for read in lines(tmp_path)] == [1, 2]
    assert not any(map(held, segments(tmp_path)))


def test_a_segment_is_sealed_by_age_while_nothing_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_SECONDS", 0.1)
    journal = Journal(tmp_path)
    journal.append(event())
    (segment,) = segments(tmp_path)
    wait_for(lambda: not held(segment))
    journal.append(event())
    assert len(segments(tmp_path)) == 2
    journal.close()


def test_a_segment_is_sealed_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1000)
    journal = Journal(tmp_path)
    for _ in range(10):
        journal.append(event())
    journal.close()
    assert len(segments(tmp_path)) > 2
    assert [read["seq"] for read in lines(tmp_path)] == list(range(1, 11))


def test_lines_are_synced_within_the_promised_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    monkeypatch.setattr(journal_module, "_sync", lambda _descriptor: synced.append(time.monotonic()))
    journal = Journal(tmp_path)
    started = time.monotonic()
    journal.append(event())
    wait_for(lambda: synced)
    assert synced[0] - started < 1  # 0.05 s on an idle machine
    journal.append(event())
    journal.close()
    assert len(synced) >= 2


def test_a_new_segment_that_the_ingester_took_for_sealed_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        newest = segments(tmp_path)[-1]
        if newest.stem.endswith("1"):
            raise BlockingIOError
        lock(descriptor, how)
        if newest.stem.endswith("2"):
            newest.unlink()

    monkeypatch.setattr("metrion.journal.writer.fcntl.flock", flock)
    journal = Journal(tmp_path)
    journal.append(event())
    assert [read["seq"] for read in lines(tmp_path)] == [1]
    assert segments(tmp_path)[-1].name.endswith("-00000003.ndjson")
    journal.close()


# --- a disk that refuses ---


def test_a_full_disk_delays_events_and_loses_none(tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal.append(event(request_id="before"))
    disk.room = 100  # the next line is torn by it
    for number in range(3):
        journal.append(event(request_id=f"during-{number}"))
    assert [read["request_id"] for read in lines(tmp_path)] == ["before"]
    assert journal.failed >= 3
    assert "No space left" in caplog.text
    disk.room = None
    journal.append(event(request_id="after"))
    wanted = ["before", "during-0", "during-1", "during-2", "after"]
    assert [read["request_id"] for read in lines(tmp_path)] == wanted
    assert [read["seq"] for read in lines(tmp_path)] == [1, 2, 3, 4, 5]
    journal.close()


def test_a_disk_with_room_again_gets_what_is_pending_without_a_next_event(tmp_path: Path, disk: Disk) -> None:
    disk.room = 0
    journal = Journal(tmp_path)
    journal.append(event())
    disk.room = None
    wait_for(lambda: lines(tmp_path))
    journal.close()
    assert len(lines(tmp_path)) == 1


def test_a_directory_that_cannot_be_made_delays_events(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "journal")
    journal.append(event())
    assert journal.failed == 1
    (tmp_path / "file").unlink()
    journal.close()
    assert len(lines(journal.directory)) == 1


def test_what_no_disk_takes_for_too_long_is_dropped_and_counted(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "PENDING_BYTES", 5000)
    disk.room = 0
    journal = Journal(tmp_path)
    for number in range(20):
        journal.append(event(request_id=f"r{number}"))
    assert journal.dropped > 0
    assert "events are lost" in caplog.text
    disk.room = None
    journal.close()
    kept = [read["request_id"] for read in lines(tmp_path)]
    assert kept == [f"r{number}" for number in range(journal.dropped, 20)]


def test_all_that_waits_is_written_at_the_end_however_much(tmp_path: Path, disk: Disk) -> None:
    disk.room = 0
    journal = Journal(tmp_path)
    for _ in range(2500):
        journal.append(event())
    with journal._lock:  # the thread must not come first
        disk.room = None
        journal._stop.set()
    journal.close()
    assert len(lines(tmp_path)) == 2500
    assert journal.dropped == 0


def test_what_no_disk_takes_until_the_end_is_counted_once(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[tuple[int, int]] = []
    journal = Journal(tmp_path, on_change=lambda *counts: changes.append(counts))
    journal.append(event())
    assert changes == []
    disk.room = 0
    for _ in range(3):
        journal.append(event())
    assert changes == [(0, 1), (0, 2), (0, 3)]
    journal.close()
    journal.close()
    assert journal.dropped == 3
    assert changes[-1] == (3, 0)
    assert "3 events that no disk took" in caplog.text
    disk.room = None
    journal.append(event())
    journal.close()
    assert [read["seq"] for read in lines(tmp_path)] == [1, 5]


# --- processes ---


def test_a_fork_is_a_writer_of_its_own(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from metrion.journal.writer import Journal
        from tests.store.events import event
        journal = Journal(Path({str(tmp_path)!r}))
        journal.append(event())
        child = os.fork()
        journal.append(event())
        journal.close()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=os.environ | {"PYTHONPATH": f"{root}:addon"})
    assert sorted(read["seq"] for read in lines(tmp_path)) == [1, 1, 2]
    assert len({(read["writer"], read["seq"]) for read in lines(tmp_path)}) == 3


def test_the_proxy_pays_for_no_database() -> None:
    code = "import sys, metrion.journal.writer, metrion.store; sys.exit('duckdb' in sys.modules)"
    addon = Path(journal_module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(addon)})
