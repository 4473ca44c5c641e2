"""The demonstration, run as a person runs it."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from metrion.cli.demo import demo
from tests.cli.console import SCRIPT, Console


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def _listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_the_demo_shows_metered_calls_and_leaves_nothing_behind(metrion: Console, temporary: Path) -> None:
    nobody = "http://127.0.0.1:9"
    disturbing = {
        "TMPDIR": str(temporary),
        "METRION_CONFIG": "/nowhere/metrion.yaml",
        "METRION_OPENAI_UPSTREAM": nobody,
        "OPENAI_API_KEY": "sk-of-the-user",
        "OPENAI_BASE_URL": nobody,
        "HTTP_PROXY": nobody,
        "http_proxy": nobody,
    }
    shown = metrion.ok("demo", env=disturbing)
    calls = re.findall(r"^  (\w+)  (\w+) +(\S+) +(streamed|whole) +(.+)$", shown, re.MULTILINE)
    assert {(segment, how) for _, segment, _, how, _ in calls} >= {
        ("openai", "streamed"),
        ("anthropic", "streamed"),
        ("anthropic", "whole"),
        ("mistral", "whole"),
        ("grok", "streamed"),
        ("gemini", "whole"),
    }
    rows = {
        tuple(row[:4]): row[4:] for line in shown.splitlines() if len(row := line.split()) == 9 and row[3].isdigit()
    }
    # Computed by hand from the providers' price lists: tokens times dollars per million.
    assert rows["ann", "anthropic", "claude-sonnet-4-6", "200"] == ["19826", "18420", "184", "NULL", "0.0134865"]
    assert rows["ann", "openai", "gpt-4o-2024-08-06", "200"] == ["1979", "1792", "64", "0", "0.0033475"]
    assert rows["cho", "xai", "grok-3-mini", "200"] == ["924", "320", "439", "412", "0.0004247"]
    assert rows["cho", "google", "gemini-2.5-flash", "200"] == ["341", "NULL", "251", "NULL", "0.0007298"]
    assert rows["eve", "openai", "NULL", "401"] == ["NULL", "NULL", "NULL", "NULL", "0.0000000"]
    assert len(calls) == len(rows) == 8
    assert "metrion key set openai" in shown
    assert not re.search(r"sk-metrion-[A-Za-z0-9_-]{8}", shown)
    assert not metrion.home.exists()
    assert list(temporary.iterdir()) == []
    found = re.search(r"http://127\.0\.0\.1:[0-9]+", shown)
    assert found
    assert not _listens(found[0])


def test_the_demo_uses_the_prices_of_a_configuration(metrion: Console, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("pricing: [my-prices.yaml]\nstore: mine.duckdb\n")
    (tmp_path / "my-prices.yaml").write_text("mistral:\n  mistral-small-latest: {input: 1000, output: 0}\n")
    shown = metrion.ok("demo", "--config", str(config))
    assert re.search(r"mistral-small-latest +200 +58 +NULL +19 +NULL +0\.0580000$", shown, re.MULTILINE)
    assert re.search(r"claude-haiku-4-5-20251001 +200 .* NULL$", shown, re.MULTILINE)  # no price, so no cost
    assert not metrion.home.exists()
    assert not (tmp_path / "mine.duckdb").exists()


def test_a_configuration_that_cannot_be_read_is_named(metrion: Console) -> None:
    result = metrion("demo", "--config", "/nowhere/metrion.yaml")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Error: /nowhere/metrion.yaml")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_cleans_up(metrion: Console, temporary: Path, number: signal.Signals) -> None:
    environment = metrion.environment({"TMPDIR": str(temporary)})
    with subprocess.Popen([SCRIPT, "demo"], stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        listening = next(line for line in process.stdout if "listens on" in line)
        process.send_signal(number)
        assert process.wait(timeout=90) == 1
    assert list(temporary.iterdir()) == []
    assert not _listens(listening.split()[2])


def test_without_an_sdk_the_demo_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openai" else real(name))
    result = CliRunner().invoke(demo)
    assert result.exit_code == 1
    assert "no openai" in result.output
    assert "-m pip install 'metrion[demo]'" in result.output
