from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.credentials import PROVIDER_KEY as SECRET
from tests.doctor.patient import FAIL, OK, WARN, Patient


def test_no_token_and_no_key(patient: Patient) -> None:
    assert "metrion token create" in str(patient.found(WARN, "tokens: there is none").way_out)
    assert "metrion key set" in str(patient.found(WARN, "keys: no provider has one").way_out)
    with contextlib.closing(patient.control()) as control:
        control.create_token("a")
        control.revoke_token("a")
    patient.found(WARN, "tokens: none can be used")
    with contextlib.closing(patient.control()) as control:
        control.create_token("b")
    patient.found(OK, "tokens: 1 can be used")


@pytest.mark.parametrize("has_control_db", [False, True])
def test_where_each_key_comes_from(patient: Patient, has_control_db: bool) -> None:
    patient.environ["XAI_API_KEY"] = "xai-" + SECRET
    if has_control_db:
        with contextlib.closing(patient.control()) as control:
            control.set_key("openai", SECRET)
            control.create_account("team", "pro")
            control.set_key("openai", SECRET, "team")
        patient.found(OK, "keys: openai: ", "stored for account team")
        assert len([each for each in patient.examine() if "keys: openai: " in each.what and "stored" in each.what]) == 2
    patient.found(OK, "keys: xai: ", "from XAI_API_KEY")
    assert "metrion key set" in str(patient.found(OK, "keys: none for anthropic").way_out)
    assert not any(SECRET in f"{finding}" for finding in patient.examine())


def test_traffic_that_is_intercepted_for_nobody(patient: Patient) -> None:
    patient.configure(intercept={"account": "acme"})
    with contextlib.closing(patient.control()) as control:
        patient.found(WARN, "there is no account acme")
        control.create_account("acme", "free")
    assert not any(each.what.startswith("intercept") for each in patient.examine())


def test_a_key_of_a_provider_that_is_configured_no_more(patient: Patient) -> None:
    patient.configure(providers={"mine": {"like": "openai", "upstream": "http://localhost:1"}})
    with contextlib.closing(patient.control()) as control:
        control.set_key("mine", SECRET)
    patient.configure(providers={})
    assert "metrion key remove mine" in str(patient.found(WARN, "keys: mine: ", "no such provider").way_out)


def forget_the_master_key(home: Path) -> None:
    (home / "master.key").unlink()


def change_the_master_key(home: Path) -> None:
    (home / "master.key").write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")


def spoil_the_sealed_key(home: Path) -> None:
    with contextlib.closing(sqlite3.connect(home / "control.db")) as db:
        db.execute("UPDATE provider_keys SET box = randomblob(60)")
        db.commit()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (forget_the_master_key, "the master key is missing"),
        (change_the_master_key, "not the master key that the stored openai key"),
        (spoil_the_sealed_key, "does not open with"),
    ],
)
def test_a_stored_key_that_does_not_open(patient: Patient, harm: Callable[[Path], None], words: str) -> None:
    with contextlib.closing(patient.control()) as control:
        control.set_key("openai", SECRET)
    harm(patient.path)
    patient.found(FAIL, words)


def test_a_control_database_that_is_none(patient: Patient) -> None:
    (patient.path / "control.db").write_bytes(b"garbage" * 1000)
    patient.found(FAIL, "control.db", "not an SQLite database")


def test_a_control_database_that_is_damaged(patient: Patient) -> None:
    with contextlib.closing(patient.control()) as control:
        for _ in range(300):
            control.create_token()
    with contextlib.closing(sqlite3.connect(patient.path / "control.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (patient.path / "control.db").open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4 * 4096)
    finding = next(each for each in patient.examine() if "control.db" in each.what and each.level is FAIL)
    assert "backup" in finding.what + str(finding.way_out)


def test_a_control_database_of_a_newer_version(patient: Patient) -> None:
    patient.control().close()
    with contextlib.closing(sqlite3.connect(patient.path / "control.db")) as db:
        db.execute("PRAGMA user_version = 99")
    patient.found(FAIL, "made by a newer version")
