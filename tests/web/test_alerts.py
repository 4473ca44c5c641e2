"""The page of alerts: what a form may make, and what a page never shows again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metrion import alerts
from metrion.settings import Settings
from tests.web.conftest import admin, csrf_of

SECRET = "/services/T0/B0/secret-part"
RULE = {"action": "add", "name": "month", "measure": "spend", "limit": "$500", "kind": "slack"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook on this machine, and what it has received."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{SECRET}", received
    server.shutdown()
    server.server_close()


def post(client: TestClient, **fields: str) -> tuple[int, str]:
    answer = client.post("/alerts", data={"csrf": csrf_of(client.get("/alerts").text), **fields})
    return answer.status_code, answer.text


def test_a_rule_is_made_tested_changed_and_removed(settings: Settings, hook: tuple[str, list[bytes]]) -> None:
    url, received = hook
    client = admin(settings)
    assert "There are no rules yet" in client.get("/alerts").text

    status, page = post(client, **RULE, url=url, user="<b>ann</b>", allow_private="yes")
    assert (status, "Rule month is made" in page, "&lt;b&gt;ann" in page) == (200, True, True)
    (rule,) = alerts.rules(settings)
    assert (str(rule.terms.limit), rule.terms.span) == ("500", "month")
    assert rule.terms.filters == {"user": "<b>ann</b>"}

    status, page = post(client, action="test", name="month")
    assert (status, len(received), "The test was taken by" in page) == (200, 1, True)
    assert "text" in json.loads(received[0])
    assert "sent" in page

    form = client.get("/alerts?rule=month").text
    assert 'value="500"' in form
    status, page = post(client, action="change", name="month", measure="errors", limit="5 %", span="30m")
    (rule,) = alerts.rules(settings)
    assert (status, rule.terms.measure, str(rule.terms.limit), rule.terms.span) == (200, "errors", "5", "30m")
    assert [channel.kind for channel in rule.channels] == ["slack"]

    status, page = post(client, action="remove", name="month")
    assert (status, alerts.rules(settings)) == (200, ())
    assert "The test" not in page
    for text in (form, page, client.get("/alerts").text):
        assert "secret-part" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": ""}, "say where its messages go"),
        ({"limit": "much"}, "the limit is a number"),
        ({"limit": "-1"}, "above 0"),
        ({"measure": "weather"}, "no such measure"),
        ({"span": "1y"}, "is no span"),
        ({"measure": "budget", "limit": "90 %"}, "`budget` is of one thing"),
        ({"measure": "budget", "limit": "90 %", "user": "ann", "span": "15m"}, "no budget has the span"),
        ({"provider": "acme"}, "no such provider"),
        ({"kind": "pigeon"}, "messages go to"),
        ({"kind": "email", "address": "ops@example.com"}, "this is no URL"),
        ({"url": "ftp://example.com/secret-part"}, "this is no URL"),
        ({"action": "dance"}, "Nothing was done"),
    ],
)
def test_a_mistake_is_explained_and_what_was_typed_stays(
    settings: Settings, changes: dict[str, str], words: str
) -> None:
    status, page = post(admin(settings), **{**RULE, "url": f"https://hooks.example.com{SECRET}", **changes})
    assert (status, words in page) == (422, True)
    assert "secret-part" not in page
    assert alerts.rules(settings) == ()


def test_a_rule_on_a_budget_is_made_by_the_form(settings: Settings) -> None:
    client = admin(settings)
    assert (
        '<option value="budget">The share of the budget that is spent (percent)</option>' in client.get("/alerts").text
    )
    form = {**RULE, "measure": "budget", "limit": "80 %", "token": "ci", "span": "day"}
    status, page = post(client, **form, url=f"https://hooks.example.com{SECRET}")
    (rule,) = alerts.rules(settings)
    assert (status, rule.terms.measure, str(rule.terms.limit), rule.terms.span) == (200, "budget", "80", "day")
    assert rule.terms.filters == {"token": "ci"}
    assert "The share of the budget that is spent, token ci" in page


def test_a_private_address_is_refused_unless_the_rule_allows_it(
    settings: Settings, hook: tuple[str, list[bytes]]
) -> None:
    url, received = hook
    client = admin(settings)
    post(client, **RULE, url=url)
    status, page = post(client, action="test", name="month")
    assert (status, received) == (422, [])
    assert "failed" in page


def test_who_may_only_read_changes_no_rule(settings: Settings) -> None:
    client = admin(settings, "read")
    status, page = post(client, **RULE, url=f"https://hooks.example{SECRET}")
    assert (status, "may only read" in page) == (403, True)
    assert alerts.rules(settings) == ()
