from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from metrion.doctor import Level, store
from metrion.store import locks, schema
from tests.doctor.patient import FAIL, OK, WARN, Patient
from tests.store.events import event


def test_a_store_that_answers(patient: Patient) -> None:
    patient.store.initialise()
    patient.found(OK, "usage.duckdb answers, with 0 events (DuckDB's format v1.4.0")
    patient.store.record(event(started_at=datetime(2026, 11, 1, 10)))  # noqa: DTZ001 -- times in events are naive UTC
    patient.found(OK, "with 1 event, the last at 2026-11-01 10:00:00 UTC")


def test_a_store_that_is_none(patient: Patient) -> None:
    patient.store.store_path.write_bytes(b"garbage" * 1000)
    assert "backup" in str(patient.found(FAIL, "usage.duckdb cannot be opened", "not a valid DuckDB").way_out)


def test_a_store_of_a_newer_format(patient: Patient) -> None:
    with pytest.MonkeyPatch.context() as then:
        then.setattr(schema, "STORAGE_VERSION", "v1.5.0")
        patient.store.initialise()
    patient.found(WARN, "has DuckDB's format v1.5.0")


@contextlib.contextmanager
def opened_by_somebody(path: Path, *, read_only: bool) -> Iterator[int]:
    program = f"import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only={read_only}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds a lock")
@pytest.mark.parametrize(("read_only", "level"), [(True, WARN), (False, FAIL)])
def test_a_store_that_somebody_holds_open(patient: Patient, read_only: bool, level: Level) -> None:
    patient.store.initialise()
    with opened_by_somebody(patient.store.store_path, read_only=read_only) as pid:
        finding = patient.found(level, f"held open by process {pid} (python")
        assert "close it there" in str(finding.way_out)
    patient.found(OK, "usage.duckdb answers")


def test_without_proc_a_store_that_somebody_writes_is_found_all_the_same(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_foreign_holders", lambda _: iter(()))
    patient.store.initialise()
    with opened_by_somebody(patient.store.store_path, read_only=False):
        patient.found(FAIL, "open for writing in another process")


def test_a_store_that_is_written_for_long(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PATIENCE_SECONDS", 0.1)
    patient.store.initialise()
    with locks.writing(patient.store.store_path, 1):
        patient.found(WARN, "is being written for unusually long")
