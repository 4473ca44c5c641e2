"""``metrion run`` with the programs that people use: Claude Code, Codex, aider and llm.

They are large (a gigabyte together). So they are installed only where ``METRION_TEST_CLIENTS=1`` asks for it, into the
user's cache folder; elsewhere each test skips. Each has a home of its own, and the simulator is the provider.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import SCRIPT
from tests.corpus import Exchange, exchanges
from tests.processes import STORED_KEYS, Proxy, running_serve, upstreams
from tests.simulated import Simulator

PACKAGES: Mapping[str, tuple[str, str]] = {
    "claude": ("npm", "@anthropic-ai/claude-code@2.1.197"),
    "codex": ("npm", "@openai/codex@0.171.0"),
    "aider": ("pip", "aider-chat==0.86.2"),
    "llm": ("pip", "llm==0.36"),
}
"""What a program is installed with, and from which package."""
CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metrion-tests"

pytestmark = pytest.mark.skipif(
    not os.environ.get("METRION_TEST_CLIENTS"),
    reason="METRION_TEST_CLIENTS=1 installs the programs that people use, about a gigabyte, and runs them",
)


@pytest.fixture(scope="module")
def proxy(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_serve(tmp_path_factory.mktemp("clients") / "home", upstreams(simulator)) as running:
        yield running


def installed(program: str) -> str:
    """Return the program's path; install it unless it is there."""
    tool, package = PACKAGES[program]
    folder = CACHES / re.sub(r"[^\w.-]+", "-", package)
    path = folder / ("node_modules/.bin" if tool == "npm" else "bin") / program
    if path.exists():
        return str(path)
    if tool == "npm" and not shutil.which("npm"):
        pytest.skip("npm is not installed")
    CACHES.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if tool == "npm":
        commands = [["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), package]]
    else:
        commands = [[_python(), "-m", "venv", str(folder)], [f"{folder}/bin/pip", "install", "--quiet", package]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"{package} cannot be installed here: {done.stderr[-300:]}")
    return str(path)


def _python() -> str:
    """Return a Python that aider runs with: it has an upper bound."""
    found = [shutil.which("python3.12"), *map(str, Path.home().glob(".pyenv/versions/3.12.*/bin/python"))]
    for python in filter(None, found):  # one on PATH may be a shim that only prints an error
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return sys.executable


@pytest.fixture
def metered(proxy: Proxy, tmp_path: Path) -> Any:
    """Run a program by ``metrion run``; returns what it printed and the rows of its token."""

    def run(program: str, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
        home = tmp_path / program
        home.mkdir()
        done = subprocess.run(
            [SCRIPT, "run", "--", installed(program), *arguments],
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


def responses() -> Exchange:
    """A streamed answer of the Responses API."""
    return next(
        each
        for each in exchanges(providers={"openai"})
        if each.streamed
        and each.path.split("?")[0].endswith("/responses")
        and b"response.completed" in each.response_body
    )


def test_codex(metered: Any, simulator: Simulator) -> None:
    (header, value), *_ = simulator.select(responses()).items()
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
