from __future__ import annotations

import json

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
    assert "has the plan free. `metrion token create --account jane@example.com`" in made.err
    metrion.ok("account", "create", "team", "--plan", "pro")
    metrion.ok("account", "set", "jane@example.com", "--plan", "pro")
    metrion.ok("account", "set", "default", "--plan", "free")
    assert plans(metrion) == {"default": "free", "jane@example.com": "pro", "team": "pro"}


def test_an_account_that_exists_is_not_made_again(metrion: Console) -> None:
    result = metrion("account", "create", "default")
    assert result.status == 1
    assert "'default' exists: `metrion account set default --plan free` changes its plan." in result.err
    assert plans(metrion) == {"default": "pro"}


def test_an_account_that_does_not_exist_is_not_changed(metrion: Console) -> None:
    result = metrion("account", "set", "defualt", "--plan", "pro")
    assert result.status == 1
    assert "no account named 'defualt'. Did you mean 'default'?" in result.err


def test_a_name_that_cannot_be_used_is_bad_usage(metrion: Console) -> None:
    result = metrion("account", "create", "a b")
    assert result.status == 2
    assert "1 to 64 letters, digits" in result.err
