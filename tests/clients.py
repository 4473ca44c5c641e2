"""The programs and libraries that people call Metrion with, installed from a package registry.

They are large (more than a gigabyte together). So they are installed only where ``METRION_TEST_CLIENTS=1`` asks for it,
into the user's cache folder; elsewhere a test that needs one skips.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.corpus import Exchange, exchanges

PACKAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "claude": ("npm", ("@anthropic-ai/claude-code@2.1.197",)),
    "codex": ("npm", ("@openai/codex@0.171.0",)),
    "aider": ("pip", ("aider-chat==0.86.2",)),
    "llm": ("pip", ("llm==0.36",)),
    "langchain": ("pip", ("langchain-openai==1.7.4", "langchain-anthropic==1.7.10")),
    "llamaindex": ("pip", ("llama-index-llms-openai==0.8.3",)),
}
"""What a client is installed with, and from which packages."""
CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metrion-tests"

WANTED = bool(os.environ.get("METRION_TEST_CLIENTS"))
WHY_NOT = "METRION_TEST_CLIENTS=1 installs the programs that people use, more than a gigabyte, and runs them"


def programs_of(client: str) -> Path:
    """Return the folder with a client's programs (of a library: with its Python); install it unless it is there."""
    if not WANTED:
        pytest.skip(WHY_NOT)
    tool, packages = PACKAGES[client]
    folder = CACHES / re.sub(r"[^\w.-]+", "-", packages[0])
    programs = folder / ("node_modules/.bin" if tool == "npm" else "bin")
    if (folder / "complete").exists():
        return programs
    if tool == "npm" and not shutil.which("npm"):
        pytest.skip("npm is not installed")
    CACHES.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if tool == "npm":
        commands = [["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]]
    else:
        commands = [[_python(), "-m", "venv", str(folder)], [f"{folder}/bin/pip", "install", "--quiet", *packages]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"{' '.join(packages)} cannot be installed here: {done.stderr[-300:]}")
    (folder / "complete").touch()
    return programs


def _python() -> str:
    """Return a Python that aider runs with: it has an upper bound."""
    found = [shutil.which("python3.12"), *map(str, Path.home().glob(".pyenv/versions/3.12.*/bin/python"))]
    for python in filter(None, found):  # one on PATH may be a shim that only prints an error
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return sys.executable


def streamed_responses() -> Exchange:
    """Return a streamed answer of the Responses API, which Codex needs."""
    return next(
        each
        for each in exchanges(providers={"openai"})
        if each.streamed
        and each.path.split("?")[0].endswith("/responses")
        and b"response.completed" in each.response_body
    )
