from __future__ import annotations

import json
from datetime import timedelta

from metrion.control import record_mistake
from metrion.settings import load_settings
from tests.doctor.patient import NOW, WARN, Patient


def test_the_last_mistaken_address(patient: Patient) -> None:
    assert not any(each.what.startswith("addresses") for each in patient.examine())
    record_mistake(load_settings(None, patient.environ), "POST", "/antropic/v1/messages")
    found = patient.found(WARN, "addresses:", "POST /antropic/v1/messages")
    assert "base URL" in str(found.way_out)


def test_what_is_long_ago_is_no_news(patient: Patient) -> None:
    long_ago = (NOW - timedelta(days=2)).isoformat()
    kept = {"at": long_ago, "method": "GET", "path": "/nope"}
    (patient.path / "last-mistake.json").write_text(json.dumps(kept))
    assert not any(each.what.startswith("addresses") for each in patient.examine())
