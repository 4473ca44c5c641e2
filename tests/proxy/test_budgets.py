"""Budgets in a running proxy: what is refused and how, what is counted, on both roads and after a kill."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import ROADS, Proxy, eventually, running_serve, upstreams
from tests.simulated import Simulator, running_simulator

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}]}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module", params=ROADS)
def proxy(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = upstreams(simulator) | {"budgets": {"remaining_header": True}}
    home = tmp_path_factory.mktemp("budgets") / "home"
    with running_serve(home, config, environment=ROADS[request.param]) as running:
        yield running


@pytest.fixture(scope="module")
def strict(proxy: Proxy) -> str:
    return token(proxy, "strict", "--monthly-budget", "5")


@pytest.fixture(scope="module")
def lenient(proxy: Proxy) -> str:
    return token(proxy, "lenient", "--monthly-budget", "5", "--unpriced", "allow")


class Answer:
    """One answer, read whole."""

    def __init__(
        self, proxy: Proxy, token: str, body: object = BODY, path: str = "/openai/v1/chat/completions"
    ) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request("POST" if sent else "GET", path, sent, {"authorization": f"Bearer {token}"})
            response = connection.getresponse()
            self.status, self.headers = response.status, dict(response.getheaders())
            self.body = response.read().decode()
        finally:
            connection.close()


def token(proxy: Proxy, name: str, *options: str) -> str:
    return proxy.metrion("token", "create", name, *options).strip()


def standing(proxy: Proxy, name: str) -> dict[str, Any]:
    rows = json.loads(proxy.metrion("budget", "list", "--format", "json"))
    return next(row for row in rows if row["name"] == name)


def test_a_token_spends_its_budget_and_is_then_refused_in_the_words_of_its_sdk(proxy: Proxy) -> None:
    secret = token(proxy, "small", "--monthly-budget", "0.012")
    first = Answer(proxy, secret)
    assert first.status == 200
    left = Decimal(first.headers["x-metrion-budget-remaining"])
    assert 0 < left < Decimal("0.012")
    passed = 1
    while (answer := Answer(proxy, secret)).status == 200:
        passed += 1
        assert passed < 1000
    assert answer.status == 429
    assert answer.headers["x-metrion-error"] == "budget"
    assert answer.headers["x-should-retry"] == "false"
    assert int(answer.headers["retry-after"]) > 0
    assert "the token small, 0.012 USD a month" in answer.body
    with (
        openai.OpenAI(base_url=proxy.url("openai"), api_key=secret, timeout=20) as client,
        pytest.raises(openai.RateLimitError, match="small"),
    ):
        client.chat.completions.create(model="gpt-4o", messages=BODY["messages"])
    rows = eventually(
        lambda: proxy.events("SELECT cost_usd, end_reason FROM events WHERE token_name = 'small'"),
        until=lambda rows: len(rows) >= passed + 2,
    )
    spent = sum(Decimal(row["cost_usd"]) for row in rows)
    assert Decimal(standing(proxy, "small")["spent"]) == spent <= Decimal("0.012")
    assert [row["end_reason"] for row in rows].count("refused") == 2
    assert standing(proxy, "small")["held"] == "0"
    metrics = Answer(proxy, "", None, "/metrics").body
    own = 'scope="token",name="small",per="month"'
    assert f"metrion_budget_usd{{{own}}} 0.012\n" in metrics
    assert f"metrion_budget_spent_usd{{{own}}} {float(spent)}\n" in metrics
    assert f"metrion_budget_held_usd{{{own}}} 0.0\n" in metrics


def test_a_budget_of_nothing_and_one_that_was_lowered(proxy: Proxy) -> None:
    secret = token(proxy, "none")
    proxy.metrion("budget", "set", "--token", "none", "--usd", "1", "--per", "day")
    assert Answer(proxy, secret).status == 200
    proxy.metrion("budget", "set", "--token", "none", "--usd", "0", "--per", "day")
    assert Answer(proxy, secret).status == 429
    proxy.metrion("budget", "set", "--token", "none", "--usd", "0.000001", "--per", "day", "--then", "warn")
    answer = Answer(proxy, secret)
    assert answer.status == 200
    assert "the token none" in answer.headers["x-metrion-budget-warning"]
    proxy.metrion("budget", "remove", "--token", "none")
    assert "x-metrion-budget-remaining" not in Answer(proxy, secret).headers


@pytest.mark.parametrize(
    ("body", "path", "status", "says"),
    [
        pytest.param(
            {**BODY, "model": "made-up"}, "/openai/v1/chat/completions", 403, "made-up has no price", id="no price"
        ),
        pytest.param({"messages": []}, "/openai/v1/chat/completions", 403, "names none", id="no model"),
        pytest.param({"input_file_id": "file-1"}, "/openai/v1/batches", 403, "allow-operation batch", id="a batch"),
        pytest.param(
            {"contents": []},
            "/gemini/v1beta/models/made-up:generateContent",
            403,
            "made-up has no price",
            id="in the path",
        ),
        pytest.param({"contents": []}, "/gemini/v1beta/models/gemini-2.5-flash:generateContent", 200, "", id="a path"),
        pytest.param({"model": "gpt-4o", "messages": []}, "/openai/v1/models", 200, "", id="nothing billed"),
    ],
)
def test_what_nobody_can_price_is_refused_by_name(
    body: object, path: str, status: int, says: str, proxy: Proxy, strict: str, lenient: str
) -> None:
    answer = Answer(proxy, strict, body, path)
    assert (answer.status in (200, 404, 405)) == (status == 200)
    if status != 200:
        assert (answer.status, answer.headers["x-metrion-error"]) == (status, "not_allowed")
        assert says in answer.body
    if "no price" in says:
        assert Answer(proxy, lenient, body, path).status == 200


GENERATING = "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
UPGRADE = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "eA=="}


@pytest.mark.parametrize(
    ("method", "path", "fields", "says"),
    [
        ("post", GENERATING, {}, b"where the method of a request is known"),
        ("GET", GENERATING, {"x-http-method-override": "POST"}, b"where the method of a request is known"),
        ("HEAD", GENERATING, {"X-HTTP-Method": "POST"}, b""),
        ("PUT", GENERATING, {"x-method-override": "POST"}, b"where the method of a request is known"),
        ("GET", "/openai/v1/realtime?model=gpt-realtime", UPGRADE, b"allow-operation realtime"),
        ("GET", "/openai/v1/not-known-yet", UPGRADE, b"allow-operation other"),
    ],
)
def test_what_a_server_may_read_as_what_costs_something_is_refused(
    method: str, path: str, fields: dict[str, str], says: bytes, proxy: Proxy, strict: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        connection.request(method, path, None, {"authorization": f"Bearer {strict}"} | fields)
        response = connection.getresponse()
        assert (response.status, response.getheader("x-metrion-error")) == (403, "not_allowed")
        assert says in response.read()
    finally:
        connection.close()


def test_a_rate_limit_reserves_nothing_and_a_budget_counts_no_request(proxy: Proxy) -> None:
    secret = token(proxy, "both", "--monthly-budget", "5", "--rate", "2")
    assert [Answer(proxy, secret).status for _ in range(3)] == [200, 200, 429]
    assert standing(proxy, "both")["held"] == "0"
    poor = token(proxy, "poor", "--rate", "2")
    proxy.metrion("budget", "set", "--token", "poor", "--usd", "0", "--per", "day")
    refused = [Answer(proxy, poor).headers["x-metrion-error"] for _ in range(4)]
    assert refused == ["budget"] * 4
    proxy.metrion("budget", "remove", "--token", "poor")
    assert Answer(proxy, poor).status == 200


def test_what_a_killed_proxy_held_is_let_go_of_at_the_next_start(simulator: Simulator, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_serve(home, upstreams(simulator), arguments=["--workers", "2"]) as proxy:
        proxy.metrion("budget", "set", "--account", "default", "--usd", "5", "--per", "day")
        assert Answer(proxy, proxy.token).status == 200
        headers = simulator.select(delivery=Delivery(head_delay=30))
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request(
            "POST",
            "/openai/v1/chat/completions",
            json.dumps(BODY),
            headers | {"authorization": f"Bearer {proxy.token}"},
        )
        eventually(lambda: standing(proxy, "default")["held"] != "0")
        proxy.kill()
        connection.close()
    with running_serve(home, upstreams(simulator)) as proxy:
        found = standing(proxy, "default")
        (row,) = proxy.events("SELECT sum(cost_usd) AS spent FROM events")
        assert (Decimal(found["spent"]), found["held"]) == (Decimal(row["spent"]), "0")
        assert Answer(proxy, proxy.token).status == 200


def test_a_token_that_is_revoked_in_the_middle_of_a_stream(proxy: Proxy, simulator: Simulator) -> None:
    secret = token(proxy, "gone", "--monthly-budget", "5")
    proxy.metrion("budget", "set", "--account", "default", "--usd", "1000", "--per", "day")
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    headers = {"authorization": f"Bearer {secret}", **simulator.select(delivery=Delivery(hold=40))}
    body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", "/openai/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    first = response.read(40)
    assert standing(proxy, "default")["held"] != "0"
    proxy.metrion("token", "revoke", "gone")
    assert Answer(proxy, secret).status == 401
    simulator.release()
    assert (first + response.read()).endswith(b"data: [DONE]\n\n")
    connection.close()
    left = eventually(lambda: standing(proxy, "default"), until=lambda found: found["held"] == "0")
    (row,) = proxy.events("SELECT cost_usd FROM events WHERE token_name = 'gone'")
    assert Decimal(left["spent"]) >= Decimal(row["cost_usd"]) > 0
    proxy.metrion("budget", "remove", "--account", "default")


def test_a_control_database_that_vanishes_refuses_until_it_is_back(simulator: Simulator, tmp_path: Path) -> None:
    more = {"plans": {"pro": {"requests_per_minute": 0}}}
    with running_serve(tmp_path / "home", upstreams(simulator) | more) as proxy:
        proxy.metrion("budget", "set", "--account", "default", "--usd", "5", "--per", "day")
        assert Answer(proxy, proxy.token).status == 200
        database, away = proxy.home / "control.db", proxy.home / "away.db"
        database.rename(away)
        assert Answer(proxy, proxy.token).status == 200, "what was read last holds for five seconds"
        refused = eventually(lambda: Answer(proxy, proxy.token), until=lambda answer: answer.status != 200)
        assert (refused.status, refused.headers["x-metrion-error"]) == (500, "internal")
        assert not database.exists(), "nobody makes an empty one"
        away.rename(database)
        assert Answer(proxy, proxy.token).status == 200


def test_the_guard_refuses_requests_that_repeat_and_lets_others_pass(simulator: Simulator, tmp_path: Path) -> None:
    config = upstreams(simulator) | {"guard": {"identical_requests": 2, "token": {"tokens_per_minute": 10_000}}}
    with running_serve(tmp_path / "home", config) as proxy:
        assert [Answer(proxy, proxy.token).status for _ in range(3)] == [200, 200, 429]
        refused = Answer(proxy, proxy.token)
        assert refused.headers["x-metrion-error"] == "rate_limited"
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert "looks like a runaway" in refused.body
        assert Answer(proxy, proxy.token, {**BODY, "user": "x"}).status == 200
        assert Answer(proxy, proxy.token).status == 200


def test_own_limits_of_the_guard_hold_from_the_next_request_on(simulator: Simulator, tmp_path: Path) -> None:
    with running_serve(tmp_path / "home", upstreams(simulator)) as proxy:
        assert [Answer(proxy, proxy.token).status for _ in range(3)] == [200] * 3
        own = ("--account", "default", "--identical-requests", "2")
        proxy.metrion("guard", "set", *own)
        assert [Answer(proxy, proxy.token).status for _ in range(3)] == [200, 200, 429]
        assert "metrion guard set --account default" in Answer(proxy, proxy.token).body
        proxy.metrion("guard", "set", *own, "--then", "warn")
        warned = Answer(proxy, proxy.token)
        assert warned.status == 200
        assert "2 identical requests in a row" in warned.headers["x-metrion-guard-warning"]
        proxy.metrion("guard", "remove", "--account", "default")
        assert "x-metrion-guard-warning" not in Answer(proxy, proxy.token).headers
