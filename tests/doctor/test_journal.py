from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from tests.doctor.patient import OK, WARN, Patient
from tests.store.events import event


def age(path: Path, seconds: float) -> None:
    moment = datetime.now(UTC).timestamp() - seconds
    os.utime(path, (moment, moment))


def test_a_backlog(patient: Patient) -> None:
    patient.store.initialise()
    patient.found(OK, "journal: everything is in the store")
    patient.store.record(event())
    patient.found(OK, "journal: 1 segments wait")
    (segment,) = patient.store.segments
    age(patient.store.journal_dir / segment, 300)
    assert "metrion serve" in str(patient.found(WARN, "journal: 1 segments wait", "the oldest for 5 min").way_out)


def test_a_torn_line(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(event(), event())
    (segment,) = patient.store.segments
    path = patient.store.journal_dir / segment
    path.write_bytes(path.read_bytes()[:-20])
    age(path, -60)  # however long the checks before take
    assert not any("within a line" in each.what for each in patient.examine())  # it may be written just now
    age(path, 10)
    patient.found(WARN, "1 segments end within a line")


def test_lines_that_were_set_aside(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(event())
    (segment,) = patient.store.segments
    with (patient.store.journal_dir / segment).open("ab") as file:
        file.write(b'{"event_id": "no id", "writer": "w", "seq": 2}\n')
    patient.store.ingest()
    patient.found(WARN, "1 files with lines that cannot be read", "set-aside")
