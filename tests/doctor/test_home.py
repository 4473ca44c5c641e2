from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from metrion.doctor import Level
from tests.credentials import PROVIDER_KEY as SECRET
from tests.doctor.patient import FAIL, OK, WARN, Patient


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "home")
    patient.path.write_text("")
    assert "METRION_HOME" in str(patient.found(FAIL, "is no folder").way_out)


def test_a_home_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(tmp_path / "deep" / "home")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "METRION_HOME" in str(patient.found(FAIL, f"cannot be made, for {tmp_path} cannot be written").way_out)


def test_a_home_that_cannot_be_written(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root may write everywhere
    assert "METRION_HOME" in str(patient.found(FAIL, "cannot be written: Permission denied").way_out)


@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        (".", 0o755, WARN),
        ("control.db", 0o640, FAIL),
        ("master.key", 0o604, FAIL),
        ("journal", 0o750, WARN),
        ("usage.duckdb", 0o644, WARN),
    ],
)
def test_what_others_can_read(patient: Patient, name: str, mode: int, level: Level) -> None:
    with contextlib.closing(patient.control()) as control:
        control.set_key("openai", SECRET)
    patient.store.initialise()
    path = patient.path / name
    patient.found(OK, "for nobody else to read")
    path.chmod(mode)
    finding = patient.found(level, f"{path} is open to others ({mode:o})")
    subprocess.run(str(finding.way_out).split(), check=True)
    patient.found(OK, "for nobody else to read")


def test_what_belongs_to_somebody_else(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: patient.path.stat().st_uid + 1)
    assert "chown" in str(patient.found(WARN, f"{patient.path} belongs to another user").way_out)


@pytest.mark.parametrize(("free", "level"), [(50 << 20, FAIL), (500 << 20, WARN), (5 << 30, OK)])
def test_disk_space(patient: Patient, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = shutil.disk_usage(patient.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    patient.found(level, "disk:", "free at")
