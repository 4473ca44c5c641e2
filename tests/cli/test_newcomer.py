"""Whatever is wrong, a newcomer reads one line that names the file, the key or the option, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.console import Console


def a_home_that_is_a_file(home: Path) -> None:
    home.write_text("")


def a_corrupt_control_db(home: Path) -> None:
    home.mkdir()
    (home / "control.db").write_bytes(b"garbage" * 1000)


def a_corrupt_store(home: Path) -> None:
    home.mkdir()
    (home / "usage.duckdb").write_bytes(b"garbage" * 1000)


def a_missing_price_file(home: Path) -> None:
    home.mkdir()
    (home / "metrion.yaml").write_text("pricing: [mine.yaml]\n")


def a_bad_price_file(home: Path) -> None:
    a_missing_price_file(home)
    (home / "mine.yaml").write_text("openai:\n  gpt-5: {input: cheap}\n")


CONTROL = ["token create", "token list", "token revoke x", "key list", "key remove openai", "account list", "serve"]
STORE = ["report", "sql FROM{}events", "tail --no-follow", "tail", "reprice"]
CASES: list[tuple[Callable[[Path], None], list[str], tuple[str, ...]]] = [
    (a_home_that_is_a_file, CONTROL + STORE, ("home", "METRION_HOME")),
    (a_corrupt_control_db, CONTROL, ("home/control.db", "backup")),
    (a_corrupt_store, STORE, ("home/usage.duckdb", "backup")),
    (a_missing_price_file, CONTROL + STORE, ("home/metrion.yaml: pricing", "home/mine.yaml")),
    (a_bad_price_file, ["serve", "reprice"], ("home/mine.yaml, line 2: openai > gpt-5 > input", "such as 1.50")),
]


@pytest.mark.parametrize(
    ("harm", "command", "words"),
    [(harm, command, words) for harm, commands, words in CASES for command in commands],
    ids=[f"{harm.__name__}-{command}" for harm, commands, _ in CASES for command in commands],
)
def test_what_is_wrong_with_a_home(
    metrion: Console, harm: Callable[[Path], None], command: str, words: tuple[str, ...]
) -> None:
    harm(metrion.home)
    result = metrion.inside(*(word.replace("{}", " ") for word in command.split()))
    assert (result.status, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1, result.err
    assert all(word in result.err for word in words), result.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("key set opnai", ("PROVIDER", "Did you mean 'openai'?")),
        ("key remove opnai", ("PROVIDER", "Did you mean 'openai'?")),
        ("key set openai sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c", ("not taken from the command line", "paste it")),
        ("report user", ("QUESTION", "'users'")),
        ("report users --by day", ("--by", "report costs --by day")),
        ("report --since yesterdy", ("--since", "7d")),
        ("tail --status abc", ("--status", "4xx")),
        ("tail -n many", ("-n", "integer")),
        ("reprice --until soon", ("--until", "2026-11-01")),
        ("serve --port 99999", ("--port", "65535")),
        ("doctor --format xml", ("--format", "json")),
    ],
)
def test_bad_usage_names_the_option_and_the_way_out(metrion: Console, command: str, words: tuple[str, ...]) -> None:
    result = metrion.inside(*command.split())
    assert (result.status, result.out) == (2, "")
    assert all(word in result.err for word in words), result.err
    assert "sk-proj" not in result.err


def test_no_key_is_asked_for_again(metrion: Console) -> None:
    result = metrion.inside("key", "set", "openai")
    assert result.status == 1
    assert 'printf %s "$KEY" | metrion key set openai' in result.err


def test_in_the_wrong_home_an_empty_report_says_where_it_looked(metrion: Console) -> None:
    result = metrion.inside("report")
    assert result.status == 0
    assert f"nothing of the kind in {metrion.home}. METRION_HOME" in result.err
    assert metrion.inside("report", "--format", "json").err == ""


def test_a_key_of_a_provider_that_is_configured_no_more_can_be_removed(metrion: Console) -> None:
    metrion.home.mkdir()
    config = metrion.home / "metrion.yaml"
    config.write_text("providers: {mine: {like: openai, upstream: 'http://localhost:1'}}\n")
    metrion.ok("key", "set", "mine", stdin="a-key-of-mine-0123456789")
    config.unlink()
    metrion.ok("key", "remove", "mine")
    assert metrion.inside("key", "remove", "mine").status == 2
