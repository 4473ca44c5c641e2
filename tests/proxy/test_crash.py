"""A short slice of ``scripts/crash-proxy``, which says what it shows."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(("road", "workers", "rounds"), [("lane", 1, 3), ("lane", 2, 2), ("mitmproxy", 1, 2)])
def test_no_event_is_lost_or_doubled_when_the_proxy_is_killed(road: str, workers: int, rounds: int) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "crash-proxy"), "--road", road, "--workers", str(workers)]
    command.append(str(rounds))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each with exactly one event" in done.stdout


def test_a_budget_holds_for_requests_at_once_through_two_proxies_of_which_one_is_killed() -> None:
    """A short slice of ``scripts/crash-budgets``."""
    command = [sys.executable, str(ROOT / "scripts" / "crash-budgets"), "--requests", "60", "--room", "20", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is held" in done.stdout
    assert "of 20 got through" in done.stdout
