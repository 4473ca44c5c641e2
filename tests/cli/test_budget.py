"""``metrion budget``: what is set, changed, listed and removed, and what mistakes say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.console import Console


def ok(metrion: Console, *arguments: str) -> str:
    done = metrion.inside(*arguments)
    assert done.status == 0, done.err
    return done.out


def listed(metrion: Console) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ok(metrion, "budget", "list", "--format", "json"))
    return rows


def test_budgets_are_set_changed_listed_and_removed(metrion: Console) -> None:
    ok(metrion, "token", "create", "ci")
    ok(metrion, "account", "create", "team")
    ok(metrion, "budget", "set", "--token", "ci", "--usd", "20", "--per", "month")
    ok(metrion, "budget", "set", "--token", "ci", "--usd", "1.50", "--per", "day", "--timezone", "Europe/Berlin")
    ok(metrion, "budget", "set", "--account", "team", "--usd", "5", "--per", "30d", "--then", "warn")
    ok(metrion, "budget", "set", "--provider", "grok", "--usd", "0", "--per", "month")
    rows = [[row[name] for name in ("scope", "name", "usd", "per", "then", "timezone")] for row in listed(metrion)]
    assert rows == [
        ["token", "ci", "20", "month", "refuse", None],
        ["token", "ci", "1.5", "day", "refuse", "Europe/Berlin"],
        ["account", "team", "5", "30d", "warn", None],
        ["provider", "xai", "0", "month", "refuse", None],
    ]
    assert {row["spent"] for row in listed(metrion)} == {"0"}
    ok(metrion, "budget", "set", "--token", "ci", "--usd", "30", "--per", "month", "--then", "warn")
    assert (listed(metrion)[0]["usd"], listed(metrion)[0]["then"]) == ("30", "warn")
    ok(metrion, "budget", "remove", "--token", "ci", "--per", "day")
    ok(metrion, "budget", "remove", "--provider", "xai")
    assert [row["name"] for row in listed(metrion)] == ["ci", "team"]
    described = metrion("budget", "set", "--token", "ci", "--usd", "30", "--per", "month", "--then", "cheaper")
    assert "then requests go out as what is cheaper, or are refused." in described.err
    assert "no policy says what is cheaper" in described.err
    assert listed(metrion)[0]["then"] == "cheaper"
    table = ok(metrion, "budget", "list")
    assert "30.00" in table
    assert "UTC" in table


def test_the_monthly_budget_of_a_token_is_one_of_them(metrion: Console) -> None:
    ok(metrion, "token", "create", "ci", "--monthly-budget", "9.90")
    assert [(row["name"], row["usd"], row["per"]) for row in listed(metrion)] == [("ci", "9.9", "month")]
    ok(metrion, "token", "set", "ci", "--rate", "5")
    ok(metrion, "budget", "set", "--token", "ci", "--usd", "7", "--per", "month", "--timezone", "Asia/Tokyo")
    assert json.loads(ok(metrion, "token", "list", "--format", "json"))[0]["monthly_budget_usd"] == "7"
    ok(metrion, "token", "set", "ci", "--monthly-budget", "8")
    (row,) = listed(metrion)
    assert (row["usd"], row["timezone"]) == ("8", "Asia/Tokyo")
    ok(metrion, "token", "set", "ci", "--monthly-budget", "plan")
    assert listed(metrion) == []
    ok(metrion, "budget", "set", "--token", "ci", "--usd", "0", "--per", "month")
    ok(metrion, "token", "set", "ci", "--rate", "6")
    assert listed(metrion)[0]["usd"] == "0"
    ok(metrion, "token", "revoke", "ci")
    assert listed(metrion) == []


@pytest.mark.parametrize("label", ["ann", "日本 語", "العربية", "Ünïcode", "🦊"])
def test_labels_in_any_script(label: str, metrion: Console) -> None:
    ok(metrion, "token", "create", "loose")
    ok(metrion, "token", "create", "fixed", "--user", "x", "--label-fixed")
    done = metrion.inside("budget", "set", "--user", label, "--usd", "5", "--per", "day")
    assert "Requests of loose may send another label" in done.err
    assert [row["name"] for row in listed(metrion)] == [label]
    ok(metrion, "budget", "remove", "--user", label)
    assert listed(metrion) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--token", "ci", "--usd", "-1", "--per", "day"], "is no amount"),
        (["--token", "ci", "--usd", "1e99", "--per", "day"], "is no amount"),
        (["--token", "ci", "--usd", "9" * 13, "--per", "day"], "is no amount"),
        (["--token", "ci", "--usd", "9" * 12, "--per", "day"], "between 0 and 9,000,000 USD"),
        (["--token", "ci", "--usd", "nan", "--per", "day"], "is no amount"),
        (["--token", "ci", "--usd", "1", "--per", "year"], "write day, month"),
        (["--token", "ci", "--usd", "1", "--per", "day", "--timezone", "Mars"], "is not a time zone"),
        (["--token", "co", "--usd", "1", "--per", "day"], "Did you mean 'ci'?"),
        (["--account", "nobody", "--usd", "1", "--per", "day"], "no account named 'nobody'"),
        (["--provider", "opnai", "--usd", "1", "--per", "day"], "no provider 'opnai'"),
        (["--user", "a*", "--usd", "1", "--per", "day"], "one label"),
        (["--usd", "1", "--per", "day"], "say what it is for"),
        (["--token", "ci", "--account", "default", "--usd", "1", "--per", "day"], "say what it is for"),
    ],
)
def test_mistakes_change_nothing_and_say_how_to_write_it(options: list[str], says: str, metrion: Console) -> None:
    ok(metrion, "token", "create", "ci")
    done = metrion.inside("budget", "set", *options)
    assert done.status in (1, 2)
    assert says in done.err
    assert listed(metrion) == []


def test_what_is_not_there_cannot_be_removed(metrion: Console) -> None:
    ok(metrion, "token", "create", "ci", "--monthly-budget", "5")
    done = metrion.inside("budget", "remove", "--token", "ci", "--per", "day")
    assert done.status == 1
    assert "It has one for each month" in done.err
    assert metrion.inside("budget", "remove", "--user", "ann").status == 1


def test_a_budget_that_is_too_large_is_no_monthly_budget_either(metrion: Console) -> None:
    done = metrion.inside("token", "create", "ci", "--monthly-budget", "9" * 12)
    assert done.status == 1
    assert "between 0 and 9,000,000 USD" in done.err
