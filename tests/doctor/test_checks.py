"""The whole examination. What each check finds is in the tests of its module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrion.doctor import Finding, checks
from tests.credentials import PROVIDER_KEY as SECRET
from tests.doctor.patient import FAIL, OK, Patient
from tests.store.events import event


def test_a_home_that_is_not_there_is_fine_and_stays_away(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "home")
    patient.found(OK, "home:", "not there yet")
    patient.found(OK, "journal: nothing was metered yet")
    patient.found(OK, "store:", "not there yet")
    patient.found(OK, "configuration: none")
    assert not any(finding.level is FAIL for finding in patient.examine())
    assert not patient.path.exists()


def test_a_home_where_all_is_well(patient: Patient) -> None:
    with contextlib.closing(patient.control()) as control:
        control.create_token()
        control.set_key("openai", SECRET)
    patient.store.initialise()
    patient.store.record(event())
    patient.store.ingest()
    findings = patient.examine()
    # No proxy is there.
    assert [finding.what.partition(":")[0] for finding in findings if finding.level is not OK] == ["proxy"]
    assert not any(SECRET in f"{finding}" for finding in findings)


def test_a_check_that_breaks_hides_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def _a_broken_one(_: object) -> Iterator[Finding]:
        raise LookupError("surprise")

    monkeypatch.setattr(checks, "CHECKS", (_a_broken_one, *checks.CHECKS))
    patient.found(FAIL, "a broken one: cannot be checked: LookupError: surprise")
    patient.found(OK, "disk:")
