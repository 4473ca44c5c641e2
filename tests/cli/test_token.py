from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metrion.control import ControlStore
from metrion.settings import Settings
from tests.cli.console import SCRIPT, Console
from tests.credentials import PROVIDER_KEY

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
        "user_label": None,
        "tags": None,
        "label_fixed": False,
        "allowed_labels": None,
        "last_used_at": None,
        "allowed_providers": None,
        "allowed_models": None,
        "allowed_operations": None,
        "allowed_networks": None,
        "key": None,
        "takes_unpriced": False,
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


def test_tokens_of_runs_that_have_ended_are_listed_on_request(metrion: Console) -> None:
    for name in ("run-20261129-020000-a1b2", "run-20261129-020000-c3d4", "laptop"):
        metrion.ok("token", "create", name)
    for name in ("run-20261129-020000-a1b2", "laptop"):
        metrion.ok("token", "revoke", name)
    assert [token["name"] for token in listed(metrion)] == ["run-20261129-020000-c3d4", "laptop"]
    assert len(json.loads(metrion.ok("token", "list", "--all", "--format", "json"))) == 3
    assert "1 of `metrion run` have ended: `metrion token list --all`" in metrion("token", "list").err


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


# --- changing, rotating ---


def made(metrion: Console, *arguments: str) -> str:
    result = metrion.inside(*arguments)
    assert result.status == 0, result.err
    return result.out


def now(metrion: Console) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(made(metrion, "token", "list", "--format", "json"))
    return found


def changed(metrion: Console, name: str = "ci") -> dict[str, object]:
    return next(token for token in now(metrion) if token["name"] == name)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--rate", "5"], "requests_per_minute", 5),
        (["--rate", "0"], "requests_per_minute", 0),
        (["--rate", "plan"], "requests_per_minute", None),
        (["--monthly-requests", "7"], "requests_per_month", 7),
        (["--monthly-requests", "plan"], "requests_per_month", None),
        (["--monthly-budget", "1.50"], "monthly_budget_usd", "1.50"),
        (["--monthly-budget", "plan"], "monthly_budget_usd", None),
        (["--timeout", "2.5"], "timeout", 2.5),
        (["--timeout", "plan"], "timeout", None),
        (["--expires", "2998-02-03"], "expires_at", "2998-02-03T00:00:00Z"),
        (["--expires", "never"], "expires_at", None),
        (["--account", "team"], "account", "team"),
        (["--user", " Zoë "], "user_label", "Zoë"),
        (["--user", "研究"], "user_label", "研究"),
        (["--no-user"], "user_label", None),
        (["--tag", "Cost-Center=4 2", "--tag", "b=c=d"], "tags", {"cost-center": "4 2", "b": "c=d"}),
        (["--no-tags"], "tags", None),
        (["--no-label-fixed"], "label_fixed", False),
        (["--allow-user", "b-*", "--allow-user", "c", "--allow-user", "c"], "allowed_labels", ["b-*", "c"]),
        (["--allow-any-user"], "allowed_labels", None),
        (["--allow-provider", "Gemini", "--allow-provider", "grok"], "allowed_providers", ["google", "xai"]),
        (["--allow-any-provider"], "allowed_providers", None),
        (["--allow-model", "claude-*", "--allow-model", " gpt-4o "], "allowed_models", ["claude-*", "gpt-4o"]),
        (["--allow-model", "模型*"], "allowed_models", ["模型*"]),
        (["--allow-any-model"], "allowed_models", None),
        (
            ["--allow-operation", "Chat", "--allow-operation", "count-tokens"],
            "allowed_operations",
            ["chat", "count_tokens"],
        ),
        (["--allow-any-operation"], "allowed_operations", None),
        (
            ["--from", "10.0.0.0/8", "--from", "192.0.2.7", "--from", "[2001:DB8::]/32"],
            "allowed_networks",
            ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"],
        ),
        (["--from-anywhere"], "allowed_networks", None),
    ],
)
def test_set_changes_what_is_given_and_nothing_else(
    metrion: Console, arguments: list[str], field: str, value: object
) -> None:
    made(metrion, "account", "create", "team")
    limits = ["--rate", "9", "--monthly-requests", "9", "--monthly-budget", "9", "--timeout", "9"]
    labels = ["--user", "ann", "--tag", "team=a", "--label-fixed", "--allow-user", "a*"]
    rules = ["--allow-provider", "openai", "--allow-model", "a*", "--allow-operation", "chat", "--from", "127.0.0.1"]
    made(metrion, "token", "create", "ci", *limits, *labels, *rules, "--expires", "2999-01-31")
    before = changed(metrion)
    result = metrion.inside("token", "set", "ci", *arguments)
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith("Token ci of account ")
    assert changed(metrion) == before | {field: value}


def test_set_says_what_holds_now(metrion: Console) -> None:
    made(metrion, "token", "create", "ci")
    said = metrion.inside("token", "set", "ci", "--rate", "5", "--user", "ann", "--label-fixed", "--tag", "a=b").err
    assert said == (
        "Token ci of account default: rate 5/min, requests a month none, budget none, timeout 600 s, "
        "label ann (fixed), expires never, tags a=b.\n"
    )


@pytest.mark.parametrize("command", ["set", "rotate", "revoke"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lapto", "Error: there is no token named 'lapto'. Did you mean 'laptop'? `metrion token list` shows them.\n"),
        ("CJ", "Error: there is no token named 'CJ'. Did you mean 'ci'? `metrion token list` shows them.\n"),
        ("gone", "'gone' is revoked already, since 20"),
    ],
)
def test_a_token_that_is_not_there_is_not_changed(metrion: Console, command: str, name: str, message: str) -> None:
    for each in ("laptop", "ci", "gone"):
        made(metrion, "token", "create", each)
    made(metrion, "token", "revoke", "gone")
    before = now(metrion)
    result = metrion.inside("token", command, name, *(["--rate", "1"] if command == "set" else []))
    assert (result.status, result.out) == (1, "")
    assert message in result.err
    assert now(metrion) == before


def test_a_token_is_not_moved_to_an_account_that_is_not_there(metrion: Console) -> None:
    made(metrion, "account", "create", "team")
    made(metrion, "token", "create", "ci")
    result = metrion.inside("token", "set", "ci", "--account", "taem", "--rate", "1")
    assert result.status == 1
    assert "no account named 'taem'. Did you mean 'team'?" in result.err
    assert (changed(metrion)["account"], changed(metrion)["requests_per_minute"]) == ("default", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to change: say what, as in `metrion token set ci --rate 20`."),
        (["--rate", "many"], "'--rate': 'many' is not a valid integer range. Or write plan."),
        (["--rate", "-1"], "'--rate': -1 is not in the range"),
        (["--rate", "9" * 400], "'--rate'"),
        (["--rate", "Plan"], "'--rate'"),
        (["--monthly-budget", "-1"], "'--monthly-budget': '-1' is no amount in US dollars."),
        (["--expires", "3m"], "'--expires': '3m' is no time. Write 12h, 30d, 2w,"),
        (["--expires", ""], "'--expires': '' is no time."),
        (["--expires", "999999y"], "Months are 3mo, years 1y. Or write never."),
        (["--expires", "9" * 400 + "d"], "'--expires'"),
        (["--expires", "9999-12-31T23:59-23:00"], "'--expires'"),
        (["--expires", "٣d"], "'--expires'"),
        (["--user", ""], "'--user': an empty label is none: leave the option out."),
        (["--user", " "], "'--user': an empty label is none"),
        (["--user", "a" * 257], "'--user': it has 257 characters: write at most 256."),
        (["--user", "a\x1b[31m"], "'--user': it has control characters"),
        (["--user", "a\nb"], "'--user': it has control characters"),
        (["--user", "a\u202eb"], "'--user': it has control characters"),
        (["--user", "sk-metrion-" + "a" * 43], "'--user': this looks like a token or a key"),
        (["--allow-user", ""], "'--allow-user': an empty label"),
        (["--allow-user", "\x07*"], "'--allow-user': it has control characters"),
        (["--tag", "team"], "'--tag': a tag is written NAME=VALUE, as in team=search."),
        (["--tag", "=x"], "'--tag': the name of a tag is 1 to 64 letters, digits and `._-`."),
        (["--tag", "a b=x"], "'--tag': the name of a tag"),
        (["--tag", "é=x"], "'--tag': the name of a tag"),
        (["--tag", "a" * 65 + "=x"], "'--tag': the name of a tag"),
        (["--tag", "a=\x01"], "'--tag': it has control characters"),
        ([part for n in range(33) for part in ("--tag", f"t{n}=x")], "'--tag': 33 tags are more than the 32"),
        (["--user", "a", "--no-user"], "--user and --no-user contradict each other"),
        (["--tag", "a=b", "--no-tags"], "--tag and --no-tags contradict each other"),
        (["--allow-user", "a", "--allow-any-user"], "--allow-user and --allow-any-user contradict each other"),
        (["--account", "a b"], "'--account'"),
        (["--allow-provider", "opanai"], "'--allow-provider': no provider is called that. Did you mean 'openai'?"),
        (["--allow-model", ""], "'--allow-model': an empty name is none"),
        (["--allow-model", "sk-metrion-" + "a" * 43], "'--allow-model': this looks like a token or a key"),
        (["--allow-model", "a\x07"], "'--allow-model': it has control characters"),
        (["--allow-operation", "chats"], "'--allow-operation': no operation is called that. Did you mean 'chat'?"),
        (["--from", "office"], "'--from': 'office' is no address. Write 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32."),
        (["--from", "10.0.0.0/33"], "'--from': '10.0.0.0/33' is no address."),
        (["--from", "10.1.2.3/8"], "'--from': '10.1.2.3/8' may mean 10.0.0.0/8, or 10.1.2.3 alone"),
        (["--from", "::1", "--from-anywhere"], "--from and --from-anywhere contradict each other"),
        (["--allow-model", "a", "--allow-any-model"], "--allow-model and --allow-any-model contradict each other"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_change_that_makes_no_sense_is_bad_usage(metrion: Console, arguments: list[str], message: str) -> None:
    made(metrion, "token", "create", "ci")
    before = changed(metrion)
    result = metrion.inside("token", "set", "ci", *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err
    assert "sk-metrion-" not in result.err
    assert changed(metrion) == before


def test_bytes_that_are_no_text_are_no_label(metrion: Console) -> None:
    done = subprocess.run(
        [SCRIPT, "token", "create", "x", b"--user=\xff"], capture_output=True, env=metrion.environment(), check=False
    )
    assert done.returncode == 2
    assert b"bytes that are not UTF-8" in done.stderr


def test_rotate_prints_the_new_token_alone_and_keeps_everything_else(metrion: Console) -> None:
    old = metrion.ok("token", "create", "ci", "--rate", "5", "--user", "ann").strip()
    before = changed(metrion)
    result = metrion("token", "rotate", "ci")
    assert result.status == 0
    assert TOKEN.fullmatch(result.out)
    assert "the old one is refused from now on. It cannot be shown again: keep it now.\n" in result.err
    new = result.out.strip()
    assert new != old
    assert changed(metrion) == before | {"token": f"sk-metrion-…{new[-4:]}"}
    assert not {old.encode(), new.encode()} & set(re.findall(rb"sk-metrion-[A-Za-z0-9_-]{43}", metrion.state()))


def test_rotate_says_how_long_the_old_one_is_valid(metrion: Console) -> None:
    made(metrion, "token", "create", "ci")
    assert re.search(
        r"the old one is valid until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC",
        metrion.inside("token", "rotate", "ci", "--keep", "7d").err,
    )


@pytest.mark.parametrize("keep", ["", "-1", "7", "soon", "9" * 400 + "d", "999999y", "1.5h", "٣d", "7d\n"])
def test_a_length_of_time_that_is_none_rotates_nothing(metrion: Console, keep: str) -> None:
    made(metrion, "token", "create", "ci")
    before = changed(metrion)
    result = metrion.inside("token", "rotate", "ci", f"--keep={keep}")
    assert (result.status, result.out) == (2, "")
    assert "'--keep'" in result.err
    assert "Write 90s, 30m, 12h, 7d, 2w or 1mo; 0 is at once." in result.err
    assert changed(metrion) == before


def test_what_a_token_may_do_is_said_and_listed_and_stays_with_a_new_secret(metrion: Console) -> None:
    rules = ["--allow-provider", "gemini", "--allow-model", "gemini-2*", "--from", "10.0.0.0/8"]
    made(metrion, "token", "create", "ci", *rules)
    made(metrion, "token", "rotate", "ci")
    said = metrion.inside("token", "set", "ci", "--allow-operation", "chat").err
    assert (
        "only the providers google, only the models gemini-2*, only the operations chat, only from 10.0.0.0/8" in said
    )
    assert "google, gemini-2*, chat, from 10.0.0.0/8" in made(metrion, "token", "list")


def test_a_token_is_tied_to_keys_of_a_name_and_untied(metrion: Console) -> None:
    result = metrion.inside("token", "create", "ci", "--key", "search")
    assert result.status == 1
    assert "no key of this name. `metrion key set PROVIDER --name NAME` stores one." in result.err
    for arguments in (["openai", "--name", "search"], ["mistral", "--name", "shared", "--for-all"]):
        assert metrion.inside("key", "set", *arguments, stdin=PROVIDER_KEY).status == 0
    made(metrion, "token", "create", "ci", "--key", "search")
    assert changed(metrion)["key"] == "search"
    assert "key search" in made(metrion, "token", "list")
    said = metrion.inside("token", "set", "ci", "--key", "shared").err
    assert "only the keys named shared" in said
    result = metrion.inside("token", "set", "ci", "--key", "serch")
    assert (result.status, changed(metrion)["key"]) == (1, "shared")
    assert "Did you mean 'search'?" in result.err
    made(metrion, "token", "set", "ci", "--no-key")
    assert changed(metrion)["key"] is None


def test_an_expired_token_is_not_rotated(metrion: Console) -> None:
    made(metrion, "token", "create", "ci")
    with closing(ControlStore.open(Settings(home=metrion.home))) as store:
        store.change_token("ci", lambda terms: replace(terms, expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    result = metrion.inside("token", "rotate", "ci")
    assert (result.status, result.out) == (1, "")
    assert "'ci' has expired" in result.err
    assert "`metrion token set ci --expires WHEN` first" in result.err


# --- the list ---


def test_the_list_is_csv_too(metrion: Console) -> None:
    assert made(metrion, "token", "list", "--format", "csv").startswith("name,account,plan,token,")
    made(metrion, "token", "create", "ci", "--user", 'Ann "A", Zoë', "--tag", "a=b", "--monthly-budget", "9.90")
    (row,) = csv.DictReader(io.StringIO(made(metrion, "token", "list", "--format", "csv")))
    assert (row["name"], row["user_label"], row["tags"]) == ("ci", 'Ann "A", Zoë', '{"a": "b"}')
    assert (row["monthly_budget_usd"], row["expires_at"], row["label_fixed"]) == ("9.90", "", "false")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_list_fits_the_terminal(metrion: Console, width: int) -> None:
    made(metrion, "account", "create", "research-and-development", "--plan", "free")
    made(metrion, "token", "create", "laptop")
    busy = ["--account", "research-and-development", "--monthly-budget", "49.99", "--expires", "3mo", "--user", "ann"]
    for arguments in ([], busy):
        if arguments:
            made(metrion, "token", "create", "the-build-server", *arguments)
        shown = on_terminal(metrion, width, "token", "list")
        assert max(map(len, shown.splitlines())) <= width
        for part in ("laptop", "sk-metrion-…", "100/min", "600 s", "active"):
            assert part in shown
        assert ("ann" in shown) is bool(arguments)


def on_terminal(metrion: Console, width: int, *arguments: str) -> str:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    done = subprocess.run([SCRIPT, *arguments], stdout=follower, stdin=follower, env=metrion.environment(), check=True)
    assert done.returncode == 0
    os.close(follower)
    text = os.read(leader, 100_000).decode()
    os.close(leader)
    return text.replace("\r\n", "\n")
