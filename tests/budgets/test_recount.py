"""Counts over the events: what is spent is what they say, after kills, repricing, and what is told later."""

from __future__ import annotations

import os
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from metrion.admission.budgets import Budgets
from metrion.budgets import ledger
from metrion.budgets.figures import SEEDS
from metrion.budgets.ledger import Bound, Ledger
from metrion.budgets.recount import LOCK, recount, tidy
from metrion.errors import StoreError
from metrion.model import Forward
from metrion.store import locks
from tests.budgets.homes import Process, budget, home


def test_a_count_between_an_event_and_its_settling_counts_it_once(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        process.end(None, "0.1")
        under_way = process.admit()
        assert isinstance(under_way, Forward)
        number = process.journal.append(event := place.event("0.2"))
        place.count()
        spent, held = place.state()
        assert (spent, held > 0) == (Decimal("0.3"), True)
        process.enforcement.count(event, number, Budgets(place.budgets), under_way, is_last=True)
        assert place.state() == (Decimal("0.3"), 0)
        process.end(None, "0.4")
        assert place.state() == (Decimal("0.7"), 0)
        place.count()
        assert place.state() == (Decimal("0.7"), 0)


def died(process: Process) -> None:
    """End the lock by which others see that a process lives, as its death does."""
    ledger_of_it = process.enforcement._ledger
    assert ledger_of_it._alive is not None
    os.close(ledger_of_it._alive)
    ledger_of_it._alive = None


def test_what_a_dead_process_held_is_let_go_of_and_what_it_wrote_counts(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as dead, place.process() as alive:
        assert isinstance(dead.admit(), Forward)
        assert isinstance(alive.admit(), Forward)
        _, both = place.state()
        dead.journal.append(place.event("0.5"))  # it is killed before it counts it
        died(dead)
        place.count()
        assert place.state() == (Decimal("0.5"), both / 2)
        tidy(place.settings.budgets_dir, place.budgets)
        assert ledger.the_dead(place.settings.budgets_dir) == []
        alive.end(None, "0.1")
        assert place.state()[0] == Decimal("0.6")


def test_ingesting_between_counts_changes_nothing(tmp_path: Path) -> None:
    place = home(tmp_path, budget("10"), budget("10", 2, "account", "default", "day"))
    for spent in range(1, 4):
        with place.process() as process:
            process.end(None, "0.5")
            process.end(None, "0.5", token_name="other", account="other")
        place.count()
        place.ingest()
        place.count()
        assert [place.state(number) for number in (1, 2)] == [(Decimal(spent) / 2, 0)] * 2


def test_repricing_counts(tmp_path: Path) -> None:
    place = home(tmp_path, budget("10"))
    with place.process() as process:
        process.end(None, "0.5")
    place.ingest()
    with duckdb.connect(str(place.settings.store_path)) as store:
        store.execute("UPDATE ingested SET cost_usd = 2")
        store.execute("UPDATE rollups SET cost_usd = 2")
    place.count()
    assert place.state() == (2, 0)


def test_a_batch_counts_when_its_results_come_and_what_was_held_for_a_background_answer_no_longer(
    tmp_path: Path,
) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        under_way = process.admit()
        assert isinstance(under_way, Forward)
        process.end(under_way, None, generation_id="resp_1", operation="responses")
        held, _ = place.state()
        assert held is not None
        assert held > 0, "until somebody says what it cost"
        process.end(None, "0.25", generation_id="resp_1", method="GET", path="/v1/responses/resp_1")
        assert (place.settings.budgets_dir / ledger.RECOUNT).exists()
    place.ingest()
    place.count()
    assert place.state() == (Decimal("0.25"), 0)


def test_an_event_that_no_disk_takes_yet_is_not_forgotten(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with closing(Ledger(place.settings.budgets_dir, 77)) as other:
        other.settle([Bound(place.budgets[0], 1_793_491_200)], 10**11, 4)
        place.count()
        assert place.state() == (Decimal("0.1"), 0)


def test_a_count_waits_for_no_other_and_says_so(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with locks.alone(place.settings.budgets_dir / LOCK):
        assert not recount(place.settings, place.budgets)


def test_a_store_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        process.end(None, "0.5")
    place.settings.store_path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="cannot be read"):
        place.count()
    assert place.state() == (Decimal("0.5"), 0)


def test_without_a_store_there_is_the_journal(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    place.settings.store_path.unlink()
    with place.process() as process:
        process.end(None, "0.5")
        place.count()
    assert place.state() == (Decimal("0.5"), 0)


def test_files_of_budgets_that_are_none_any_more_go_when_they_are_old(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"), budget("1", 2, per="day"))
    folder = place.settings.budgets_dir
    tidy(folder, place.budgets[:1])
    assert (folder / "2").exists(), "one that is just being made is not known yet"
    os.utime(folder / "2", (0, 0))
    os.utime(folder / "1", (0, 0))
    tidy(folder, place.budgets[:1])
    assert sorted(path.name for path in folder.iterdir() if path.name.isdecimal()) == ["1"]
    assert (folder / SEEDS).exists()
