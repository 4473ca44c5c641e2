"""Programs of the benchmark's own, and what the operating system knows of a process group (Linux; elsewhere nothing).

CPU leaves the ingester out, since no request waits for it; memory counts every process.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
INGESTER = b"metrion.store.ingester_process"


class BenchError(Exception):
    """A program that is measured failed, so that a figure of it would be worthless."""


@dataclass(frozen=True, slots=True)
class Program:
    """A module that runs as a program and is spoken to in lines. It ends when its standard input does."""

    process: subprocess.Popen[str]

    def read_line(self) -> str:
        """Wait for a line of its output."""
        if self.process.stdout is None or not (line := self.process.stdout.readline()):
            raise BenchError(f"{self.process.args!r} ended with status {self.process.wait()}")
        return line

    def write_line(self, line: str) -> None:
        """Write a line to its input."""
        if self.process.stdin is not None:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def running_program(module: str, *arguments: str, path: str = str(ROOT)) -> Iterator[Program]:
    """Run a module of the benchmark for the length of the block; ``path`` is where it finds the code."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Program(process)
        finally:
            cast("Any", process.stdin).close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def processes(group: int, *, ingester: bool) -> list[Path]:
    """Find a group's processes under /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            of_group = int((folder / "stat").read_text().rpartition(") ")[2].split()[2])
            if of_group == group and (ingester or INGESTER not in (folder / "cmdline").read_bytes()):
                found.append(folder)
    return found


def cpu_seconds(group: int | None) -> float | None:
    """Return what a group's processes have computed so far, to the nanosecond."""
    if group is None or not (found := processes(group, ingester=False)):
        return None
    total = 0
    for folder in found:
        for thread in (folder / "task").glob("*"):  # nothing, where the process has ended meanwhile
            with contextlib.suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_megabytes(group: int | None) -> float | None:
    """Return the memory of a group's processes; memory that several of them share is counted once."""
    if group is None or not (found := processes(group, ingester=True)):
        return None
    total = 0
    for folder in found:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            lines = (folder / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def peak_megabytes(process: int) -> float | None:
    """Return what a process held of the machine's memory at its most, with what it shares."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return None


def allow_open_files() -> None:
    """Raise the limit of open files as far as it goes, for this process and those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says infinite and takes less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def machine() -> dict[str, Any]:
    """Describe where this runs."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
