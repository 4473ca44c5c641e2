"""The console script as a person runs it: arguments in, exit status and output out, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Result, in_this_process

SCRIPT = Path(sys.executable).with_name("metrion")


@dataclass(frozen=True, slots=True)
class Console:
    """Runs ``metrion`` on one home, with nothing of the caller's environment but the path."""

    home: Path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "METRION_HOME": str(self.home),
            "PYTHONUTF8": "1",
            **(extra or {}),
        }

    def __call__(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        done = subprocess.run(
            [SCRIPT, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment(env),
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run what must succeed, in this process, and return its standard output."""
        result = self.inside(*arguments, stdin=stdin, env=env)
        assert result.status == 0, result.err
        return result.out

    def inside(self, *arguments: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        """Run a command in this process: for tables of many cases. Exit status and output are those of a process."""
        return in_this_process(*arguments, stdin=stdin, environment=self.environment(env))

    def state(self) -> bytes:
        """Return the content of every file in the home."""
        return b"".join(file.read_bytes() for file in sorted(self.home.rglob("*")) if file.is_file())
