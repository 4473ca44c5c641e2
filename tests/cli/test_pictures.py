"""What a terminal gets beside the plain output: bars, a line of days, running totals, progress."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from rich.cells import cell_len

from metrion.cli import progress as progress_module
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


LABELS = ("<script>alert(1)</script>", "🙂 emoji", "עברית \u202eעל", "x" * 10_000, "tab\there", "日本語" * 40)


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(
    "arguments", [("report", "costs", "--by", "user"), ("report", "users"), ("tail", "--no-follow")]
)
def test_no_label_makes_a_line_wider_than_the_terminal(
    metrion: Console, home: Home, arguments: tuple[str, ...], columns: int
) -> None:
    home.record(*(event(user_label=label, model=label) for label in LABELS))
    shown = terminal(metrion, *arguments, columns=columns, env={"NO_COLOR": "1"})
    assert shown.count("\n") >= len(LABELS)
    assert max(cell_len(line) for line in shown.splitlines()) <= columns
    assert "\u202e" not in shown


def test_what_takes_long_says_so_until_it_is_done(metrion: Console, home: Home) -> None:
    shown = terminal(metrion, "sql", "SELECT count(*) FROM range(10000000) a, range(10000000) b", until="Asking … 3 s")
    assert shown.startswith("\r\x1b[KAsking … 2 s\r\x1b[K")


def test_the_line_that_says_so_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    with progress_module.progress("Quick"):
        pass
    assert written.getvalue() == ""
    monkeypatch.setattr(progress_module, "_AFTER_SECONDS", 0.0)
    with progress_module.progress("Slow" * 100):
        while "Slow" not in written.getvalue():
            time.sleep(0.01)
    text = written.getvalue()
    assert text.endswith("\r\x1b[K")
    assert max(map(len, re.split(r"\r\x1b\[K", text))) < shutil.get_terminal_size().columns


def test_tail_has_running_totals_at_its_foot(metrion: Console, home: Home) -> None:
    home.record(event())
    shown = terminal(metrion, "tail", until="UTC\x1b")
    assert "0 requests · $0.00 · since " in shown
    assert "since" not in metrion.ok("tail", "--no-follow")
