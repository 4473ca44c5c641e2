"""Budgets over the API: they are those of the command line, and what is spent already counts."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from starlette.testclient import TestClient

from metrion.control import ControlStore
from metrion.settings import Settings
from tests.api.test_operations import items, said
from tests.credentials import PROVIDER_KEY
from tests.store.events import Home, event


@pytest.fixture
def spent(home: Settings) -> None:
    """Have the token `ci` and the label `ann` spend 1.25 USD before there is any budget."""
    made = Home(home.home)
    ControlStore.open(home).create_token("ci")
    made.initialise()
    now = datetime.now(UTC).replace(tzinfo=None)
    made.record(event(started_at=now, token_name="ci", user_label="ann", cost_usd=Decimal("1.25")))


@pytest.mark.usefixtures("spent")
def test_budgets_are_those_of_the_command_line(api: TestClient, home: Settings) -> None:
    for given in (
        {"scope": "token", "name": "ci", "usd": "20", "per": "month", "then": "warn"},
        {"scope": "token", "name": "ci", "usd": "1.00", "per": "2d", "timezone": "Europe/Berlin"},
        {"scope": "account", "name": "default", "usd": "5", "per": "30d"},
        {"scope": "user", "name": " ann ", "usd": "0.000000000001", "per": "4w"},
        {"scope": "provider", "name": "grok", "usd": "0", "per": "day"},
    ):
        made = api.put("/budgets", json=given)
        assert made.status_code == 200, made.text
        assert made.json() == items(api, "/budgets")[-1]
    listed = items(api, "/budgets")
    assert [(each["name"], each["usd"], each["spent"], each["left"]) for each in listed] == [
        ("ci", "20", "1.25", "18.75"),
        ("ci", "1", "1.25", "0"),
        ("default", "5", "1.25", "3.75"),
        ("ann", "0.000000000001", "1.25", "0"),
        ("xai", "0", "0", "0"),
    ]
    shown = said(home, "budget", "list")
    moments = [(each.pop("turns_at"), row.pop("turns_at")) for each, row in zip(listed, shown, strict=True)]
    assert listed == shown
    assert {datetime.fromisoformat(one) == datetime.fromisoformat(other) for one, other in moments} == {True}
    again = api.put("/budgets", json={"scope": "token", "name": "ci", "usd": "30", "per": "month"}).json()
    assert (again["usd"], again["then"], again["left"]) == ("30", "refuse", "28.75")
    assert len(items(api, "/budgets")) == 5


@pytest.mark.usefixtures("spent")
def test_what_was_spent_counts_for_the_monthly_budget_of_a_token_too(api: TestClient) -> None:
    assert api.patch("/tokens/ci", json={"monthly_budget_usd": "2"}).status_code == 200
    api.post("/tokens", json={"name": "new", "monthly_budget_usd": "3"})
    found = api.get("/budgets").json()
    assert [(each["name"], each["spent"]) for each in found["items"]] == [("ci", "1.25"), ("new", "0")]
    assert found["notes"] == []
    api.put("/budgets", json={"scope": "token", "name": "ci", "usd": "7", "per": "month"})
    assert api.get("/tokens/ci").json()["monthly_budget_usd"] == "7"


@pytest.mark.usefixtures("spent")
def test_a_budget_is_counted_before_anybody_asks(api: TestClient, home: Settings) -> None:
    """The dashboard's page reads the files and counts nothing."""
    from metrion.budgets.standing import standings

    api.put("/budgets", json={"scope": "user", "name": "ann", "usd": "5", "per": "day"})
    api.patch("/tokens/ci", json={"monthly_budget_usd": "2"})
    found = standings(home.budgets_dir, ControlStore.open(home).budgets(), home.timezone, datetime.now(UTC).timestamp())
    assert [each.spent for each in found] == [1_250_000_000_000] * 2


def test_a_store_that_cannot_be_read_hides_no_budget(api: TestClient, home: Settings) -> None:
    given = {"scope": "account", "name": "default", "usd": "5", "per": "day"}
    assert api.put("/budgets", json=given).status_code == 200
    home.store_path.write_bytes(b"no database" * 1000)
    found = api.get("/budgets").json()
    assert [each["usd"] for each in found["items"]] == ["5"]
    assert "could not be counted" in found["notes"][0]
    assert api.put("/budgets", json={**given, "per": "month"}).status_code == 503
    assert len(items(api, "/budgets")) == 1


def test_budgets_are_removed_by_span_or_all_and_come_in_pages(api: TestClient) -> None:
    spans = ("day", "month", "30d")
    for per in spans:
        api.put("/budgets", json={"scope": "account", "name": "default", "usd": "5", "per": per})
    first = api.get("/budgets?limit=2").json()
    rest = api.get(f"/budgets?limit=2&cursor={first['next_cursor']}").json()
    assert [each["per"] for each in first["items"] + rest["items"]] == [*spans]
    assert rest["next_cursor"] is None
    assert api.delete("/budgets?scope=account&name=default&per=day").json() == {"per": ["day"]}
    assert api.delete("/budgets?scope=account&name=default&per=day").status_code == 404
    assert api.delete("/budgets?scope=account&name=default").json() == {"per": ["month", "30d"]}
    assert items(api, "/budgets") == []
    assert [each["what"] for each in items(api, "/audit?what=budget")] == ["budget.remove"] * 2 + ["budget.set"] * 3


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"name": "nobody"}, 404),
        ({"scope": "account", "name": "nobody"}, 404),
        ({"scope": "provider", "name": "nobody"}, 409),
        ({"scope": "user", "name": "team-*"}, 409),
        ({"scope": "user", "name": "  "}, 409),
        ({"scope": "user", "name": PROVIDER_KEY}, 409),
        ({"name": PROVIDER_KEY}, 409),
        ({"usd": "9000001"}, 409),
        ({"usd": "-1"}, 422),
        ({"usd": 5}, 422),
        ({"per": "0d"}, 409),
        ({"per": "367d"}, 409),
        ({"per": "hour"}, 422),
        ({"per": "day\n"}, 422),
        ({"timezone": "Mars/Base"}, 409),
        ({"then": "shrug"}, 422),
        ({"scope": "world"}, 422),
    ],
)
def test_what_is_no_budget_is_not_set(api: TestClient, changed: dict[str, Any], status: int) -> None:
    api.post("/tokens", json={"name": "ci"})
    given: dict[str, Any] = {"scope": "token", "name": "ci", "usd": "5", "per": "day"}
    answer = api.put("/budgets", json=given | changed)
    assert answer.status_code == status, answer.text
    assert PROVIDER_KEY not in answer.text
    assert items(api, "/budgets") == []
