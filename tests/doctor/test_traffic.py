from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from metrion.control.generations import Generations
from tests.doctor.patient import NOW, WARN, Patient
from tests.store.events import event

UNPRICED: dict[str, Any] = {"cost_source": "unpriced", "cost_usd": None, "started_at": NOW}


def test_models_that_were_metered_without_a_price(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(
        event(**UNPRICED | {"model": "mine"}),
        event(**UNPRICED | {"model": "mine"}),
        event(**UNPRICED | {"model": "gpt-4o-mini"}),
        event(**UNPRICED | {"model": "gpt-4o-mini", "service_tier": "unheard-of"}),
        event(**UNPRICED | {"model": "long ago", "started_at": NOW - timedelta(days=31)}),
    )
    assert "file of your own" in str(patient.found(WARN, "openai mine was metered 2 times").way_out)
    assert "there is one now: `metrion reprice`" in str(patient.found(WARN, "openai gpt-4o-mini was").way_out)
    assert "file of your own" in str(patient.found(WARN, "openai gpt-4o-mini (unheard-of) was").way_out)
    assert not any("long ago" in finding.what for finding in patient.examine())


def test_of_very_many_models_some_are_named(patient: Patient) -> None:
    patient.store.initialise()
    patient.store.record(*(event(**UNPRICED | {"model": f"model-{number}"}) for number in range(15)))
    assert "report unpriced" in str(patient.found(WARN, "prices: 5 more models").way_out)


SILENT: dict[str, Any] = {
    "streamed": True,
    "end_reason": "complete",
    "usage_source": "none",
    "cost_source": "unknown",
    "cost_usd": None,
    "started_at": NOW,
}


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, True),
        ({"usage_source": "estimated", "cost_source": "estimated"}, True),
        ({"operation": "completions", "provider": "google"}, True),
        ({"usage_source": "reported", "cost_source": "computed"}, False),
        ({"streamed": False}, False),
        ({"end_reason": "client_abort"}, False),
        ({"cost_source": "not_billed"}, False),
        ({"operation": "responses"}, False),
        ({"started_at": NOW - timedelta(hours=25)}, False),
        ({"provider": "mistral"}, False),
        ({"provider": "xai"}, False),
        ({"provider": "gone"}, False),
    ],
)
def test_streams_that_were_not_asked_for_their_usage(patient: Patient, columns: dict[str, Any], found: bool) -> None:
    patient.configure(providers={"grok": {"include_usage": "inject"}})
    patient.store.initialise()
    patient.store.record(event(**SILENT | columns))
    findings = [each for each in patient.examine() if each.what.startswith("streams: 1 stream of ")]
    assert [each.level for each in findings] == [WARN] * found
    for each in findings:
        assert f"providers: {{{columns.get('provider', 'openai')}: {{include_usage: inject}}}}" in str(each.way_out)


@pytest.mark.parametrize(("hours", "found"), [(47, False), (49, True)])
def test_what_nobody_reads_back_has_no_cost(patient: Patient, hours: int, found: bool) -> None:
    path = patient.path / "generations.db"
    with contextlib.closing(Generations(path)) as generations:
        generations.expect("openai", "batch_1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE generations SET since = datetime('now', ?)", (f"-{hours} hours",))
    findings = [each for each in patient.examine() if each.what.startswith("not read back: 1 generation of openai's")]
    assert [each.level for each in findings] == [WARN] * found


@pytest.mark.parametrize(("rewrites", "says"), [(False, "`rewrite_result_urls: true`"), (True, "no row has the cost")])
def test_batches_of_anthropics_whose_results_nobody_read(patient: Patient, says: str, *, rewrites: bool) -> None:
    patient.configure(rewrite_result_urls=rewrites)
    path = patient.path / "generations.db"
    with contextlib.closing(Generations(path)) as generations:
        for name in ("msgbatch_1", "msgbatch_2", "msgbatch_3"):
            generations.expect("anthropic", name)
        generations.settle("anthropic", "msgbatch_3")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE generations SET since = datetime('now', '-49 hours')")
    finding = patient.found(WARN, "not read back:", "of anthropic's")
    assert "2 " in finding.what
    assert says in str(finding.way_out)
