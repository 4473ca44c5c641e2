"""A home that belongs to another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from metrion.cli import commands
from metrion.errors import SettingsError
from metrion.settings import load_settings
from metrion.settings.ownership import other_owner, user_name

ME = os.geteuid()
SOMEBODY = 54321


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METRION_HOME", str(tmp_path))
    monkeypatch.delenv("METRION_CONFIG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)


def test_ones_own_home_and_none_are_nobody_elses(tmp_path: Path) -> None:
    assert other_owner(tmp_path) is None
    assert other_owner(tmp_path / "not there") is None


@pytest.mark.usefixtures("as_another")
def test_another_users_home_is_named(tmp_path: Path) -> None:
    assert other_owner(tmp_path) == user_name(ME)
    assert user_name(SOMEBODY) == f"id {SOMEBODY}"


@pytest.mark.usefixtures("as_another")
@pytest.mark.parametrize(
    "command",
    [
        ["sql", "SELECT 1"],
        ["report"],
        ["tail", "--no-follow"],
        ["token", "list"],
        ["key", "list"],
        ["account", "list"],
        ["reprice", "--dry-run"],
    ],
)
def test_every_command_says_so_on_standard_error(command: list[str]) -> None:
    done = CliRunner().invoke(commands, command)
    assert f"belongs to another user ({user_name(ME)})" in done.stderr
    assert "belongs to" not in done.stdout


@pytest.mark.usefixtures("as_another")
def test_one_that_cannot_be_used_is_an_error_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match=rf"{tmp_path} belongs to another user \(.*METRION_HOME"):
        load_settings(None, {"METRION_HOME": str(tmp_path)})
    done = CliRunner().invoke(commands, ["sql", "SELECT 1"])
    assert done.exit_code == 1
    assert "belongs to another user" in done.stderr


@pytest.mark.usefixtures("as_another")
def test_the_folder_above_a_home_that_is_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match=rf"{tmp_path}, with the home .*belongs to another user"):
        load_settings(None, {"METRION_HOME": str(tmp_path / "above" / "home")})
