"""What metering computes for one request by itself, now and, with ``--against``, in another commit. They take turns."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.benchmark.results import Extent, Result
from scripts.benchmark.system import ROOT, BenchError, running_program

NOW, BEFORE = "now", "before"
COSTS = {"plain": "metering, CPU per request", "stream": "metering, CPU per stream of 202 chunks"}
STEP = "metering, {}"
TURNS = 5


def measure(extent: Extent, against: str | None = None) -> Iterator[Result]:
    """See the module. ``against``: a commit that git knows."""
    with contextlib.ExitStack() as stack:
        addons = {NOW: ROOT / "addon"}
        if against is not None:
            addons[BEFORE] = stack.enter_context(checked_out(against)) / "addon"
        turns = min(TURNS, 1 + int(extent.seconds / 20)) if against else 1
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in addons}
        for _ in range(turns):
            for name, addon in addons.items():
                measured[name].append(_run(addon, extent.part(0.12) / turns / len(addons)))
    for kind, name in COSTS.items():
        best = {commit: min(one[kind] for one in runs) for commit, runs in measured.items()}
        for commit, value in best.items():
            yield Result(name, commit, value, "µs")
        if against is not None:
            yield Result(name, NOW, best[NOW] / best[BEFORE], "ratio", BEFORE)
    for commit, runs in measured.items():
        for step in runs[0]["steps"]:
            yield Result(STEP.format(step), commit, min(one["steps"][step] for one in runs), "µs")


def _run(addon: Path, seconds: float) -> dict[str, Any]:
    path = f"{addon}:{ROOT}"
    with running_program("scripts.benchmark.metering_program", str(seconds), path=path) as program:
        measured: dict[str, Any] = json.loads(program.read_line())
        return measured


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Give a commit's code in a folder for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="metrion-bench-") as folder:
        command = ["git", "-C", str(ROOT), "archive", commit, "addon", "pricing.yaml"]
        archive = subprocess.run(command, capture_output=True, check=False)
        if archive.returncode:
            raise BenchError(f"{commit} cannot be checked out: {archive.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)
