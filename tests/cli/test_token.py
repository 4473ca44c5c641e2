from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.console import SCRIPT, Console

TOKEN = re.compile(r"sk-metrion-[A-Za-z0-9_-]{43}\n")


def listed(metrion: Console) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(metrion.ok("token", "list", "--format", "json"))
    return found


def test_create_prints_the_token_alone_on_standard_output(metrion: Console) -> None:
    result = metrion("token", "create")
    assert result.status == 0
    assert TOKEN.fullmatch(result.out)
    assert result.err == "Token token-1 for account default. It cannot be shown again: keep it now.\n"


def test_nothing_else_ever_shows_or_keeps_the_token(metrion: Console) -> None:
    secret = metrion.ok("token", "create", "laptop").strip()
    outputs = [
        metrion(*arguments)
        for arguments in (
            ("token", "list"),
            ("token", "list", "--format", "json"),
            ("token", "create", "laptop"),
            ("token", "revoke", secret),
            ("token", "revoke", "laptop"),
            ("token", "create", secret),
            ("token", "create", "--account", secret),
            ("account", "list"),
            ("key", "list"),
        )
    ]
    outputs.append(metrion("key", "set", "openai", stdin=secret))
    assert not [result for result in outputs if secret in result.out + result.err]
    assert secret.encode() not in metrion.state()


def test_limits_and_times_are_kept_and_listed(metrion: Console) -> None:
    metrion.ok("account", "create", "team", "--plan", "free")
    limits = ["--rate", "0", "--monthly-requests", "500", "--monthly-budget", "49.990", "--timeout", "0.5"]
    secret = metrion.ok("token", "create", "ci@host", "--account", "team", *limits, "--expires", "2999-01-31").strip()
    metrion.ok("token", "create")
    first, second = listed(metrion)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(first.pop("created_at")))
    assert first == {
        "name": "ci@host",
        "account": "team",
        "plan": "free",
        "token": f"sk-metrion-…{secret[-4:]}",
        "requests_per_minute": 0,
        "requests_per_month": 500,
        "monthly_budget_usd": "49.990",
        "timeout": 0.5,
        "expires_at": "2999-01-31T00:00:00Z",
        "revoked_at": None,
        "state": "active",
    }
    assert second["requests_per_minute"] is None
    table = metrion.ok("token", "list").splitlines()
    assert re.split(r"  +", table[2])[:7] == [
        "ci@host",
        "team",
        f"sk-metrion-…{secret[-4:]}",
        "-",
        "500",
        "49.990 USD",
        "0.5 s",
    ]
    assert re.split(r"  +", table[3])[3:7] == ["100/min", "-", "-", "600 s"]


def test_the_limits_of_the_plan_come_from_the_configuration(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("plans: {pro: {requests_per_minute: 5000, requests_per_month: 1000000, timeout: 2.5}}\n")
    metrion.ok("token", "create", "--config", str(file))
    row = metrion.ok("token", "list", "--config", str(file)).splitlines()[2]
    assert re.split(r"  +", row)[3:7] == ["5,000/min", "1,000,000", "-", "2.5 s"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rate", "-1", "-1 is not in the range"),
        ("--rate", "many", "'many' is not a valid integer"),
        ("--monthly-requests", "1.5", "'1.5' is not a valid integer"),
        ("--monthly-budget", "-5", "Write 50 or 49.99; 0 means no limit."),
        ("--monthly-budget", "$5", "'$5' is no amount in US dollars"),
        ("--monthly-budget", "1e3", "'1e3' is no amount in US dollars"),
        ("--monthly-budget", "nan", "'nan' is no amount in US dollars"),
        ("--timeout", "inf", "Write 30 or 0.5; 0 means no limit."),
        ("--timeout", "-1", "'-1' is no number of seconds"),
        ("--timeout", "soon", "'soon' is no number of seconds"),
        ("--expires", "2020-01-01", "'2020-01-01' is in the past"),
        ("--expires", "0d", "is in the past"),
        ("--expires", "tomorrow", "Write 12h, 30d, 2w, 2027-01-31 or 2027-01-31T12:00 (UTC)."),
        ("--account", "a b", "1 to 64 letters, digits"),
    ],
)
def test_a_limit_that_makes_no_sense_is_bad_usage(metrion: Console, option: str, value: str, message: str) -> None:
    result = metrion("token", "create", f"{option}={value}")
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert f"'{option}'" in result.err
    assert not metrion.home.exists()


@pytest.mark.parametrize("name", ["a b", "", "é", "x" * 65])
def test_a_name_that_cannot_be_used_is_bad_usage(metrion: Console, name: str) -> None:
    result = metrion("token", "create", name)
    assert (result.status, result.out) == (2, "")
    assert "1 to 64 letters, digits and `._-@`" in result.err


def test_a_revoked_token_stays_in_the_list_and_its_name_is_free_again(metrion: Console) -> None:
    metrion.ok("token", "create", "laptop")
    again = metrion("token", "create", "laptop")
    assert (again.status, again.out) == (1, "")
    assert "run `metrion token revoke laptop` first" in again.err
    metrion.ok("token", "revoke", "laptop")
    metrion.ok("token", "create", "laptop")
    assert [(token["name"], token["state"]) for token in listed(metrion)] == [
        ("laptop", "revoked"),
        ("laptop", "active"),
    ]


def test_an_empty_list_is_an_empty_array_or_a_hint(metrion: Console) -> None:
    assert listed(metrion) == []
    assert "`metrion token create` makes one" in metrion("token", "list").err


def test_commands_at_the_same_time_on_a_new_home_all_succeed(metrion: Console) -> None:
    processes = [
        subprocess.Popen(
            [SCRIPT, "token", "create"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=metrion.environment(),
        )
        for _ in range(8)
    ]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [status for _, _, status in results] == [0] * 8, results
    assert len({out for out, _, _ in results}) == 8
    assert sorted(str(token["name"]) for token in listed(metrion)) == [f"token-{n}" for n in range(1, 9)]
