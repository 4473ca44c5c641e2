"""What each operation does, and that it is what the command line does."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from metrion.admission.budgets import SCOPES
from metrion.alerts import MEASURES
from metrion.api.budgets import Scope, Then
from metrion.api.metered import Question
from metrion.api.operations import OPERATIONS
from metrion.api.rules import Measure
from metrion.api.tokens import Terms
from metrion.cli import commands
from metrion.control import ControlStore
from metrion.control.budgets import THENS
from metrion.control.terms import MEMBERS
from metrion.reports import QUESTIONS
from metrion.settings import Settings
from tests.credentials import PROVIDER_KEY as KEY

HOOK = "https://hooks.example.com/T0/s3cret"


def said(settings: Settings, *arguments: str) -> Any:
    """What a command prints as JSON."""
    environment = {"METRION_HOME": str(settings.home)}
    result = CliRunner().invoke(commands, [*arguments, "--format", "json"], env=environment)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def items(api: TestClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(path).json()["items"]
    return found


def test_an_account_from_its_making_to_its_end(api: TestClient, home: Settings) -> None:
    made = api.post("/accounts", json={"name": "team", "plan": "free"})
    assert (made.status_code, made.json()["plan"]) == (201, "free")
    assert api.post("/accounts", json={"name": "team"}).status_code == 409
    assert api.patch("/accounts/team", json={"plan": "pro"}).json()["plan"] == "pro"
    assert api.get("/accounts/team").json() == items(api, "/accounts")[1]
    assert {each["name"] for each in items(api, "/accounts")} == {
        each["name"] for each in said(home, "account", "list")
    }
    api.put("/keys/team/openai", json={"key": KEY})
    api.post("/tokens", json={"name": "ci", "account": "team"})
    assert "has the token ci" in api.delete("/accounts/team").json()["detail"]
    api.delete("/tokens/ci")
    assert api.delete("/accounts/team").json() == {"keys": ["openai"]}
    for answer in (
        api.get("/accounts/team"),
        api.patch("/accounts/team", json={"plan": "pro"}),
        api.delete("/accounts/x"),
    ):
        assert answer.status_code == 404
    assert api.delete("/accounts/default").status_code == 409


TERMS = {
    "requests_per_minute": 5,
    "requests_per_month": 0,
    "monthly_budget_usd": "49.990000000001",
    "timeout": 2.5,
    "expires_at": "2999-01-31T00:00:00Z",
    "user_label": "Ann 安",
    "tags": {"team": "search"},
    "label_fixed": True,
    "allowed_labels": ["team-*", "ops"],
    "key": "batch",
    "allowed_providers": ["anthropic", "openai"],
    "allowed_models": ["claude-*"],
    "allowed_operations": ["chat", "messages"],
    "allowed_networks": ["10.0.0.0/8", "2001:db8::1/128"],
    "takes_unpriced": True,
}


def test_a_token_with_all_its_terms_is_what_the_command_line_shows(api: TestClient, home: Settings) -> None:
    assert api.put("/keys/default/openai?name=batch", json={"key": KEY}).status_code == 204
    made = api.post("/tokens", json={"name": "ci", **TERMS})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["secret"]
    shown = api.get("/tokens/ci").json()
    assert {name: shown[name] for name in TERMS} == TERMS
    (listed,) = said(home, "token", "list")
    assert {name: listed[name] for name in TERMS if name in listed} == {
        name: value for name, value in TERMS.items() if name in listed
    }
    assert secret not in json.dumps([shown, items(api, "/tokens"), listed])
    access = ControlStore.open(home).access_snapshot().find_token(secret)
    assert access is not None
    assert (access.name, access.monthly_budget_usd) == ("ci", Decimal("49.990000000001"))
    again = api.post("/tokens/ci/rotate", json={"keep_until": "2998-01-01T00:00:00Z"}).json()["secret"]
    now = ControlStore.open(home).access_snapshot()
    assert [token.rotated for token in (now.find_token(secret), now.find_token(again)) if token] == [True, False]


@pytest.mark.parametrize("name", TERMS)
def test_a_change_of_one_term_leaves_the_others(api: TestClient, name: str) -> None:
    api.put("/keys/default/openai?name=batch", json={"key": KEY})
    api.post("/tokens", json={"name": "ci", **TERMS})
    empty: object = (
        [] if name.startswith("allowed") else {"tags": {}, "label_fixed": False, "takes_unpriced": False}.get(name)
    )
    changed = api.patch("/tokens/ci", json={name: empty}).json()
    assert {each: changed[each] for each in TERMS} == {**TERMS, name: empty}
    assert api.patch("/tokens/ci", json={}).json() == changed


def test_every_term_is_known_to_what_changes_it() -> None:
    assert MEMBERS.keys() == Terms.model_fields.keys()
    assert {"account", *TERMS} == set(Terms.model_fields)


@pytest.mark.parametrize(
    "body",
    [
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"user_label": "a\x00b"},
        {"user_label": "sk-proj-0123456789abcdefghij"},
        {"allowed_labels": ["\u202eabc"]},
        {"allowed_providers": ["acme"]},
        {"allowed_operations": ["everything"]},
        {"allowed_networks": ["10.0.0.1/8"]},
        {"allowed_networks": ["999.0.0.1"]},
    ],
)
def test_a_value_that_cannot_be_used_makes_nothing(api: TestClient, body: dict[str, object]) -> None:
    assert api.post("/tokens", json=body).status_code == 409
    assert items(api, "/tokens") == []
    assert [each["what"] for each in items(api, "/audit")] == ["admin.create"]


def test_tokens_are_filtered_and_a_revoked_name_may_be_used_again(api: TestClient) -> None:
    api.post("/accounts", json={"name": "team"})
    for name, account in (("a", "default"), ("b", "team"), ("c", "team")):
        api.post("/tokens", json={"name": name, "account": account})
    assert api.delete("/tokens/b").status_code == 204
    assert api.delete("/tokens/b").status_code == 404
    assert api.get("/tokens/b").json()["state"] == "revoked"
    assert [each["name"] for each in items(api, "/tokens?account=team&state=active")] == ["c"]
    assert [each["name"] for each in items(api, "/tokens?state=revoked")] == ["b"]
    api.post("/tokens", json={"name": "b"})
    assert api.get("/tokens/b").json()["state"] == "active"
    assert api.get("/tokens/nobody").status_code == 404


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_pages_have_every_item_once_while_others_come_and_go(api: TestClient, limit: int) -> None:
    names = {f"t{number}" for number in range(8)}
    for name in names:
        api.post("/tokens", json={"name": name})
    seen: list[str] = []
    cursor = None
    while True:
        page = api.get("/tokens", params={"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
        seen += [each["name"] for each in page["items"]]
        assert len(page["items"]) <= limit
        api.delete(f"/tokens/{seen[0]}")
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(seen) == sorted(names)


def test_keys_are_stored_and_never_read_back(api: TestClient, home: Settings) -> None:
    for place in ("default/openai", "*/mistral", "default/gemini"):
        assert api.put(f"/keys/{place}", json={"key": KEY}).status_code == 204
    listed = items(api, "/keys")
    assert [(each["account"], each["provider"]) for each in listed] == [
        ("*", "mistral"),
        ("default", "google"),
        ("default", "openai"),
    ]
    assert KEY not in json.dumps(listed)
    assert [each["key"] for each in listed] == [each["key"] for each in said(home, "key", "list")]
    assert api.post("/master-key/rotate").json() == {"secrets": 3, "resumed": False}
    assert set(ControlStore.open(home).access_snapshot().provider_keys.values()) == {KEY}
    assert api.delete("/keys/*/mistral").status_code == 204
    assert api.delete("/keys/*/mistral").status_code == 404
    assert api.delete("/keys/default/gemini").status_code == 204
    for place, key in (
        ("nobody/openai", KEY),
        ("default/acme", KEY),
        ("default/xai", "two words"),
        ("default/xai", "sk-mta-x"),
    ):
        assert api.put(f"/keys/{place}", json={"key": key}).status_code in (404, 409)
    assert len(items(api, "/keys")) == 1


def test_a_key_is_replaced_and_brought_back(api: TestClient, home: Settings) -> None:
    later = "2999-01-01T00:00:00Z"
    new = KEY[::-1]
    place = "/keys/default/openai"
    assert api.post(f"{place}/rotate", json={"key": new, "keep_until": later}).status_code == 404
    api.put(place, json={"key": KEY})
    assert api.post(f"{place}/rotate", json={"key": new, "keep_until": "2001-01-01T00:00:00Z"}).status_code == 409
    assert api.post(f"{place}/rotate", json={"key": new, "keep_until": later}).status_code == 204
    assert set(ControlStore.open(home).access_snapshot().provider_keys.values()) == {new}
    assert sorted((each["former"], each["ends_at"]) for each in items(api, "/keys")) == [(False, None), (True, later)]
    assert api.post(f"{place}/bring-back").status_code == 204
    assert set(ControlStore.open(home).access_snapshot().provider_keys.values()) == {KEY}
    assert api.delete(f"{place}?former=true").status_code == 204
    assert [each["former"] for each in items(api, "/keys")] == [False]
    assert api.post(f"{place}/bring-back").status_code == 404


def test_admins_are_made_listed_and_revoked(api: TestClient, home: Settings) -> None:
    secret = api.post("/admins", json={"name": "grafana", "scope": "read"}).json()["secret"]
    found = ControlStore.open(home).find_admin(secret)
    assert found is not None
    assert (found.name, found.scope) == ("grafana", "read")
    assert [(each["name"], each["scope"]) for each in items(api, "/admins")] == [
        ("admin-1", "write"),
        ("grafana", "read"),
    ]
    assert api.delete("/admins/grafana").status_code == 204
    assert ControlStore.open(home).find_admin(secret) is None
    assert api.delete("/admins/grafana").status_code == 404
    assert api.delete("/admins/admin-1").status_code == 204
    assert api.get("/admins").status_code == 401


RULE = {
    "name": "month",
    "measure": "spend",
    "limit": "500",
    "filters": {"provider": "openai", "user": "ann"},
    "channels": [
        {"kind": "webhook", "url": HOOK},
        {"kind": "email", "address": "ops@example.com", "server": "smtp://me@mail.example.com", "password": "s3cret"},
    ],
}


def test_a_rule_from_its_making_to_its_end(api: TestClient, home: Settings) -> None:
    made = api.post("/alerts", json=RULE)
    assert made.status_code == 201
    assert "s3cret" not in made.text
    assert made.json() == api.get("/alerts/month").json() == items(api, "/alerts")[0]
    (listed,) = said(home, "alert", "list")
    assert (listed["filters"], listed["span"]) == (RULE["filters"], made.json()["span"])
    changed = api.put("/alerts/month", json={"measure": "errors", "limit": "5", "span": "1h"}).json()
    assert (changed["measure"], changed["filters"], len(changed["channels"])) == ("errors", {}, 2)
    assert api.put("/alerts/month", json={"measure": "errors", "limit": "500"}).status_code == 409
    assert api.post("/alerts", json=RULE).status_code == 409
    assert items(api, "/alert-history") == []
    assert api.delete("/alerts/month").status_code == 204
    assert {api.delete("/alerts/month").status_code, api.get("/alerts/month").status_code} == {404}


def test_a_rule_watches_a_budget_by_its_name(api: TestClient) -> None:
    given = {**RULE, "measure": "budget", "limit": "80", "filters": {"provider": "grok"}}
    made = api.post("/alerts", json=given).json()
    assert (made["measure"], made["unit"], made["span"], made["filters"]) == (
        "budget",
        "percent",
        "month",
        {"provider": "xai"},
    )
    assert api.post("/alerts", json={**given, "name": "all", "filters": {}}).status_code == 409


def test_a_test_of_a_rule_says_what_became_of_it(api: TestClient) -> None:
    api.post("/alerts", json={**RULE, "channels": [{"kind": "webhook", "url": "http://127.0.0.1:9/x"}]})
    (message,) = api.post("/alerts/month/test").json()["items"]
    assert (message["kind"], message["state"]) == ("test", "failed")
    assert message["problem"]
    assert items(api, "/alert-history?rule=month") == [message]


def test_the_literals_are_the_tables() -> None:
    assert set(Question.__value__.__args__) == set(QUESTIONS)
    assert set(Measure.__value__.__args__) == set(MEASURES)
    assert set(Scope.__value__.__args__) == set(SCOPES)
    assert set(Then.__value__.__args__) == set(THENS)


def test_every_change_is_in_the_audit_log_under_the_admins_name(api: TestClient, home: Settings) -> None:
    api.post("/accounts", json={"name": "team"})
    api.put("/keys/team/openai", json={"key": KEY})
    api.post("/tokens", json={"name": "ci"})
    listed = items(api, "/audit?since=today&who=admin-1")
    assert [(each["what"], each["way"]) for each in listed] == [
        ("token.create", "api"),
        ("key.set", "api"),
        ("account.create", "api"),
    ]
    assert {each["who"] for each in items(api, "/audit")} - {"admin-1"}
    page = api.get("/audit?limit=2").json()
    rest = api.get(f"/audit?limit=2&cursor={page['next_cursor']}").json()
    assert [each["id"] for each in page["items"] + rest["items"]] == [4, 3, 2, 1]
    assert rest["next_cursor"] is None
    assert [each["subject"] for each in items(api, "/audit?what=token")] == ["ci"]
    assert len(said(home, "audit")) == 4
    with closing(sqlite3.connect(home.control_db)) as db:
        assert KEY not in json.dumps(db.execute("SELECT * FROM audit").fetchall())


# --- what was metered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
def test_usage_is_what_the_report_says(metered: TestClient, metered_home: Settings, question: str) -> None:
    answer = metered.get(f"/usage/{question}?since=365d&timezone=UTC").json()
    assert answer["rows"] == said(metered_home, "report", question, "--since", "365d")
    assert answer["total"]["requests"] == sum(row["requests"] for row in answer["rows"])


def test_usage_is_grouped_and_spans_are_read_as_on_the_command_line(metered: TestClient) -> None:
    by = metered.get("/usage/costs?since=365d&by=user&by=model&timezone=Europe/Berlin").json()
    assert [each["name"] for each in by["columns"]][:2] == ["user", "model"]
    assert metered.get("/usage/costs?until=2001-01-01").json()["rows"] == []
    for query in ("by=nothing", "since=soon", "timezone=Mars/Base"):
        assert metered.get(f"/usage/costs?{query}").status_code in (409, 422)
    assert metered.get("/usage/latency?by=user").status_code == 409


def test_events_are_paged_without_a_gap_or_a_repeat(metered: TestClient, metered_home: Settings) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = metered.get(f"/events?range=all&limit=70{cursor}").json()
        seen += [each["event_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    expected = said(metered_home, "sql", "SELECT event_id FROM events ORDER BY started_at DESC, event_id DESC")
    assert seen == [each["event_id"] for each in expected]
    (row,) = said(metered_home, "sql", f"SELECT * FROM events WHERE event_id = '{seen[0]}'")  # noqa: S608 -- our own id
    assert metered.get(f"/events/{seen[0]}").json()["columns"].keys() == row.keys()
    assert metered.get("/events/019a0000-0000-7000-8000-00000000ffff").status_code == 404


def test_events_are_filtered_as_on_the_dashboard(metered: TestClient) -> None:
    found = items(metered, "/events?range=all&provider=openai&outcome=failed&limit=1000")
    assert found
    assert {each["provider"] for each in found} == {"openai"}
    assert all(each["status"] >= 400 for each in found)
    day = datetime.now(UTC).date()
    assert items(metered, f"/events?since={day - timedelta(days=1)}&until={day}")
    for query in ("since=2026-02-30&until=2026-03-01", "since=2026-03-02&until=2026-03-01", "range=never", "cursor=x"):
        assert metered.get(f"/events?{query}").status_code in (409, 422)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("provider=openai&model=gpt-5", 200),
        ("provider=gemini&model=gemini-2.5-pro&day=2026-01-01", 200),
        ("provider=openai&model=gpt-5&service_tier=batch", 200),
        ("provider=openai&model=no-such-model", 404),
        ("provider=nobody&model=gpt-5", 404),
        ("provider=openai&model=gpt-5&service_tier=nothing", 404),
        ("provider=openai", 422),
        ("provider=openai&model=gpt-5&day=2026-13-01", 422),
    ],
)
def test_a_price_is_looked_up_on_a_day(metered: TestClient, query: str, status: int) -> None:
    answer = metered.get(f"/prices?{query}")
    assert answer.status_code == status
    if status == 200:
        assert Decimal(answer.json()["rates"]["input"]["usd"]) > 0


def test_plans_are_those_of_the_settings(api: TestClient) -> None:
    assert {each["name"]: each["requests_per_month"] for each in items(api, "/plans")} == {"free": 10_000, "pro": None}


def test_no_two_operations_have_a_name_or_a_place_in_common() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
