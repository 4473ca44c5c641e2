from __future__ import annotations

import importlib.metadata

import duckdb
import pytest

from metrion.estimates import tokenizers
from tests.doctor.patient import FAIL, OK, WARN, Patient


def test_versions(patient: Patient) -> None:
    patient.found(OK, "versions: Python 3.", f"duckdb {duckdb.__version__}")


def test_a_dependency_that_is_missing(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "h11":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "scripts/start" in str(patient.found(FAIL, "versions: h11 is not installed").way_out)


@pytest.mark.parametrize(
    ("version", "fits"), [("12.2.3", True), ("12.2.11", True), ("12.3.0", False), ("12.2.2", False), ("11.9", False)]
)
def test_a_dependency_that_does_not_fit(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "mitmproxy" else real(name))
    findings = [each for each in patient.examine() if f"mitmproxy {version} does not fit" in each.what]
    assert [each.level for each in findings] == [FAIL] * (not fits)


def test_running_without_being_installed(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    patient.found(WARN, "without being installed")


@pytest.mark.parametrize(("available", "words"), [(True, "are estimated"), (False, "no tokenizer")])
def test_whether_tokens_are_estimated(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, available: bool, words: str
) -> None:
    monkeypatch.setattr(tokenizers, "is_available", lambda: available)
    assert (patient.found(OK, "estimates:", words).way_out is None) is available
