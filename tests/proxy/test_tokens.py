"""What a token is changed to, while the proxy runs and the token is in use: limits, secrets, labels, shared keys."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.processes import Proxy, eventually, printed_token
from tests.simulated import Simulator

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Name a colour."}]}).encode()


def ask(proxy: Proxy, token: str, headers: Mapping[str, str] | None = None) -> tuple[int, str | None, str]:
    """Return the status, Metrion's code if it refused, and the body."""
    address = urlsplit(proxy.url("openai") + "/v1/chat/completions")
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    try:
        connection.request("POST", address.path, BODY, {"authorization": f"Bearer {token}"} | dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.getheader("x-metrion-error"), response.read().decode()
    finally:
        connection.close()


def new_token(proxy: Proxy, *arguments: str) -> tuple[str, str]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    return name, proxy.metrion("token", "create", name, *arguments).strip()


def rows(proxy: Proxy, name: str, count: int) -> list[dict[str, Any]]:
    query = f"SELECT user_label, tags, account, status FROM events WHERE token_name = '{name}' ORDER BY event_id"  # noqa: S608 -- the test's own
    return eventually(lambda: proxy.events(query), until=lambda found: len(found) >= count)


def test_what_is_changed_holds_at_once_for_a_token_in_use(proxy: Proxy) -> None:
    name, token = new_token(proxy, "--rate", "2")
    assert [ask(proxy, token)[0] for _ in range(3)] == [200, 200, 429]
    proxy.metrion("token", "set", name, "--rate", "4")
    changed_at = time.monotonic()
    assert [ask(proxy, token)[:2] for _ in range(3)] == [(200, None), (200, None), (429, "rate_limited")]
    assert time.monotonic() - changed_at < 30  # all within one window
    proxy.metrion("token", "set", name, "--rate", "0", "--monthly-requests", "5")
    assert [ask(proxy, token)[:2] for _ in range(2)] == [(200, None), (429, "monthly_cap")]
    proxy.metrion("token", "set", name, "--rate", "plan", "--monthly-requests", "plan", "--expires", "1mo")
    assert ask(proxy, token)[0] == 200


def test_a_rotated_token_keeps_its_name_and_its_counters(proxy: Proxy) -> None:
    name, old = new_token(proxy, "--monthly-requests", "4")
    assert ask(proxy, old)[0] == 200
    new = printed_token(proxy.metrion("token", "rotate", name, "--keep", "1h"))
    assert [ask(proxy, token)[0] for token in (old, new, old)] == [200, 200, 200]
    assert [ask(proxy, token)[1] for token in (old, new)] == ["monthly_cap"] * 2
    proxy.metrion("token", "set", name, "--monthly-requests", "0")
    newest = printed_token(proxy.metrion("token", "rotate", name))
    assert ask(proxy, newest)[0] == 200
    for ended in (old, new):
        status, code, body = ask(proxy, ended)
        assert (status, code) == (401, "invalid_token")
        assert f"{name} has a new secret, and this one is no longer valid" in body
    assert {row["status"] for row in rows(proxy, name, 7)} == {200, 429}
    proxy.metrion("token", "revoke", name)
    assert ask(proxy, newest)[:2] == (401, "invalid_token")


def test_the_old_token_ends_when_it_was_said_to(serve: Proxy) -> None:
    name, old = new_token(serve)
    new = printed_token(serve.metrion("token", "rotate", name, "--keep", "4s"))
    assert ask(serve, old)[0] == 200
    eventually(lambda: ask(serve, old)[1] == "invalid_token", timeout=10)
    assert ask(serve, new)[0] == 200


SENDS_CEO = {"x-metrion-user": "ceo", "x-metrion-tag-team": "board", "x-metrion-tag-job": "nightly"}
LABELS: list[tuple[str, Sequence[str], Mapping[str, str], str | None, Mapping[str, str] | None]] = [
    ("nothing said", (), SENDS_CEO, "ceo", {"team": "board", "job": "nightly"}),
    ("a default", ("--user", "ann", "--tag", "team=search"), {}, "ann", {"team": "search"}),
    ("a default, and a label is sent", ("--user", "ann", "--tag", "Team=search", "--tag", "a=b"), SENDS_CEO, "ceo",
     {"team": "board", "a": "b", "job": "nightly"}),
    ("fixed", ("--user", "ann", "--tag", "team=search", "--label-fixed"), SENDS_CEO, "ann",
     {"team": "search", "job": "nightly"}),
    ("fixed to none", ("--label-fixed",), SENDS_CEO, None, {"team": "board", "job": "nightly"}),
    ("not allowed", ("--allow-user", "team-*"), SENDS_CEO, None, {"team": "board", "job": "nightly"}),
    ("not allowed, a default", ("--user", "研究", "--allow-user", "team-*"), {"x-metrion-user": "ceo"}, "研究", None),
    ("allowed", ("--user", "ann", "--allow-user", "team-*"), {"x-metrion-user": "team-x"}, "team-x", None),
    ("as the default", ("--user", "ann", "--allow-user", "team-*"), {"x-metrion-user": "ann"}, "ann", None),
]  # fmt: skip


def test_labels_of_a_token(proxy: Proxy, simulator: Simulator) -> None:
    named = {}
    for case, arguments, sent, *expected in LABELS:
        name, token = new_token(proxy, *arguments)
        assert ask(proxy, token, sent)[0] == 200
        named[case] = (name, expected)
    for case, (name, expected) in named.items():
        (row,) = rows(proxy, name, 1)
        assert [row["user_label"], row["tags"]] == expected, case
    received = simulator.received(len(LABELS))
    assert not [name for each in received for name, _ in each.headers if name.lower().startswith(b"x-metrion")]
    name, _ = named["not allowed"]
    assert proxy.log.read_text().count(f"The token {name} sent an x-metrion-user that it may not use") == 1
    assert "'ceo'" not in proxy.log.read_text()


def test_a_refused_request_has_the_label_of_its_token_too(proxy: Proxy) -> None:
    name, token = new_token(proxy, "--user", "ann", "--label-fixed", "--monthly-requests", "1")
    assert [ask(proxy, token, SENDS_CEO)[0] for _ in range(2)] == [200, 429]
    assert [row["user_label"] for row in rows(proxy, name, 2)] == ["ann", "ann"]


def test_labels_change_while_a_token_is_in_use(proxy: Proxy) -> None:
    name, token = new_token(proxy)
    ask(proxy, token, SENDS_CEO)
    proxy.metrion("token", "set", name, "--user", "ann", "--label-fixed")
    ask(proxy, token, SENDS_CEO)
    proxy.metrion("token", "set", name, "--no-label-fixed", "--no-user")
    ask(proxy, token)
    assert [row["user_label"] for row in rows(proxy, name, 3)] == ["ceo", "ann", None]


def test_a_token_moves_to_another_account_and_accounts_share_a_key(serve: Proxy, simulator: Simulator) -> None:
    account = f"a-{uuid.uuid4().hex[:12]}"
    serve.metrion("account", "create", account)
    name, token = new_token(serve)
    assert ask(serve, token)[0] == 200
    serve.metrion("token", "set", name, "--account", account)
    assert ask(serve, token)[:2] == (400, "no_provider_key")
    serve.metrion("key", "set", "openai", "--for-all", stdin="shared-key-0123456789\n")
    try:
        assert ask(serve, token)[0] == 200
        serve.metrion("key", "set", "openai", "--account", account, stdin="own-key-0123456789\n")
        assert ask(serve, token)[0] == 200
        serve.metrion("key", "remove", "openai", "--account", account)
        assert ask(serve, token)[0] == 200
        assert ask(serve, serve.token)[0] == 200  # of the account default, which has a key of its own
    finally:
        serve.metrion("key", "remove", "openai", "--for-all")
    assert ask(serve, token)[:2] == (400, "no_provider_key")
    keys = [each.header("authorization")[0].decode() for each in simulator.received(5)]
    stored = keys[0]
    assert keys[1:] == [
        "Bearer shared-key-0123456789",
        "Bearer own-key-0123456789",
        "Bearer shared-key-0123456789",
        stored,
    ]
    assert {row["account"] for row in rows(serve, name, 6)} == {"default", account}


def test_every_worker_knows_of_a_change_at_once(serve2: Proxy) -> None:
    name, old = new_token(serve2)
    assert {ask(serve2, old)[0] for _ in range(8)} == {200}
    new = printed_token(serve2.metrion("token", "rotate", name))
    assert {ask(serve2, old)[:2] for _ in range(8)} == {(401, "invalid_token")}
    assert {ask(serve2, new)[0] for _ in range(8)} == {200}


def test_the_list_says_when_a_token_was_last_used(serve: Proxy) -> None:
    name, token = new_token(serve)
    (before,) = (each for each in listed(serve) if each["name"] == name)
    assert before["last_used_at"] is None
    ask(serve, token)
    serve.metrion("token", "rotate", name)
    (after,) = (each for each in listed(serve) if each["name"] == name)
    assert after["last_used_at"] >= after["created_at"]


def listed(proxy: Proxy) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(proxy.metrion("token", "list", "--format", "json"))
    return found
