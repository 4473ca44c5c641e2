"""``metrion guard``: what is set, replaced, listed and removed, and what mistakes say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.console import Console
from tests.cli.test_budget import ok


def listed(metrion: Console) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ok(metrion, "guard", "list", "--format", "json"))
    return rows


def test_limits_are_set_replaced_listed_and_removed(metrion: Console) -> None:
    ok(metrion, "token", "create", "agent")
    ok(metrion, "account", "create", "team")
    done = metrion.inside("guard", "set", "--token", "agent", "--usd-per-minute", "2.50", "--tokens-per-minute", "9")
    assert "2.5 USD a minute, 9 tokens a minute; then requests are refused" in done.err
    ok(metrion, "guard", "set", "--account", "team", "--identical-requests", "20", "--then", "warn")
    ok(metrion, "guard", "set", "--token", "agent", "--usd-per-minute", "3")
    names = ("scope", "name", "usd_per_minute", "tokens_per_minute", "identical_requests", "then")
    assert [tuple(row[name] for name in names) for row in listed(metrion)] == [
        ("account", "team", "0", 0, 20, "warn"),
        ("token", "agent", "3", 0, 0, "refuse"),
    ]
    assert "identical in a row" in ok(metrion, "guard", "list")
    ok(metrion, "guard", "remove", "--account", "team")
    ok(metrion, "token", "revoke", "agent")
    assert listed(metrion) == [], "a token that is revoked leaves its limits to nobody"
    entries = json.loads(ok(metrion, "audit", "--format", "json"))
    changes = [(each["what"], each["subject"]) for each in entries if each["what"].startswith("guard")]
    assert changes == [
        ("guard.remove", "account team"),
        ("guard.set", "token agent"),
        ("guard.set", "account team"),
        ("guard.set", "token agent"),
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("set", "--usd-per-minute", "1"), 2, "one of --token and --account"),
        (("set", "--token", "token-1", "--account", "default", "--usd-per-minute", "1"), 2, "one of --token and"),
        (("set", "--account", "default"), 2, "say what is bounded"),
        (("set", "--account", "default", "--usd-per-minute", "-1"), 2, "no amount"),
        (("set", "--account", "default", "--usd-per-minute", "9000001"), 1, "between 0 and 9,000,000"),
        (("set", "--account", "default", "--tokens-per-minute", "1000000000001"), 1, "1,000,000,000,000"),
        (("set", "--account", "default", "--identical-requests", "1000001"), 1, "1,000,000"),
        (("set", "--account", "defualt", "--identical-requests", "1"), 1, "did you mean 'default'"),
        (("set", "--token", "nobody", "--identical-requests", "1"), 1, "no token named 'nobody'"),
        (("remove", "--account", "default"), 1, "no limits of its own"),
    ],
)
def test_mistakes(metrion: Console, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = metrion.inside("guard", *arguments)
    assert done.status == status
    assert words.lower() in done.err.lower()
    assert listed(metrion) == []
