from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.patient import Patient


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    patient = Patient(tmp_path / "home")
    patient.make()
    return patient
