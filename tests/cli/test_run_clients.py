"""``metrion run`` with the programs that people use: Claude Code, Codex, aider and llm.

They are large: :mod:`tests.clients` says where they are installed. Each has a home of its own, and the simulator is the
provider.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import SCRIPT
from tests.clients import WANTED, WHY_NOT, programs_of, streamed_responses
from tests.processes import STORED_KEYS, Proxy, running_serve, upstreams
from tests.simulated import Simulator

pytestmark = pytest.mark.skipif(not WANTED, reason=WHY_NOT)


@pytest.fixture(scope="module")
def proxy(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_serve(tmp_path_factory.mktemp("clients") / "home", upstreams(simulator)) as running:
        yield running


@pytest.fixture
def metered(proxy: Proxy, tmp_path: Path) -> Any:
    """Run a program by ``metrion run``; returns what it printed and the rows of its token."""

    def run(program: str, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
        home = tmp_path / program
        home.mkdir()
        done = subprocess.run(
            [SCRIPT, "run", "--", str(programs_of(program) / program), *arguments],
            env={**proxy.environment, "HOME": str(home)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        *_, last = done.stderr.splitlines()
        found = re.fullmatch(r"metrion: \$[\d.]+ · .* \(metrion tail --token (run-[\w-]+)\)", last)
        assert found, done.stderr
        return done.stdout, proxy.events(f"FROM events WHERE token_name = '{found[1]}' ORDER BY started_at")

    return run


def check(rows: list[dict[str, Any]], provider: str, simulator: Simulator) -> None:
    """The calls went out with the stored key, and are all priced."""
    assert rows
    assert {(row["provider"], row["status"], row["credential"]) for row in rows} == {(provider, 200, "stored")}
    assert all(row["cost_usd"] is not None for row in rows), rows
    received = simulator.received(len(rows))
    keys = {value for each in received for name in ("authorization", "x-api-key") for value in each.header(name)}
    assert {key.removeprefix(b"Bearer ") for key in keys} == {STORED_KEYS[provider].encode()}


def test_claude_code(metered: Any, simulator: Simulator) -> None:
    out, rows = metered("claude", "-p", "Is this invoice consistent?", "--model", "claude-haiku-4-5-20251001")
    assert "invoice" in out
    check(rows, "anthropic", simulator)
    assert {row["session_id"] is not None for row in rows} == {True}


def test_codex(metered: Any, simulator: Simulator) -> None:
    (header, value), *_ = simulator.select(streamed_responses()).items()
    _, rows = metered(
        "codex",
        *("-c", f"model_providers.metrion.http_headers={{\"{header}\"='{value}'}}"),
        *("exec", "--skip-git-repo-check", "-m", "gpt-5-mini", "hi"),
    )
    check([row for row in rows if row["operation"] == "responses"], "openai", simulator)


def test_aider(metered: Any, simulator: Simulator) -> None:
    quiet = ("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--no-analytics")
    _, rows = metered("aider", "--model", "gpt-4o-mini", *quiet, "--message", "hi")
    check(rows, "openai", simulator)


def test_llm(metered: Any, simulator: Simulator) -> None:
    out, rows = metered("llm", "-m", "gpt-4o-mini", "hi")
    assert out.strip()
    check(rows, "openai", simulator)
