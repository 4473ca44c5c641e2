"""The official SDKs for Node, from a test: install them once, then make any number of calls in one process.

    with running_node(tmp_path) as node:
        node.call("openai", base_url=…, api_key=…, model="gpt-4o", stream=True).text

Skips the test, and says why, where Node is missing or too old, or the registry is out of reach and nothing is cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE_MAJOR = 20
"""The oldest that the SDKs were seen to work with."""
_OUT_OF_REACH = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENOTCACHED"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: a text, or what the SDK threw."""

    text: str | None = None
    classes: tuple[str, ...] = ()
    """Of the error: its own class first, ``Error`` last."""
    message: str = ""
    """The error's, as a person sees it."""
    status: int | None = None


class Node:
    """A running ``calls.mjs``. Not for use by several threads at once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(
        self,
        sdk: str,
        *,
        base_url: str,
        api_key: str,
        model: str,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        max_retries: int | None = 0,
    ) -> Outcome:
        """Make one call. ``max_retries=None``: as often as the SDK does by itself."""
        asked = {
            "sdk": sdk,
            "baseURL": base_url,
            "apiKey": api_key,
            "headers": dict(headers or {}),
            "model": model,
            "stream": stream,
            "maxRetries": max_retries,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"calls.mjs ended with status {self._process.wait()}; what it said stands above"
        answered = json.loads(line)
        if "error" not in answered:
            return Outcome(text=answered["text"])
        error = answered["error"]
        return Outcome(classes=tuple(error["classes"]), message=error["message"], status=error["status"])


@contextlib.contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """Run ``calls.mjs`` for the length of the block, from ``folder``."""
    (folder / "node_modules").symlink_to(installed())
    script = shutil.copy(HERE / "calls.mjs", folder)  # an import is looked for beside the file that asks for it
    with subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Node(process)
        finally:
            process.terminate()


def installed() -> Path:
    """Return the folder ``node_modules`` that belongs to the lock file; install it unless it is there."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node: neither `node` nor `npm` may be missing on PATH")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR:
        pytest.skip(f"needs Node {NODE_MAJOR} or newer; `node` is {version}")
    locked = hashlib.sha256(version.encode() + (HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metrion-tests"
    caches.mkdir(parents=True, exist_ok=True)
    home = caches / f"node-{locked}"
    with (caches / f"node-{locked}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want the same at once
        if not home.exists():
            _install(home)
    return home / "node_modules"


def _install(home: Path) -> None:
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, made)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"],
            cwd=made,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and (reason := _OUT_OF_REACH.search(done.stderr)):
            pytest.skip(f"the SDKs for Node are not installed and the package registry is out of reach ({reason[0]})")
        assert done.returncode == 0, done.stderr
        made.rename(home)  # whole or not at all
