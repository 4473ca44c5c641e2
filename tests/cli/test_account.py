from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.console import Console


def plans(metrion: Console) -> dict[str, str]:
    return {
        account["name"]: account["plan"] for account in json.loads(metrion.ok("account", "list", "--format", "json"))
    }


def test_the_default_account_is_there_from_the_start(metrion: Console) -> None:
    assert plans(metrion) == {"default": "pro"}
    assert metrion.ok("account", "list").splitlines()[2].split()[:2] == ["default", "pro"]


def test_accounts_are_made_and_changed(metrion: Console) -> None:
    made = metrion("account", "create", "jane@example.com")
    assert (made.status, made.out) == (0, "")
    assert "has the plan pro. `metrion token create --account jane@example.com`" in made.err
    metrion.ok("account", "create", "team", "--plan", "free")
    metrion.ok("account", "set", "team", "--plan", "pro")
    metrion.ok("account", "set", "default", "--plan", "free")
    assert plans(metrion) == {"default": "free", "jane@example.com": "pro", "team": "pro"}


def test_an_account_that_exists_is_not_made_again(metrion: Console) -> None:
    result = metrion("account", "create", "default")
    assert result.status == 1
    assert "'default' exists: `metrion account set default --plan pro` changes its plan." in result.err
    assert plans(metrion) == {"default": "pro"}


def test_an_account_that_does_not_exist_is_not_changed(metrion: Console) -> None:
    result = metrion("account", "set", "defualt", "--plan", "pro")
    assert result.status == 1
    assert "no account named 'defualt'. Did you mean 'default'?" in result.err


def test_a_name_that_cannot_be_used_is_bad_usage(metrion: Console) -> None:
    result = metrion("account", "create", "a b")
    assert result.status == 2
    assert "1 to 64 letters, digits" in result.err


def succeed(metrion: Console, *arguments: str, stdin: str = "") -> str:
    result = metrion.inside(*arguments, stdin=stdin)
    assert result.status == 0, result.err
    return result.out


def now(metrion: Console) -> dict[str, str]:
    accounts = json.loads(succeed(metrion, "account", "list", "--format", "json"))
    return {account["name"]: account["plan"] for account in accounts}


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        (["create", "team"], "100 requests in 60 seconds and any number a month, with a timeout of 600 s."),
        (
            ["create", "team", "--plan", "free"],
            "100 requests in 60 seconds and 10,000 a month, with a timeout of 30 s.",
        ),
        (
            ["set", "default", "--plan", "free"],
            "100 requests in 60 seconds and 10,000 a month, with a timeout of 30 s.",
        ),
    ],
)
def test_what_the_plan_limits_is_said(metrion: Console, arguments: list[str], limits: str) -> None:
    assert f"Each of its tokens may send {limits}\n" in metrion.inside("account", *arguments).err


def test_the_limits_that_are_said_are_those_of_the_configuration(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("plans: {pro: {requests_per_minute: 0, requests_per_month: 1000000, timeout: null}}\n")
    said = metrion.inside("account", "create", "team", "--config", str(file)).err
    assert "may send any number of requests in 60 seconds and 1,000,000 a month, with no timeout." in said
    assert re.split(r"  +", succeed(metrion, "account", "list", "--config", str(file)).splitlines()[2])[1:5] == [
        "pro", "-", "1,000,000", "-",
    ]  # fmt: skip


def test_an_account_is_removed_with_its_keys_and_can_be_made_again(metrion: Console) -> None:
    succeed(metrion, "account", "create", "team", "--plan", "free")
    succeed(metrion, "token", "create", "ci", "--account", "team")
    succeed(metrion, "token", "revoke", "ci")
    for provider in ("openai", "xai"):
        succeed(metrion, "key", "set", provider, "--account", "team", stdin="a-key-of-the-team")
    assert metrion.inside("account", "remove", "team").err == "Account team is removed, with its keys of openai, xai.\n"
    assert now(metrion) == {"default": "pro"}
    assert json.loads(succeed(metrion, "key", "list", "--format", "json")) == []
    assert [token["state"] for token in json.loads(succeed(metrion, "token", "list", "--format", "json"))] == [
        "revoked"
    ]
    for command in (["token", "create", "--account"], ["account", "remove"], ["account", "set", "--plan", "pro"]):
        result = metrion.inside(*command, "team")
        assert (result.status, result.out) == (1, "")
        assert "there is no account named 'team'." in result.err
    succeed(metrion, "account", "create", "team")
    assert now(metrion) == {"default": "pro", "team": "pro"}
    assert json.loads(succeed(metrion, "key", "list", "--format", "json")) == []


def test_an_account_that_has_tokens_stays_and_the_error_names_them(metrion: Console) -> None:
    succeed(metrion, "account", "create", "team")
    succeed(metrion, "token", "create", "ci", "--account", "team")
    one = metrion.inside("account", "remove", "team")
    assert (one.status, one.out) == (1, "")
    assert one.err == (
        "Error: the account 'team' has the token ci. Revoke it with `metrion token revoke ci`, or move it with "
        "`metrion token set ci --account default`, then remove the account.\n"
    )
    succeed(metrion, "token", "create", "laptop", "--account", "team", "--expires", "1h")
    assert (
        "'team' has 2 tokens: ci, laptop. Revoke each with `metrion token revoke ci`"
        in metrion.inside("account", "remove", "team").err
    )
    succeed(metrion, "token", "set", "ci", "--account", "default")
    succeed(metrion, "token", "revoke", "laptop")
    succeed(metrion, "account", "remove", "team")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("default", "the account 'default' belongs to every home and stays."),
        ("defualt", "no account named 'defualt'. Did you mean 'default'?"),
    ],
)
def test_an_account_that_cannot_be_removed_says_why(metrion: Console, name: str, message: str) -> None:
    result = metrion.inside("account", "remove", name)
    assert result.status == 1
    assert message in result.err


def test_the_account_of_intercepted_traffic_stays(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("intercept: {account: team}\n")
    succeed(metrion, "account", "create", "team")
    result = metrion.inside("account", "remove", "team", "--config", str(file))
    assert result.status == 1
    assert "`intercept.account`" in result.err
    assert "team" in now(metrion)
