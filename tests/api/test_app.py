"""Who may ask, what a request must be like, and what is answered when something is wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from metrion.api import PATH, create_app, mount
from metrion.api.document import PROBLEM, problems
from metrion.api.operations import OPERATIONS
from metrion.control import ControlStore
from metrion.settings import Settings
from metrion.web import create_app as dashboard
from tests.api.conftest import client
from tests.credentials import PROVIDER_KEY as KEY

EVERY = [
    (each.method, each.path.replace("{question}", "costs").replace("{event_id}", "0").replace("{", "").replace("}", ""))
    for each in OPERATIONS
]
WRITING = [each for each in EVERY if each[0] != "GET"]


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["detail"]
    return found


@pytest.mark.parametrize(("method", "path"), EVERY)
def test_nothing_is_answered_without_an_admin_token_that_holds(home: Settings, method: str, path: str) -> None:
    control = ControlStore.open(home)
    revoked = control.create_admin("gone").secret
    control.revoke_admin("gone")
    stranger = client(home, None)
    for credential in (None, "Bearer ", "Basic x", f"Bearer {control.create_token().secret}", f"Bearer {revoked}"):
        headers = {"authorization": credential} if credential is not None else {}
        answer = stranger.request(method, path, headers=headers)
        assert problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(("method", "path"), WRITING)
def test_a_token_that_may_only_read_changes_nothing(home: Settings, method: str, path: str) -> None:
    reader = client(home, "read")
    before = home.control_db.stat().st_size, len(ControlStore.open(home).audit())
    assert "may only read" in problem(reader.request(method, path, json={}), 403)["detail"]
    assert before == (home.control_db.stat().st_size, len(ControlStore.open(home).audit()))
    assert reader.get("/accounts").status_code == 200


def test_guessing_is_slowed_down(api: TestClient, home: Settings) -> None:
    guess = {"authorization": "Bearer sk-mta-" + "x" * 43}
    assert [api.get("/accounts", headers=guess).status_code for _ in range(6)] == [401] * 5 + [429]
    answer = api.get("/accounts")
    assert "Wait" in problem(answer, 429)["detail"]
    assert 0 < int(answer.headers["retry-after"]) <= 61


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8091", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.example", 421), ("169.254.169.254", 421)],
)
def test_only_loopback_names_are_answered(api: TestClient, host: str, status: int) -> None:
    assert api.get("/accounts", headers={"host": host}).status_code == status
    assert api.get("/openapi.json", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"", "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not JSON"),
        (b"[" * 100_000, "application/json", 400, "not JSON"),
        (b"{}", "text/plain", 415, "application/json"),
        (b"{}", "", 415, "application/json"),
        (b"name=ci", "application/x-www-form-urlencoded", 415, "application/json"),
        (b'{"name": "' + b"x" * 300_000 + b'"}', "application/json", 413, "256 KB"),
        (b"[]", "application/json", 422, "cannot be used"),
        (b"null", "application/json", 422, "cannot be used"),
    ],
)
def test_what_is_no_body_is_said(api: TestClient, body: bytes, content_type: str, status: int, says: str) -> None:
    answer = api.post("/tokens", content=body, headers={"content-type": content_type})
    assert says in problem(answer, status)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("POST", "/tokens", {"nane": "ci"}, "body.nane"),
        ("POST", "/tokens", {"name": "no spaces"}, "body.name"),
        ("POST", "/tokens", {"name": "ci\n"}, "body.name"),
        ("POST", "/tokens", {"requests_per_minute": "5"}, "body.requests_per_minute"),
        ("POST", "/tokens", {"requests_per_minute": -1}, "body.requests_per_minute"),
        ("POST", "/tokens", {"requests_per_minute": 10**30}, "body.requests_per_minute"),
        ("POST", "/tokens", {"monthly_budget_usd": 5}, "body.monthly_budget_usd"),
        ("POST", "/tokens", {"monthly_budget_usd": "-5"}, "body.monthly_budget_usd"),
        ("POST", "/tokens", {"monthly_budget_usd": "1e5"}, "body.monthly_budget_usd"),
        ("POST", "/tokens", {"expires_at": "soon"}, "body.expires_at"),
        ("POST", "/tokens", {"expires_at": "2999-01-01T00:00:00"}, "body.expires_at"),
        ("POST", "/tokens", {"tags": {"Team": "x"}}, "body.tags.Team.[key]"),
        ("POST", "/accounts", {"name": "team", "plan": "gold"}, "body.plan"),
        ("GET", "/accounts?limit=0", None, "query.limit"),
        ("GET", "/accounts?limit=1001", None, "query.limit"),
        ("GET", "/accounts?limit=1&limit=2", None, "query.limit"),
        ("GET", "/accounts?page=2", None, "query.page"),
        ("GET", "/audit?since=whenever", None, "query.since"),
        ("GET", "/usage/everything", None, "path.question"),
        ("GET", "/events/0", None, "path.event_id"),
    ],
)
def test_a_value_without_its_form_is_named_and_not_repeated(
    api: TestClient, method: str, path: str, body: object, where: str
) -> None:
    found = problem(api.request(method, path, json=body), 422)
    assert where in {each["where"] for each in found["errors"]}
    assert "input_value" not in json.dumps(found)


def test_a_secret_in_the_wrong_place_is_not_repeated(api: TestClient) -> None:
    answers = [
        api.post("/tokens", json={"name": KEY}),
        api.post("/tokens", json={"key": KEY}),
        api.post("/tokens", json={"user_label": KEY}),
        api.put("/keys/default/openai", json={"key": f"{KEY}\n"}),
        api.put("/keys/default/openai", json={"key": {"value": KEY}}),
        api.put("/keys/default/nobody", json={"key": KEY}),
        api.get("/audit", params={"since": KEY}),
        api.post("/alerts", json={"name": "m", "measure": "spend", "limit": "5",
                                  "channels": [{"kind": "webhook", "url": f"ftp://{KEY}"}]}),
    ]  # fmt: skip
    assert all(answer.status_code >= 400 for answer in answers)
    assert not [answer.text for answer in answers if KEY in answer.text]


@pytest.mark.parametrize(("method", "path"), [("PUT", "/accounts"), ("DELETE", "/audit"), ("TRACE", "/plans")])
def test_a_method_that_a_path_has_not_is_refused_with_those_it_has(api: TestClient, method: str, path: str) -> None:
    answer = api.request(method, path)
    assert problem(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_there_is_nothing_at_any_other_path(api: TestClient) -> None:
    for path in ("/nothing", "/accounts/a/b", "/", "/%2e%2e/settings"):
        assert problem(api.get(path), 404)


def test_the_dashboard_serves_it_beside_its_pages(home: Settings) -> None:
    app = dashboard(home, lambda *_: iter(()), beside=[mount(home)])
    pages = TestClient(app, base_url="http://127.0.0.1:8090", follow_redirects=False)
    secret = ControlStore.open(home).create_admin().secret
    assert pages.get(f"{PATH}/accounts").status_code == 401
    answer = pages.get(f"{PATH}/accounts", headers={"authorization": f"Bearer {secret}"})
    assert [each["name"] for each in answer.json()["items"]] == ["default"]
    assert pages.get(f"{PATH}/accounts", headers={"host": "evil.example"}).status_code == 421
    assert pages.get("/").status_code == 303


# --- when the control database or the master key is not as it should be -----------------------------------------------


def garble(home: Settings) -> None:
    for suffix in ("-wal", "-shm"):
        home.control_db.with_name(home.control_db.name + suffix).unlink(missing_ok=True)
    home.control_db.write_bytes(b"\0garbage" * 2000)


def remove(home: Settings) -> None:
    home.control_db.unlink()


@pytest.mark.parametrize("damage", [garble, remove])
def test_a_control_database_that_cannot_be_used_lets_nobody_in(
    home: Settings, damage: Callable[[Settings], None]
) -> None:
    api = client(home)
    assert api.get("/accounts").status_code == 200
    damage(home)
    assert str(home.control_db) in problem(api.get("/accounts"), 503)["detail"]


def test_a_locked_control_database_fails_what_writes_and_nothing_else(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metrion.control.files._BUSY_SECONDS", 0.05)
    api = client(home)
    with closing(sqlite3.connect(home.control_db, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert api.get("/tokens").status_code == 200
        assert "another process" in problem(api.post("/tokens", json={}), 503)["detail"]
    assert api.post("/tokens", json={}).status_code == 201


def test_a_wrong_master_key_is_said_where_it_matters(home: Settings, tmp_path: Path) -> None:
    api = client(home)
    assert api.put("/keys/default/openai", json={"key": KEY}).status_code == 204
    home.master_key_path.write_text("A" * 43 + "=\n")
    again = TestClient(create_app(home), base_url=str(api.base_url), headers=dict(api.headers))
    (key,) = again.get("/keys").json()["items"]
    assert (key["key"], key["in_use"]) == (None, False)
    assert "not the master key" in key["problem"]
    assert "not the master key" in problem(again.put("/keys/default/xai", json={"key": KEY}), 503)["detail"]
    assert again.post("/tokens", json={}).status_code == 201


def test_every_status_that_is_documented_has_its_reason() -> None:
    for operation in OPERATIONS:
        assert all(why.endswith(".") for why in problems(operation).values())
        assert (403 in problems(operation)) == operation.writes
