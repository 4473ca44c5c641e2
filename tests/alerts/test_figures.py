from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion.alerts.figures import Journal, budget, figures, leaders, silence
from metrion.alerts.measures import ELSEWHERE, MEASURES
from metrion.budgets.standing import Standing
from metrion.control.alert_records import AlertRule
from metrion.model import Budget, picodollars
from tests.alerts.rules import NOW, rule, terms
from tests.store.events import Home, event

NAIVE = NOW.replace(tzinfo=None)


@pytest.fixture(params=["ingested", "in the journal"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.initialise()
    ago = timedelta
    rows: list[dict[str, Any]] = [
        {"started_at": NAIVE - ago(minutes=5), "cost_usd": Decimal(6), "user_label": "ann", "latency_ms": 100.0},
        {"started_at": NAIVE - ago(minutes=50), "cost_usd": Decimal(2), "user_label": "bob's", "latency_ms": 100.0},
        {"started_at": NAIVE - ago(days=1), "cost_usd": Decimal(1), "provider": "xai", "latency_ms": 4000.0},
        {"started_at": NAIVE - ago(days=20), "cost_usd": Decimal(50)},
        {"started_at": NAIVE - ago(minutes=9), "cost_usd": None, "cost_source": "unpriced", "model": "new-model",
         "policy": {"plan": "alias: x", "model_not_allowed": "new-model"}},
        {"started_at": NAIVE - ago(minutes=8), "cost_usd": None, "cost_source": "unknown",
         "cost_at_least_usd": Decimal("0.25")},
        {"started_at": NAIVE - ago(minutes=4), "status": 500, "error_type": "server_error", "cost_usd": Decimal(0),
         "cost_source": "not_billed"},
    ]  # fmt: skip
    home.record(*(event(**({"end_reason": "complete"} | row)) for row in rows))
    if request.param == "ingested":
        home.ingest()
    return home


def ask(home: Home, *rules: AlertRule) -> list[Any]:
    numbered = [replace(each, id=number) for number, each in enumerate(rules, 1)]
    found = figures(numbered, NOW, UTC, home.values)
    return [found[each.id] for each in numbered]


def test_figures_of_many_rules_in_one_query(home: Home) -> None:
    values = {
        ("spend", "month"): 9,
        ("spend", "day"): 8,
        ("spend", "rule"): 59,
        ("spend", "2w"): 9,
        ("spend-rate", "10m"): Decimal("0.6"),
        ("errors", "1h"): 20,
        ("requests", "day"): 5,
        ("unpriced", "day"): 1,
        ("model-not-allowed", "day"): 1,
        ("model-not-allowed", "5m"): 0,
    }
    found = ask(home, *(rule(measure, "1", span) for measure, span in values))
    assert {key: figure.value for key, figure in zip(values, found, strict=True)} == values


@pytest.mark.parametrize(
    ("filters", "value"),
    [
        ({"user": "ann"}, 6),
        ({"user": "bob's"}, 2),
        ({"user": "'; DROP TABLE rollups; --"}, 0),
        ({"provider": "xai"}, 1),
        ({"token": "laptop", "account": "default"}, 9),
        ({"token": "laptop", "user": "ann"}, 6),
        ({"account": "other"}, 0),
    ],
)
def test_a_rule_counts_only_what_it_is_by(home: Home, filters: dict[str, str], value: int) -> None:
    (found,) = ask(home, rule(terms=terms("spend", "1", "month", **filters)))
    assert found.value == value


def test_what_has_no_known_cost_is_beside_the_sum(home: Home) -> None:
    spend, errors = ask(home, rule(), rule("errors", "10", "1h"))
    assert (spend.without_cost, spend.at_least) == (2, Decimal("0.25"))
    assert (errors.without_cost, errors.at_least, errors.of) == (0, None, 5)


def test_nothing_is_no_share_and_no_percentile(home: Home) -> None:
    errors, latency = ask(home, rule("errors", "10", "1m"), rule("latency", "10", "15m", created_at=NOW))
    assert (errors.value, errors.of) == (None, 0)
    assert latency.since == NOW - timedelta(minutes=15)
    none = ask(home, rule(terms=terms("latency", "10", "day", user="nobody")))[0]
    assert (none.value, none.of) == (None, 0)


def test_a_percentile_is_at_most_a_step_above(home: Home) -> None:
    fast, slow = ask(home, rule("latency", "10", "1h"), rule("latency", "10", "2d"))
    assert 100 <= fast.value <= 105
    assert fast.of == 2
    assert 4000 <= slow.value <= 4200


def test_who_leads(home: Home) -> None:
    (figure,) = ask(home, rule())
    assert [(each.names, int(each.value)) for each in leaders(rule(), figure, home.values)] == [
        ((("user", "ann"), ("token", "laptop")), 6),
        ((("user", "bob's"), ("token", "laptop")), 2),
        ((("token", "laptop"),), 1),
    ]
    errors = rule("errors", "10", "1h")
    assert [each.names for each in leaders(errors, ask(home, errors)[0], home.values)] == [
        (("provider", "openai"), ("status", "500"), ("error", "server_error"))
    ]


def test_which_model_answered_that_is_not_allowed_and_to_whom(home: Home) -> None:
    watched = rule(terms=terms("model-not-allowed", "1", "day", token="laptop"))
    (figure,) = ask(home, watched)
    assert [(each.names, int(each.value)) for each in leaders(watched, figure, home.values)] == [
        ((("token", "laptop"), ("model", "new-model")), 1)
    ]
    assert ask(home, rule(terms=terms("model-not-allowed", "1", "day", token="other")))[0].value == 0


@pytest.mark.parametrize("measure", [name for name in MEASURES if name not in ELSEWHERE])
def test_every_measure_has_a_figure_and_leaders(home: Home, measure: str) -> None:
    watched = rule(measure, "1", "1d")
    (figure,) = ask(home, watched)
    assert figure.value is not None
    leaders(watched, figure, home.values)


def test_silence_is_since_the_last_row_of_the_store(tmp_path: Path) -> None:
    home, quiet = Home(tmp_path), rule("silence", "1", "rule", created_at=NOW - timedelta(days=9))
    home.initialise()
    nothing = silence(quiet, NOW, home.values, Journal(0, None))
    assert nothing.value == 9
    assert nothing.last is None
    home.record(event(started_at=NAIVE - timedelta(days=3)))
    assert silence(quiet, NOW, home.values, Journal(1, None)).value == 9  # in the journal, which nobody ingests
    home.ingest()
    assert silence(quiet, NOW, home.values, Journal(0, None)).value == 3
    other = rule(terms=terms("silence", "1", "rule", user="ann"), created_at=NOW - timedelta(days=5))
    assert silence(other, NOW, home.values, Journal(0, None)).value == 5


@pytest.mark.parametrize(("written", "days"), [(NOW - timedelta(days=2), 2), (None, 40), (NOW + timedelta(days=1), 0)])
def test_silence_without_a_store_that_can_be_read(written: datetime | None, days: int) -> None:
    assert silence(rule("silence", "1", "rule"), NOW, None, Journal(3, written)).value == days


def stands(usd: str, spent: str | None, per: str = "month", **more: Any) -> Standing:
    own = Budget(1, more.pop("scope", "token"), more.pop("name", "ci"), picodollars(Decimal(usd)), per, **more)
    return Standing(own, None if spent is None else picodollars(Decimal(spent)), 0, None)


@pytest.mark.parametrize(
    ("standing", "value", "since"),
    [
        (stands("20", "18.5"), "92.5", "2026-11-01T00:00"),
        (stands("3", "2.999999999999"), "99.9999", "2026-11-01T00:00"),
        (stands("3", "3"), "100", "2026-11-01T00:00"),
        (stands("2", "5", then="warn"), "250", "2026-11-01T00:00"),
        (stands("2", "1", timezone="Europe/Berlin"), "50", "2026-10-31T23:00"),
        (stands("2", "0"), "0", "2026-11-01T00:00"),
        (stands("2", None), None, None),
        (stands("0", "0"), None, None),
        (stands("2", "1", "day"), None, None),
        (stands("2", "1", name="other"), None, None),
        (stands("2", "1", scope="user"), None, None),
    ],
)
def test_the_share_of_a_budget_that_is_spent(standing: Standing, value: str | None, since: str | None) -> None:
    found = budget(rule(terms=terms("budget", "100", "month", token="ci")), [standing], NOW, "UTC")
    if value is None or since is None:
        assert found is None
    else:
        assert found is not None
        assert (found.value, found.since) == (Decimal(value), datetime.fromisoformat(since).replace(tzinfo=UTC))
