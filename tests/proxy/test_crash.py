"""A short slice of ``scripts/crash-proxy``, which says what it shows."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT


def test_no_event_is_lost_or_doubled_when_the_proxy_is_killed() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "crash-proxy"), "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each with exactly one event" in done.stdout
