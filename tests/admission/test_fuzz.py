"""A short slice of ``scripts/fuzz-admission``, which says what it shows."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT


def test_nobody_gets_in_and_nothing_gets_out() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz-admission"), "--seed", "7", "5000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 faults in " in done.stdout
