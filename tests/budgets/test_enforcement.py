"""What one process does about budgets: what it holds, what it refuses and how, what it counts."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.budgets.figures import TYPICAL_OUTPUT
from metrion.model import Forward, Refusal
from tests.budgets.homes import Home, Process, budget, home

TYPICAL = Decimal(101 + TYPICAL_OUTPUT * 10) / 1_000_000
"""What a request of 400 bytes is taken for that nobody has made before."""


def admitted(found: Forward | Refusal) -> Forward:
    assert isinstance(found, Forward), found.message
    return found


def refused(found: Forward | Refusal) -> Refusal:
    assert isinstance(found, Refusal)
    return found


def test_without_history_a_typical_answer_is_held_and_with_it_what_such_requests_cost(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        first = admitted(process.admit(most_output=64_000))
        assert place.state() == (0, TYPICAL), "and not the 64,000 tokens that it asks for"
        process.end(first, "0.0002")
        assert place.state() == (Decimal("0.0002"), 0)
        second = admitted(process.admit(most_output=64_000))
        assert place.state() == (Decimal("0.0002"), Decimal("0.0002"))
        process.end(second, "0.5")
        assert place.state() == (Decimal("0.5002"), 0)


@pytest.mark.parametrize(
    ("most_output", "held"),
    [(None, "0.05"), (64_000, "0.05"), (1_000, "0.04"), (100, "0.031"), (0, "0.03")],
)
def test_what_is_held_has_no_more_output_in_it_than_the_request_asks_for(
    most_output: int | None, held: str, tmp_path: Path
) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        parts = {"cache_read": Decimal("0.03"), "output": Decimal("0.02")}
        process.end(admitted(process.admit()), "0.05", cost_parts=parts)
        process.admit(most_output=most_output)
        assert place.state() == (Decimal("0.05"), Decimal(held))


def test_a_high_percentile_of_the_last_costs_is_held(tmp_path: Path) -> None:
    place = home(tmp_path, budget("100000"))
    with place.process() as process:
        for cost in [*range(1, 100), *([1] * 61), 2, 2, 3]:
            process.end(admitted(process.admit()), str(cost))
        spent, _ = place.state()
        process.admit()
        assert place.state() == (spent, 1), "of the last 64, three cost more than 1"
        process.end(None, "50")
        process.end(None, "60")
        process.admit()
        assert place.state()[1] == 1 + 2, "and now five do"


def test_a_budget_that_has_no_room_refuses_and_says_which_it_is_and_when_it_turns(tmp_path: Path) -> None:
    place = home(tmp_path, budget("0.01", timezone="Europe/Berlin"))
    with place.process() as process:
        process.end(admitted(process.admit()), "0.009")
        found = refused(process.admit())
        assert (found.status, found.code, found.provider) == (429, "budget", "openai")
        assert found.kind.lasting
        turn = datetime(2026, 11, 30, 23, tzinfo=UTC)
        assert dict(found.headers) == {b"retry-after": str(int((turn - place.now).total_seconds())).encode()}
        assert "the token ci, 0.01 USD a month" in found.message
        assert "0.009 USD are spent" in found.message
        assert "2026-12-01 at 00:00 (Europe/Berlin)" in found.message
        place.now = turn
        assert isinstance(process.admit(), Forward)
        assert place.state() == (0, Decimal("0.009"))


def test_three_calls_do_not_pass_a_budget_of_a_hundred_thousandth(tmp_path: Path) -> None:
    place = home(tmp_path, budget("0.00001"))
    with place.process() as process:
        assert [refused(process.admit()).code for _ in range(3)] == ["budget"] * 3
    assert place.state() == (0, 0)


@pytest.mark.parametrize(
    ("columns", "cost", "counts"),
    [
        pytest.param({}, "0.25", "0.25", id="a known cost"),
        pytest.param({"cost_source": "not_billed", "end_reason": "refused"}, "0", "0", id="refused"),
        pytest.param({"cost_source": "subscription", "computed_cost_usd": Decimal(9)}, "0", "0", id="of a plan"),
        pytest.param({}, None, str(TYPICAL), id="unknown: what was held"),
        pytest.param({"cost_at_least_usd": Decimal("0.7")}, None, "0.7", id="unknown, but more than what was held"),
        pytest.param({"cost_at_least_usd": Decimal("0.0001")}, None, str(TYPICAL), id="unknown, and less"),
    ],
)
def test_what_an_event_counts(columns: dict[str, object], cost: str | None, counts: str, tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        process.end(admitted(process.admit()), cost, **columns)
        assert place.state() == (Decimal(counts), 0)
    place.count()
    assert place.state() == (Decimal(counts), 0), "the journal says the same"
    place.ingest()
    place.count()
    assert place.state() == (Decimal(counts), 0), "and so does the store"


def test_a_request_counts_for_each_of_its_budgets_and_for_no_other(tmp_path: Path) -> None:
    names = {"token": "ci", "account": "default", "user": "日本", "provider": "openai"}
    mine = [budget("1", number, scope, name) for number, (scope, name) in enumerate(names.items(), 1)]
    others = [budget("1", number, scope, "other") for number, scope in enumerate(names, 5)]
    place = home(tmp_path, *mine, *others)
    with place.process() as process:
        process.end(None, "0.25", user_label="日本")
    assert [place.state(number)[0] for number in range(1, 9)] == [Decimal("0.25")] * 4 + [0] * 4


def test_a_flat_rate_plan_is_bound_by_no_budget(tmp_path: Path) -> None:
    place = home(tmp_path, budget("0"))
    with place.process() as process:
        assert admitted(process.admit(in_plan=True)).reservation is None


def test_a_model_without_a_price_is_refused_by_name_unless_the_token_takes_it(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as process:
        found = refused(process.admit("new-model"))
        assert (found.status, found.code) == (403, "not_allowed")
        assert "new-model" in found.message
        assert "--unpriced allow" in found.message
        admitted(process.admit("new-model", takes_unpriced=True))
        place.budgets = [replace(budget("1"), then="warn")]
        admitted(process.admit("new-model"))


def test_one_that_warns_says_so_on_the_answer_and_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = home(tmp_path, budget("0.001", name="ci", then="warn"))
    with caplog.at_level(logging.WARNING), place.process() as process:
        for _ in range(3):
            found = admitted(process.admit())
            ((name, value),) = found.adds
            assert name == b"x-metrion-budget-warning"
            assert b"the token ci, 0.001 USD a month" in value
            process.end(found, "0.002")
    assert caplog.text.count("has no room left") == 1


def test_a_budget_that_cannot_be_counted_refuses_until_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = home(tmp_path, budget("1"))
    folder = place.settings.budgets_dir
    with place.process() as process:
        shutil.rmtree(folder)
        folder.write_text("in the way")
        found = refused(process.admit())
        assert (found.code, dict(found.headers)[b"retry-after"]) == ("budget", b"5")
        assert "not known" in found.message
        place.budgets = [budget("1", then="warn")]
        assert admitted(process.admit()).reservation is not None
        process.end(None, "0.5")
        folder.unlink()
        place.budgets = [budget("1")]
        assert refused(process.admit()).code == "budget", "it asks for a count"
        assert (folder / "recount").exists()
        place.count()
        assert not (folder / "recount").exists()
        admitted(process.admit())
        assert place.state() == (Decimal("0.5"), Decimal("0.5"))
    assert caplog.text.count("Budgets cannot be counted") == 1


def test_a_price_that_changes_while_a_request_is_under_way_changes_what_it_costs_and_not_what_it_holds(
    tmp_path: Path,
) -> None:
    place = home(tmp_path, budget("1"))
    with place.process() as before:
        under_way = admitted(before.admit())
        (place.settings.home / "prices.yaml").write_text("openai:\n  priced:\n    input: 100\n    output: 1000\n")
        with place.process() as after:
            admitted(after.admit())
            assert place.state() == (0, TYPICAL * 101)
            before.end(under_way, "0.3")
            assert place.state() == (Decimal("0.3"), TYPICAL * 100)


def test_several_budgets_at_once(tmp_path: Path) -> None:
    place = home(tmp_path, budget("1"), budget("0.02", 2, per="day"), budget("5", 3, per="30d"))
    with place.process() as process:
        process.end(admitted(process.admit()), "0.018")
        assert "a day" in refused(process.admit()).message
        place.pass_time(days=1)
        process.end(admitted(process.admit()), "0.01")
        assert [place.state(number)[0] for number in (1, 2, 3)] == [Decimal("0.028"), Decimal("0.01"), Decimal("0.028")]
        place.pass_time(days=29, minutes=30)
        place.count()
        assert [place.state(number)[0] for number in (1, 2, 3)] == [0, 0, Decimal("0.01")]


def test_a_span_that_moves_says_when_there_is_room_again(tmp_path: Path) -> None:
    place = home(tmp_path, budget("0.01", per="24h"))
    with place.process() as process:
        process.end(admitted(process.admit()), "0.009")
        place.count()
        found = refused(process.admit())
        wait = int(dict(found.headers)[b"retry-after"])
        assert timedelta(hours=24) <= timedelta(seconds=wait) <= timedelta(hours=24, minutes=15)
        place.pass_time(seconds=wait)
        place.count()
        admitted(process.admit())


def run_of_agents(process: Process, *, at_once: int, cost: str) -> int:
    """How many of 100 agents that ask for 64,000 tokens get through, so many at once."""
    passed = 0
    for _ in range(0, 100, at_once):
        found = [each for _ in range(at_once) if isinstance(each := process.admit(most_output=64_000), Forward)]
        passed += len(found)
        for each in found:
            process.end(each, cost)
    return passed


@pytest.mark.parametrize("at_once", [1, 10, 100])
def test_agents_who_ask_for_much_and_use_little_get_through(at_once: int, tmp_path: Path) -> None:
    place: Home = home(tmp_path, budget("0.3"))
    with place.process() as process:
        run_of_agents(process, at_once=10, cost="0.001")
        assert run_of_agents(process, at_once=at_once, cost="0.001") >= 90
    place.ingest()
    place.count()
    with place.process() as after_a_restart:
        assert run_of_agents(after_a_restart, at_once=at_once, cost="0.001") >= 90
