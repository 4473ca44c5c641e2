"""Homes for the tests of this folder: settings whose state is under a temporary folder, and other processes on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from metrion.settings import Settings


def home_settings(home: Path, environment_keys: Mapping[str, str] | None = None) -> Settings:
    return Settings(home=home, environment_keys=environment_keys or {})


def run_together(code: str, arguments: Sequence[Sequence[str]]) -> list[str]:
    """Run ``code`` in one Python process for each list of arguments, all starting at the same moment.

    Each prints ``ready`` when its imports are done and goes on when a line comes in; what it prints after that is
    returned. A process that fails fails the test, with its traceback.
    """
    gate = "print('ready', flush=True); input()\n"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code.replace("GATE\n", gate), *each],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "ready\n", process.communicate()[1]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in results]
