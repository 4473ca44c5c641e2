"""What a terminal gets beside the plain output: bars, a line of days, running totals, progress."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest

from metrion.cli.bars import bars, every_day, sparkline
from tests.cli.console import SCRIPT, Console
from tests.store.events import STARTED, Home, event


@pytest.fixture
def home(metrion: Console) -> Home:
    home = Home(metrion.home)
    home.initialise()
    return home


def terminal(
    metrion: Console, *arguments: str, columns: int = 160, env: dict[str, str] | None = None, until: str = ""
) -> str:
    """Run a command in a terminal until it ends, or until it has shown ``until``."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=metrion.environment(env)
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 60
    with suppress(OSError):  # the end, to Linux
        while time.monotonic() < deadline and (not until or until not in shown.decode(errors="replace")):
            if select.select([ours], [], [], 0.1)[0]:
                piece = os.read(ours, 65536)
                if not piece:
                    break
                shown += piece
    process.kill()
    process.wait(30)
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize(
    ("amounts", "drawn"),
    [
        ([], []),
        ([Decimal(4), Decimal(1)], ["████", "█"]),
        ([Decimal(8), None, Decimal(0), Decimal("0.001")], ["████", "", "", "▏"]),
        ([Decimal(0), None], ["", ""]),
    ],
)
def test_bars(amounts: list[Decimal | None], drawn: list[str]) -> None:
    assert bars(amounts, 4) == drawn


def test_a_line_of_days_has_the_missing_ones_and_says_what_is_not_known() -> None:
    days = every_day({"2026-11-01": Decimal(1), "2026-11-04": Decimal(8), "2026-11-03": None}, 10)
    assert days == ([Decimal(1), Decimal(0), None, Decimal(8)], "2026-11-01", "2026-11-04")
    assert sparkline(days[0]) == "▂ ?█"
    assert every_day({"2026-11-01": Decimal(1)}, 10) is None


def test_a_report_in_a_terminal_has_bars_and_in_a_pipe_it_has_none(metrion: Console, home: Home) -> None:
    home.record(event(cost_usd=Decimal(1)), event(cost_usd=Decimal(2), started_at=STARTED + timedelta(days=2)))
    shown = terminal(metrion, "report", "costs")
    assert re.search("\x1b\\[36m█+", shown)
    assert "cost_usd by day, 2026-11-01 to 2026-11-03" in shown
    plain = terminal(metrion, "report", "costs", env={"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert "█" in plain
    narrow = terminal(metrion, "report", "costs", columns=60, env={"NO_COLOR": "1"})
    assert max(map(len, narrow.splitlines())) <= 60
    assert "█" not in metrion.ok("report", "costs")


def test_tail_has_running_totals_at_its_foot(metrion: Console, home: Home) -> None:
    home.record(event())
    shown = terminal(metrion, "tail", until="UTC\x1b")
    assert "0 requests · $0.00 · since " in shown
    assert "since" not in metrion.ok("tail", "--no-follow")
