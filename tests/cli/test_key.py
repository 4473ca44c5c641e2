from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from metrion.control import ControlStore
from metrion.settings import Settings
from tests.cli.console import SCRIPT, Console
from tests.credentials import PROVIDER_KEY as KEY


def stored(metrion: Console) -> dict[tuple[str, str], str]:
    with closing(ControlStore.open(Settings(home=metrion.home))) as store:
        return dict(store.access_snapshot().provider_keys)


def listed(metrion: Console, **env: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(metrion.ok("key", "list", "--format", "json", env=env))
    return found


@pytest.mark.parametrize(
    ("typed", "provider", "newline"),
    [("openai", "openai", ""), ("gemini", "google", "\n"), ("google", "google", "\r\n"), ("grok", "xai", "\n")],
)
def test_a_key_comes_from_standard_input(metrion: Console, typed: str, provider: str, newline: str) -> None:
    result = metrion.inside("key", "set", typed, stdin=KEY + newline)
    assert (result.status, result.out) == (0, "")
    assert result.err == f"Stored the {provider} key for account default.\n"
    assert stored(metrion) == {("default", provider): KEY}


def test_nothing_ever_shows_or_keeps_the_key(metrion: Console) -> None:
    outputs = [
        metrion.inside("key", "set", "openai", stdin=KEY),
        metrion.inside("key", "list"),
        metrion.inside("key", "list", "--format", "json"),
        metrion.inside("key", "list", env={"OPENAI_API_KEY": KEY, "MISTRAL_API_KEY": KEY}),
        metrion.inside("key", "set", KEY, stdin=KEY),
        metrion.inside("key", "set", "openai", KEY),
        metrion.inside("key", "set", "openai", f"--key={KEY}"),
        metrion.inside("key", "set", "openai", "--account", KEY, stdin=KEY),
        metrion.inside("key", "set", "openai", stdin=f"{KEY} {KEY}"),
        metrion.inside("key", "remove", KEY),
        metrion.inside("key", "remove", "openai"),
    ]
    assert [result.status for result in outputs] == [0, 0, 0, 0, 2, 2, 2, 2, 1, 2, 0]
    assert not [result for result in outputs if KEY in result.out + result.err]
    assert KEY.encode() not in metrion.state()


@pytest.mark.parametrize("place", [("key", "set"), ("key", "remove"), ("key", "set", "mistral")], ids=" ".join)
def test_a_key_without_a_tell_tale_prefix_is_not_repeated_where_it_may_be_typed(
    metrion: Console, place: tuple[str, ...]
) -> None:
    secret = "q3Jv8sT1xY7bN5mK2wR9dF4gH6zL0pCa"
    result = metrion.inside(*place, secret)
    assert result.status in (1, 2)
    assert secret not in result.out + result.err


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "standard input was empty"),
        (b"\n", "standard input was empty"),
        (b"\n\n", "whitespace"),
        (b" " + KEY.encode(), "whitespace"),
        (KEY.encode() + b"\n\n", "whitespace"),
        (b"one two", "whitespace"),
        (b"a\tb", "whitespace"),
        ("schlüssel".encode(), "characters that no key has"),
        (b"\xff\xfe", "characters that no key has"),
        (b"a\0b", "characters that no key has"),
        (b"x" * 100_000, "far too long"),
        (b"sk-metrion-" + b"a" * 43, "this is a Metrion token"),
    ],
)
def test_what_cannot_be_a_key_is_refused_with_the_way_out(metrion: Console, stdin: bytes, message: str) -> None:
    result = metrion.inside("key", "set", "openai", stdin=stdin)
    assert (result.status, result.out) == (1, "")
    assert message in result.err
    assert stored(metrion) == {}


def test_without_a_standard_input_it_says_so(metrion: Console) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {SCRIPT} key set openai <&-"],
        capture_output=True,
        text=True,
        env=metrion.environment(),
        check=False,
    )
    assert done.returncode == 1
    assert "no key came in" in done.stderr


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("opnai", "Did you mean 'openai'? Known are: anthropic, openai, google, mistral, xai, gemini, grok."),
        ("gemni", "Did you mean 'gemini'?"),
        ("acme", "no provider is called that. Known are:"),
        ("OpenAI ", "Did you mean 'openai'?"),
    ],
)
def test_an_unknown_provider_is_bad_usage(metrion: Console, provider: str, message: str) -> None:
    result = metrion.inside("key", "set", provider, stdin=KEY)
    assert (result.status, result.out) == (2, "")
    assert message in result.err


def test_a_provider_of_the_configuration_can_have_a_key(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("providers: {my-vllm: {like: openai, upstream: 'http://localhost:8000'}}\n")
    metrion.ok("key", "set", "my-vllm", "--config", str(file), stdin="local")
    assert stored(metrion) == {("default", "my-vllm"): "local"}
    metrion.ok("key", "remove", "my-vllm")  # also when the configuration has forgotten it
    assert stored(metrion) == {}


def test_a_server_without_keys_gets_none(metrion: Console) -> None:
    file = metrion.home / "metrion.yaml"
    metrion.home.mkdir(mode=0o700)
    file.write_text("providers: {my-vllm: {like: openai, upstream: 'http://localhost:8000', credential: none}}\n")
    result = metrion.inside("key", "set", "my-vllm", stdin=KEY)
    assert (result.status, result.out) == (1, "")
    assert f"my-vllm gets no key: {file} has `credential: none` for it" in result.err
    assert stored(metrion) == {}


def test_the_list_says_where_a_key_comes_from_and_which_one_wins(metrion: Console) -> None:
    metrion.ok("account", "create", "team")
    metrion.ok("key", "set", "openai", stdin=KEY)
    metrion.ok("key", "set", "openai", "--account", "team", stdin=KEY)
    rows = listed(metrion, OPENAI_API_KEY="sk-env", XAI_API_KEY="xai-env")
    assert [(row["provider"], row["account"], row["key"], row["source"], row["state"]) for row in rows] == [
        ("openai", "default", "***", "stored", "in use"),
        ("openai", "default", "***", "OPENAI_API_KEY", "overridden"),
        ("xai", "default", "***", "XAI_API_KEY", "in use"),
        ("openai", "team", "***", "stored", "in use"),
    ]
    assert [row["stored_at"] is None for row in rows] == [False, True, True, False]
    assert "OPENAI_API_KEY  overridden" in metrion.ok("key", "list", env={"OPENAI_API_KEY": "sk-env"})


def test_setting_and_removing_say_what_becomes_of_the_environments_key(metrion: Console) -> None:
    env = {"GEMINI_API_KEY": "AIza-env"}
    assert "It overrides GEMINI_API_KEY." in metrion.inside("key", "set", "gemini", stdin=KEY, env=env).err
    assert "GEMINI_API_KEY is used now." in metrion.inside("key", "remove", "gemini", env=env).err
    again = metrion.inside("key", "remove", "gemini", env=env)
    assert again.status == 1
    assert "no stored key of this provider" in again.err


def test_a_missing_master_key_is_named_by_what_needs_it(metrion: Console) -> None:
    metrion.ok("key", "set", "openai", stdin=KEY)
    metrion.ok("key", "set", "xai", stdin=KEY)
    master = metrion.home / "master.key"
    master.unlink()
    shown = metrion.inside("key", "list")
    assert shown.status == 1
    assert shown.out.count("unreadable") == 2
    assert shown.err.count(f"Error: {master}: the master key is missing") == 1
    refused = metrion.inside("key", "set", "mistral", stdin=KEY)
    assert refused.status == 1
    assert str(master) in refused.err
    for provider in ("openai", "xai"):
        metrion.ok("key", "remove", provider)
    metrion.ok("key", "set", "mistral", stdin=KEY)
    assert stored(metrion) == {("default", "mistral"): KEY}


def test_an_empty_list_is_an_empty_array_or_a_hint(metrion: Console) -> None:
    assert listed(metrion) == []
    assert "`metrion key set PROVIDER` stores one" in metrion.inside("key", "list").err


TERMINAL = "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def test_at_a_terminal_the_key_is_asked_for_and_not_echoed(metrion: Console) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, SCRIPT, "key", "set", "openai"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=metrion.environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        screen = b""
        while not screen.endswith(b"openai key: "):  # by then the echo is off
            screen += process.stdout.read(1)
        process.stdin.write(KEY.encode() + b"\n")
        process.stdin.flush()
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert KEY.encode() not in screen + rest
    assert stored(metrion) == {("default", "openai"): KEY}


# --- a key that accounts share ---


def succeed(metrion: Console, *arguments: str, stdin: str = "") -> str:
    result = metrion.inside(*arguments, stdin=stdin)
    assert result.status == 0, result.err
    return result.out


def now(metrion: Console, **env: str) -> list[dict[str, object]]:
    result = metrion.inside("key", "list", "--format", "json", env=env)
    found: list[dict[str, object]] = json.loads(result.out)
    return found


def test_a_shared_key_is_used_by_every_account_without_one_of_its_own(metrion: Console) -> None:
    succeed(metrion, "account", "create", "team")
    result = metrion.inside("key", "set", "openai", "--for-all", stdin="shared-key")
    assert result.err == "Stored the openai key for all accounts that have none of their own.\n"
    succeed(metrion, "key", "set", "openai", "--account", "team", stdin="own-key")
    with closing(ControlStore.open(Settings(home=metrion.home))) as store:
        access = store.access_snapshot()
    assert access.provider_key("team", "openai") == "own-key"
    assert access.provider_key("default", "openai") == "shared-key"
    assert access.provider_key("default", "xai") is None
    assert [(key["account"], key["state"]) for key in now(metrion)] == [("*", "in use"), ("team", "in use")]
    removed = metrion.inside("key", "remove", "openai", "--account", "team")
    assert removed.err == "Removed the openai key of account team. The one for all accounts is used now.\n"
    removed = metrion.inside("key", "remove", "openai", "--for-all")
    assert removed.err == "Removed the openai key of all accounts that have none of their own.\n"
    assert now(metrion) == []
    assert b"shared-key" not in metrion.state()


def test_a_shared_key_goes_before_the_environment_s(metrion: Console) -> None:
    env = {"OPENAI_API_KEY": "sk-env"}
    result = metrion.inside("key", "set", "openai", "--for-all", stdin="shared-key", env=env)
    assert "It overrides OPENAI_API_KEY." in result.err
    states = [(key["account"], key["state"]) for key in now(metrion, **env)]
    assert states == [("*", "in use"), ("default", "overridden")]
    result = metrion.inside("key", "remove", "openai", "--for-all", env=env)
    assert "OPENAI_API_KEY is used now by account default." in result.err


def test_a_shared_key_that_is_not_there_is_not_removed(metrion: Console) -> None:
    succeed(metrion, "key", "set", "openai", stdin="own-key")
    result = metrion.inside("key", "remove", "openai", "--for-all")
    assert result.status == 1
    assert "no key for all accounts is stored of this provider. `metrion key list`" in result.err
    succeed(metrion, "key", "set", "xai", "--for-all", stdin="shared-key")
    result = metrion.inside("key", "remove", "xai")
    assert result.status == 1
    assert "It uses the one for all accounts, which `--for-all` removes." in result.err


@pytest.mark.parametrize("command", ["set", "remove"])
def test_a_key_belongs_to_one_account_or_to_all(metrion: Console, command: str) -> None:
    result = metrion.inside("key", command, "openai", "--for-all", "--account", "default", stdin="x-key")
    assert result.status == 2
    assert "leave out --account or --for-all" in result.err


def test_a_shared_key_that_does_not_open_is_named(metrion: Console) -> None:
    succeed(metrion, "key", "set", "openai", "--for-all", stdin="shared-key")
    (metrion.home / "master.key").unlink()
    result = metrion.inside("key", "list")
    assert result.status == 1
    assert "the master key is missing" in result.err
    succeed(metrion, "key", "remove", "openai", "--for-all")


def test_the_list_of_keys_is_csv_too(metrion: Console) -> None:
    succeed(metrion, "key", "set", "openai", stdin="own-key")
    lines = succeed(metrion, "key", "list", "--format", "csv").splitlines()
    assert lines[0] == "provider,account,key,source,state,stored_at,name,ends_at,last_used_at"
    assert lines[1].startswith("openai,default,***,stored,in use,20")


# --- names and rotation ---


def shown(metrion: Console) -> list[tuple[object, ...]]:
    return [(key["account"], key["provider"], key["name"], key["state"]) for key in now(metrion)]


def test_keys_have_names(metrion: Console) -> None:
    succeed(metrion, "key", "set", "openai", stdin="plain-key")
    result = metrion.inside("key", "set", "openai", "--name", "search", stdin="search-key")
    assert result.err == "Stored the openai key search for account default.\n"
    succeed(metrion, "key", "set", "openai", "--name", "everyone", "--for-all", stdin="shared-key")
    assert shown(metrion) == [
        ("*", "openai", "everyone", "in use"),
        ("default", "openai", None, "in use"),
        ("default", "openai", "search", "in use"),
    ]
    with closing(ControlStore.open(Settings(home=metrion.home))) as store:
        access = store.access_snapshot()
    names = (None, "search", "everyone", "other")
    keys = [access.provider_key("default", "openai", name) for name in names]
    assert keys == ["plain-key", "search-key", "shared-key", None]
    assert access.provider_key("default", "xai", "search") is None
    result = metrion.inside("key", "remove", "openai", "--name", "search")
    assert result.err == "Removed the openai key search of account default.\n"
    result = metrion.inside("key", "remove", "openai", "--name", "search")
    assert (result.status, "no stored key of this provider by this name" in result.err) == (1, True)
    assert len(shown(metrion)) == 2
    assert b"search-key" not in metrion.state()


def test_a_name_overrides_nothing(metrion: Console) -> None:
    env = {"OPENAI_API_KEY": "sk-env"}
    result = metrion.inside("key", "set", "openai", "--name", "search", stdin="search-key", env=env)
    assert "overrides" not in result.err
    assert [key["state"] for key in now(metrion, **env)] == ["in use", "in use"]


def test_a_secret_is_no_name(metrion: Console) -> None:
    result = metrion.inside("key", "set", "openai", "--name", KEY, stdin=KEY)
    assert result.status == 2
    assert KEY not in result.err


@pytest.mark.parametrize("place", [[], ["--name", "search"], ["--for-all"], ["--account", "team"]], ids=" ".join)
def test_a_key_is_rotated_and_brought_back(metrion: Console, place: list[str]) -> None:
    succeed(metrion, "account", "create", "team")
    result = metrion.inside("key", "rotate", "openai", *place, stdin="new-key")
    assert result.status == 1
    assert "`metrion key set` stores a first one" in result.err
    succeed(metrion, "key", "set", "openai", *place, stdin="old-key")
    account = {"--for-all": "*", "--account": "team"}.get("".join(place[:1]), "default")
    name = "search" if "--name" in place else None

    def used() -> str | None:
        with closing(ControlStore.open(Settings(home=metrion.home))) as store:
            return store.access_snapshot().provider_key("default" if account == "*" else account, "openai", name)

    result = metrion.inside("key", "rotate", "openai", *place, stdin="new-key")
    assert result.status == 0
    assert "is a new one; the old one is kept until 20" in result.err
    assert used() == "new-key"
    assert [state for *_, state in shown(metrion)] == ["in use", "former"]
    assert [key["ends_at"] is None for key in now(metrion)] == [True, False]
    assert metrion.inside("key", "rotate", "openai", *place, "--back").status == 0
    assert used() == "old-key"
    assert metrion.inside("key", "rotate", "openai", *place, "--back").status == 0
    assert used() == "new-key"
    assert metrion.inside("key", "rotate", "openai", *place, stdin="third-key").status == 0
    assert [state for *_, state in shown(metrion)] == ["in use", "former"]
    assert metrion.inside("key", "rotate", "openai", *place, "--back").status == 0
    assert used() == "new-key"
    succeed(metrion, "key", "remove", "openai", *place, "--former")
    assert [state for *_, state in shown(metrion)] == ["in use"]
    assert metrion.inside("key", "rotate", "openai", *place, "--back").status == 1
    assert metrion.inside("key", "rotate", "openai", *place, "--keep", "0", stdin="last-key").status == 0
    assert (used(), [state for *_, state in shown(metrion)]) == ("last-key", ["in use"])
    assert metrion.inside("key", "rotate", "openai", *place, stdin="more-key").status == 0
    succeed(metrion, "key", "remove", "openai", *place)
    assert shown(metrion) == []


def test_what_is_replaced_is_sealed_for_its_place(metrion: Console) -> None:
    """A row that somebody copies into another place does not open there."""
    succeed(metrion, "key", "set", "openai", "--name", "search", stdin="search-key")
    with closing(sqlite3.connect(metrion.home / "control.db")) as db:
        db.execute("UPDATE further_keys SET name = 'other'")
        db.commit()
    result = metrion.inside("key", "list")
    assert result.status == 1
    assert "does not open" in result.err
    assert "`metrion key set openai --name other --account default`" in result.err
    succeed(metrion, "key", "remove", "openai", "--name", "other")


def test_an_account_goes_with_all_its_keys(metrion: Console) -> None:
    succeed(metrion, "account", "create", "team")
    succeed(metrion, "key", "set", "openai", "--account", "team", "--name", "search", stdin="search-key")
    assert "openai" in metrion.inside("account", "remove", "team").err
    assert shown(metrion) == []
