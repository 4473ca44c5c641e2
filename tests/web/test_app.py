"""Who gets in, what every answer carries, and what pages say, without a browser."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metrion.budgets.changing import open_control
from metrion.control import ControlStore
from metrion.model import PICODOLLARS, Budget
from metrion.settings import Settings
from tests.processes import eventually
from tests.store.events import Home, event
from tests.web.conftest import admin, csrf_of, log_in, visitor
from tests.web.homes import HOSTILE

PAGES = ("/", "/requests", "/sessions", "/latency", "/errors", "/cache", "/limits", "/alerts", "/sql", "/integrate",
         "/settings", "/audit")  # fmt: skip


@pytest.mark.parametrize("path", [*PAGES, "/data/overview/spend.csv", "/requests/0", "/first-request"])
def test_nothing_is_shown_without_a_log_in(shared_home: Settings, path: str) -> None:
    answer = visitor(shared_home).get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert answer.text == ""


def test_only_admin_tokens_log_in(empty_home: Settings) -> None:
    client = visitor(empty_home)
    control = ControlStore.open(empty_home)
    assert log_in(client, control.create_token().secret) == 401
    assert log_in(client, control.create_admin("ann").secret) == 303
    cookie = client.cookies
    assert [each.name for each in cookie.jar] == ["metrion-8090"]
    assert client.get("/").status_code == 200
    control.revoke_admin("ann")
    assert client.get("/").status_code == 303


def test_the_cookie_is_for_this_site_alone_and_secure_under_https(empty_home: Settings) -> None:
    secret = ControlStore.open(empty_home).create_admin().secret
    for scheme in ("http", "https"):
        client = visitor(empty_home)
        client.base_url = f"{scheme}://localhost:8090"
        csrf = csrf_of(client.get("/login").text)
        cookies = client.post("/login", data={"csrf": csrf, "token": secret}).headers.get_list("set-cookie")
        (cookie,) = (each for each in cookies if each.startswith("metrion-8090="))
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ("Secure" in cookie) == (scheme == "https")
        assert secret not in cookie


def test_guessing_is_slowed_down(empty_home: Settings) -> None:
    client = visitor(empty_home)
    secret = ControlStore.open(empty_home).create_admin().secret
    assert [log_in(client, "sk-mta-" + "x" * 43) for _ in range(6)] == [401] * 5 + [429]
    assert log_in(client, secret) == 429


def test_a_log_out_ends_the_session_on_the_server(client: TestClient) -> None:
    cookie = client.cookies["metrion-8090"]
    assert client.post("/logout", data={"csrf": csrf_of(client.get("/sql").text)}).status_code == 303
    client.cookies.set("metrion-8090", cookie)
    assert client.get("/").status_code == 303


@pytest.mark.parametrize("path", ["/logout", "/sql", "/integrate"])
@pytest.mark.parametrize("fields", [{}, {"csrf": ""}, {"csrf": "wrong"}, {"csrf": "ä"}])
def test_a_form_without_its_token_does_nothing(client: TestClient, path: str, fields: dict[str, str]) -> None:
    fields = {"action": "token", "name": "forged", "query": "SELECT 1", **fields}
    assert client.post(path, data=fields).status_code == 403
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8090", 303), ("localhost", 303), ("[::1]:8090", 303), ("127.0.0.2", 303), ("evil.example", 421),
        ("127.0.0.1.evil.example", 421), ("localhost:80@evil.example", 421), ("169.254.169.254", 421), ("", 421),
    ],
)  # fmt: skip
def test_only_loopback_names_are_answered(shared_home: Settings, host: str, status: int) -> None:
    assert visitor(shared_home).get("/", headers={"host": host}).status_code == status


def test_every_answer_carries_the_headers(client: TestClient) -> None:
    for path in (*PAGES, "/login", "/static/metrion.css", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert client.get("/", headers={"host": "evil.example"}).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_no_inline_script_or_style(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert " onclick" not in answer.text
    assert answer.text.count("<script") == 1


def test_an_empty_store_says_what_to_do(empty_home: Settings) -> None:
    client = admin(empty_home)
    for path in PAGES:
        assert client.get(path).status_code == 200, path
    assert "Nothing is metered yet" in client.get("/").text


def test_the_spend_is_that_of_the_report(client: TestClient, shared_home: Settings) -> None:
    rows = client.get("/data/overview/spend.json?range=all").json()
    (expected,) = Home(shared_home.home).values("SELECT sum(cost_usd) FROM billing WHERE billed")
    assert sum(Decimal(row["total"]) for row in rows) == expected[0]
    csv = client.get("/data/overview/spend.csv?range=all")
    assert csv.headers["content-type"].startswith("text/csv")
    assert len(csv.text.splitlines()) == len(rows) + 1


def test_requests_are_paged_without_a_gap_or_a_repeat(client: TestClient, shared_home: Settings) -> None:
    seen: list[str] = []
    following = ""
    while True:
        answer = client.get(f"/data/requests/list.json?range=all{following}")
        rows = answer.json()
        seen += [row["event_id"] for row in rows]
        if len(rows) < 50:
            break
        following = f"&before={rows[-1]['started_at']}_{rows[-1]['event_id']}"
    expected = Home(shared_home.home).values("SELECT event_id FROM events ORDER BY started_at DESC, event_id DESC")
    assert seen == [str(each) for (each,) in expected]


def test_filters_hold_on_every_page_and_what_makes_no_sense_is_said(client: TestClient) -> None:
    rows = client.get("/data/requests/list.json?range=all&provider=openai&outcome=failed").json()
    assert rows
    assert {row["provider"] for row in rows} == {"openai"}
    assert all(row["status"] >= 400 for row in rows)
    for path in PAGES[:7]:
        for query in (
            "?range=24h&model=gpt-5",
            "?range=never",
            "?from=2026-13-01&to=x",
            "?user=(none)&by=user",
            "?by=nothing&before=nonsense",
            "?from=0001-01-01&to=9999-12-31",
            "?model=%00'; DROP",
        ):
            assert client.get(path + query).status_code == 200, path + query  # fmt: skip
    assert "There is no such range" in client.get("/?range=never").text


def test_labels_that_people_send_are_shown_as_text(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    home = Home(settings.home)
    home.initialise()
    now = datetime.now(UTC).replace(tzinfo=None)
    home.record(*(event(started_at=now, user_label=label, model=label) for label in HOSTILE))
    client = admin(settings)
    for path in (*PAGES[:7], "/?by=user", f"/?user={HOSTILE[0]}", f"/?user={HOSTILE[4]}"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert "\x1b" not in answer.text
        assert "\u202e" not in answer.text
        assert len(answer.text) < 400_000
    assert "'=cmd()" in client.get("/data/overview/top-user.csv").text


def test_one_request_explains_its_cost(client: TestClient, shared_home: Settings) -> None:
    ((event_id, cost),) = Home(shared_home.home).values(
        "SELECT event_id, cost_usd FROM events WHERE provider = 'anthropic' AND cost_source = 'computed' LIMIT 1"
    )
    page = client.get(f"/requests/{event_id}").text
    assert f"${cost.normalize():f}" in page
    assert "Where its prices are from" in page
    assert "it is the model served" in page
    assert client.get("/requests/nonsense").status_code == 404
    assert client.get("/requests/019a0000-0000-7000-8000-00000000ffff").status_code == 404


def test_a_token_is_shown_once_and_a_key_never(empty_home: Settings) -> None:
    client = admin(empty_home)

    def post(**fields: str) -> str:
        csrf = csrf_of(client.get("/integrate").text)
        return client.post("/integrate", data={"csrf": csrf, **fields}).text

    assert "sk-metrion-" in post(action="token", name="laptop")
    page = client.get("/integrate").text
    assert "laptop" in page
    (token,) = ControlStore.open(empty_home).tokens()
    assert page.count(token.shown) == 1
    key = "sk-proj-0123456789abcdefghijklmnop"
    assert key not in post(action="set-key", provider="openai", key=key)
    stored = ControlStore.open(empty_home).keys()
    assert [each.provider for each in stored] == ["openai"]
    assert "is removed" in post(action="remove-key", provider="openai")
    assert "is revoked" in post(action="revoke", name="laptop")
    assert "there is no token" in post(action="revoke", name="nobody")
    secret = "sk-metrion-" + "x" * 43
    assert secret not in post(action="set-key", provider="openai", key=secret)


def test_who_may_only_read_sees_everything_and_changes_nothing(empty_home: Settings) -> None:
    control = ControlStore.open(empty_home)
    client = visitor(empty_home)
    assert log_in(client, control.create_admin("eve", "read").secret) == 303
    csrf = csrf_of(client.get("/integrate").text)
    for action in ("token", "set-key", "revoke", "remove-key"):
        answer = client.post("/integrate", data={"csrf": csrf, "action": action, "provider": "openai", "key": "x"})
        assert (answer.status_code, "may only read" in answer.text) == (403, True)
    assert (control.tokens(), control.keys()) == ((), ())
    assert client.get("/audit").status_code == 200


def test_the_audit_page_shows_who_changed_what(empty_home: Settings) -> None:
    client = admin(empty_home)
    csrf = csrf_of(client.get("/integrate").text)
    for number in range(110):
        ControlStore.open(empty_home).create_account(f"a{number}", "pro")
    client.post("/integrate", data={"csrf": csrf, "action": "token", "name": "<b>laptop</b>"})
    client.post("/integrate", data={"csrf": csrf, "action": "token", "name": "laptop"})
    page = client.get("/audit").text
    assert page.count("token.create") == 1
    assert page.count("<tr>") == 101
    assert [row["way"] for row in client.get("/audit?as=json&who=admin-1").json()] == ["dashboard"]
    assert len(client.get("/audit?as=csv&what=account").text.splitlines()) == 101
    older = re.search(r"before=([0-9]+)", page)
    assert older
    assert client.get(f"/audit?before={older[1]}").text.count("<tr>") == 13
    for query in ("before=x", "before=99999999999999999999", "who=%00", "what='--", "as=xml"):
        assert client.get(f"/audit?{query}").status_code == 200


def test_the_first_request_of_a_token_is_noticed(empty_home: Settings) -> None:
    home, client = Home(empty_home.home), admin(empty_home)
    home.initialise()
    made = client.post(
        "/integrate", data={"csrf": csrf_of(client.get("/integrate").text), "action": "token", "name": "<new>"}
    )
    assert made.status_code == 422
    client.post("/integrate", data={"csrf": csrf_of(client.get("/integrate").text), "action": "token", "name": "new"})
    assert client.get("/first-request?token=new").json() is None
    now = datetime.now(UTC).replace(tzinfo=None)
    first = event(started_at=now, token_name="new")
    home.record(event(started_at=now), first, event(started_at=now + timedelta(seconds=1), token_name="new"))
    found = eventually(lambda: client.get("/first-request?token=new").json())
    assert found == {"event_id": str(first.event_id), "provider": "openai", "model": "gpt-5", "status": 200}
    assert client.get("/first-request?token=nobody").json() is None


def test_sql_goes_through_its_own_bounds(client: TestClient) -> None:
    csrf = csrf_of(client.get("/sql").text)
    assert "SELECT 1" in client.post("/sql", data={"csrf": csrf, "query": "SELECT 1"}).text
    answer = client.post("/sql", data={"csrf": csrf, "query": "SELECT 1", "as": "csv"})
    assert answer.headers["content-disposition"].startswith("attachment")


def test_two_dashboards_at_once_do_not_log_each_other_out(shared_home: Settings) -> None:
    first, second = admin(shared_home), admin(shared_home)
    assert (first.get("/").status_code, second.get("/").status_code) == (200, 200)


def test_json_is_json(client: TestClient) -> None:
    for name, block in (("overview", "requests"), ("latency", "models"), ("errors", "kinds"), ("cache", "by-model")):
        assert isinstance(json.loads(client.get(f"/data/{name}/{block}.json").text), list)
    assert client.get("/data/overview/nothing.json").status_code == 404
    assert client.get("/data/overview/spend.xml").status_code == 404


def test_budgets_are_shown_with_what_is_left_of_them(empty_home: Settings) -> None:
    label = HOSTILE[0]
    with open_control(empty_home) as control:
        control.create_token("ci")
        control.set_budget(Budget(0, "token", "ci", 20 * PICODOLLARS, "month"))
        control.set_budget(Budget(0, "user", label, 5 * PICODOLLARS, "30d"))
    client = admin(empty_home)
    rows = json.loads(client.get("/data/limits/budgets.json").text)
    assert [[row[name] for name in ("scope", "name", "per")] for row in rows] == [
        ["token", "ci", "month"],
        ["user", label, "30d"],
    ]
    assert [Decimal(str(rows[0][name])) for name in ("usd", "spent_usd", "held_usd", "left_usd")] == [20, 0, 0, 20]
    assert label not in client.get("/limits").text
