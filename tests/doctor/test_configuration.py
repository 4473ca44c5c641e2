from __future__ import annotations

import pytest

from tests.doctor.patient import FAIL, OK, Patient


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listn: 127.0.0.1:1", ("metrion.yaml: listn: unknown key", "listen")),
        ("pricing: [nowhere.yaml]", ("nowhere.yaml",)),
        ("a: [", ("not valid YAML",)),
    ],
)
def test_a_configuration_that_cannot_be_used(patient: Patient, text: str, words: tuple[str, ...]) -> None:
    (patient.path / "metrion.yaml").write_text(text)
    assert "correct it" in str(patient.found(FAIL, *words).way_out)
    patient.found(OK, "disk:")  # it goes on with the rest


def test_every_mistake_has_its_line(patient: Patient) -> None:
    (patient.path / "metrion.yaml").write_text("listn: x\nplans: {gold: {}}\n")
    assert sum(finding.level is FAIL for finding in patient.examine()) == 2


def test_the_configuration_is_named(patient: Patient) -> None:
    patient.found(OK, f"configuration: {patient.path / 'metrion.yaml'}")
