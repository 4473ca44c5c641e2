from __future__ import annotations

import json

import pytest

from metrion.alerts import MEASURES
from metrion.cli.alert import _MEASURES
from tests.alerts.rules import receiving
from tests.cli.console import Console


def test_a_rule_is_added_listed_tested_and_removed(metrion: Console) -> None:
    with receiving() as receiver:
        added = metrion.inside(
            "alert", "add", "month", "spend", "99.50", "--user", "ann", "--webhook", "-", "--allow-private",
            stdin=receiver.url + "\n",
        )  # fmt: skip
        assert added.status == 0, added.err
        assert added.err == (
            f"Rule month watches spend, user ann (limit 99.50 usd) and sends to http://127.0.0.1:{receiver.port}/…. It "
            "is looked at while `metrion serve` runs; `metrion alert test month` sends a test.\n"
        )
        tested = metrion.inside("alert", "test", "month")
    assert (tested.status, tested.err) == (0, f"http://127.0.0.1:{receiver.port}/… has taken the test.\n")
    assert receiver.messages[0]["kind"] == "test"
    (rule,) = json.loads(metrion.inside("alert", "list", "--format", "json").out)
    assert {name: rule[name] for name in ("name", "measure", "limit", "unit", "span", "filters")} == {
        "name": "month", "measure": "spend", "limit": "99.50", "unit": "usd", "span": "month",
        "filters": {"user": "ann"},
    }  # fmt: skip
    (sent,) = json.loads(metrion.inside("alert", "history", "--format", "json").out)
    assert (sent["kind"], sent["state"], sent["problem"]) == ("test", "sent", None)
    assert metrion.inside("alert", "remove", "month").status == 0
    assert "There are no rules yet" in metrion.inside("alert", "list").err
    assert "Metrion test: month" in metrion.inside("alert", "history", "month").out
    assert b"secret-path" not in metrion.state()


def test_a_test_that_does_not_arrive_fails(metrion: Console) -> None:
    metrion.inside("alert", "add", "m", "spend", "1", "--webhook", "http://127.0.0.1:9/secret-path")
    tested = metrion.inside("alert", "test", "m")
    assert tested.status == 1
    (sent,) = json.loads(metrion.inside("alert", "history", "--format", "json").out)
    assert (sent["state"], sent["tries"]) == ("failed", 1)
    assert "--allow-private" in sent["problem"]


HOOK = ("--webhook", "https://example.com/secret-path")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("m", "spend", "1"), 2, "say where messages go"),
        (("m", "spend", "0", *HOOK), 2, "a number above 0"),
        (("m", "spend", "-1", *HOOK), 2, ""),
        (("m", "spend", "ten", *HOOK), 2, "is no number"),
        (("m", "spend", "1e9", *HOOK), 2, "is no number"),
        (("m", "errors", "101", *HOOK), 2, "at most 100"),
        (("m", "spend", "1", "--per", "week", *HOOK), 2, "'week' is no span: write day, month"),
        (("m", "spend-rate", "1", "--per", "month", *HOOK), 2, "a length of time"),
        (("m", "silence", "1", "--per", "day", *HOOK), 2, "has no span"),
        (("m", "budget", "90", *HOOK), 2, "name one of provider, account, token, user"),
        (("m", "budget", "90", "--token", "ci", "--user", "ann", *HOOK), 2, "`budget` is of one thing"),
        (("m", "budget", "90", "--token", "ci", "--per", "rule", *HOOK), 2, "no budget has the span 'rule'"),
        (("m", "budget", "90", "--token", "ci", "--per", "15m", *HOOK), 2, "no budget has the span '15m'"),
        (("m", "budget", "101", "--token", "ci", *HOOK), 2, "the limit of `budget` is a percentage: at most 100"),
        (("m", "nothing", "1", *HOOK), 2, "spend-rate"),
        (("m", "spend", "1", "--provider", "nobody", *HOOK), 2, "Known are: anthropic"),
        (("m", "spend", "1", "--webhook", "secret-path"), 2, "this is no URL"),
        (("m", "spend", "1", "--webhook", "-"), 2, "no URL came in"),
        (("m", "spend", "1", "--email", "a@b.c"), 2, "go together"),
        (("m", "spend", "1", "--email", "a@b.c", "--smtp", "smtp://me@mail.example"), 2, "no password came in"),
        (("sk-metrion-" + "x" * 43, "spend", "1", *HOOK), 2, "looks like a token"),
    ],
)
def test_what_cannot_be_watched(metrion: Console, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = metrion.inside("alert", "add", *arguments)
    assert done.status == status
    assert words in done.err
    assert "secret-path" not in done.err


def test_a_name_is_taken_once_and_a_misspelt_one_is_suggested(metrion: Console) -> None:
    assert metrion.inside("alert", "add", "month", "spend", "1", *HOOK).status == 0
    assert "exists" in metrion("alert", "add", "month", "spend", "1", *HOOK).err
    assert "Did you mean 'month'?" in metrion("alert", "remove", "mont").err


def test_the_measures_are_those_that_there_are() -> None:
    assert tuple(MEASURES) == _MEASURES
