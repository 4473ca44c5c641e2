"""``metrion prices``: what a model costs, and a newer file that somebody brings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metrion.settings import load_settings
from metrion.settings.values import built_in_pricing
from tests.cli.console import Console

(SHIPPED,) = built_in_pricing()
NEWER = b"""
openai:
  gpt-4o-mini: {input: 0.10, output: 0.60}
  gpt-99:
    checked: 2099-01-01
    input: 1
    output: 2
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    file = tmp_path / "newer.yaml"
    file.write_bytes(NEWER)
    return file


def in_use(metrion: Console) -> list[Path]:
    return list(load_settings(environ=metrion.environment()).pricing)


def test_show(metrion: Console) -> None:
    shown = metrion.ok("prices", "show", "gpt-4o-mini-2024-07-18")
    assert shown.startswith("openai/gpt-4o-mini\n")
    assert re.search(r"^  input +0\.15$", shown, re.MULTILINE)
    assert metrion.ok("prices", "show", "openai/gpt-4o-mini") == shown
    failed = metrion.inside("prices", "show", "no-such-model")
    assert (failed.status, "no model called no-such-model" in failed.err) == (1, True)


def test_a_newer_file_is_shown_and_installed_only_with_a_yes(metrion: Console, newer: Path) -> None:
    refused = metrion.inside("prices", "update", str(newer))
    assert (refused.status, "give --yes" in refused.err) == (1, True)
    for line in ("added (1): openai/gpt-99", "openai/gpt-4o-mini: input: 0.15 → 0.1", "cache_read: 0.075 → none"):
        assert line in refused.out
    assert in_use(metrion) == [SHIPPED]

    installed = metrion.inside("prices", "update", "--yes", str(newer))
    assert installed.status == 0, installed.err
    assert installed.out == refused.out
    assert "metrion reload" in installed.err
    target = metrion.home / "pricing.yaml"
    assert target.read_bytes() == NEWER
    assert in_use(metrion) == [target]
    assert "openai/gpt-99" in metrion.ok("prices", "show", "gpt-99")
    assert "is what is in use" in metrion.inside("prices", "update", str(newer)).err
    assert sorted(each.name for each in metrion.home.iterdir() if "pricing" in each.name) == ["pricing.yaml"]


def test_an_older_file_is_not_taken(metrion: Console, newer: Path) -> None:
    metrion.ok("prices", "update", "--yes", str(newer))
    failed = metrion.inside("prices", "update", "--yes", str(SHIPPED))
    assert (failed.status, "is older than what is in use" in failed.err) == (1, True)
    assert in_use(metrion) == [metrion.home / "pricing.yaml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"openai: {gpt-4o: {input: -1}}", "is negative"), (b"openai: [", "not valid YAML")],
)
def test_a_file_that_cannot_be_used_is_not_taken(
    metrion: Console, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "file.yaml"
    if content is not None:
        file.write_bytes(content)
    failed = metrion.inside("prices", "update", "--yes", str(file))
    assert (failed.status, words in failed.err, str(file) in failed.err) == (1, True, True)
    assert in_use(metrion) == [SHIPPED]


def test_files_of_one_s_own_keep_their_place(metrion: Console, newer: Path) -> None:
    metrion.home.mkdir(mode=0o700)
    own = metrion.home / "own.yaml"
    own.write_text("openai: {gpt-4o-mini: {input: 7}}")
    config = metrion.home / "metrion.yaml"
    config.write_text("pricing: [pricing.yaml, own.yaml]")
    metrion.ok("prices", "update", "--yes", str(newer))
    assert in_use(metrion) == [metrion.home / "pricing.yaml", own]
    config.write_text("pricing: [own.yaml]")
    newer.write_bytes(NEWER.replace(b"2099-01-01", b"2099-01-02"))
    assert "metrion.yaml names other price files alone" in metrion.inside("prices", "update", "--yes", str(newer)).err


def test_the_doctor_says_when_metrion_comes_with_newer_ones(metrion: Console) -> None:
    metrion.home.mkdir(mode=0o700)
    (metrion.home / "pricing.yaml").write_text("openai:\n  gpt-4o:\n    checked: 2020-01-01\n    input: 1\n")
    assert f"metrion prices update {SHIPPED}" in metrion.inside("doctor").out
