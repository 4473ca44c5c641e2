"""What a caller put into a label must not control the terminal of who reads it; a file gets it as it is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from contextlib import suppress

import pytest

from tests.cli.console import SCRIPT, Console
from tests.store.events import Home, event

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x7f\u202eback\u2066"
RAW = [b"\x1b]", b"\x1b[3", b"\x07", b"\x7f", "\x9b".encode(), "\u202e".encode(), "\u2066".encode()]
"""Pieces of it; the program's own colours are others."""


@pytest.fixture(autouse=True)
def metered(metrion: Console) -> None:
    home = Home(metrion.home)
    home.initialise()
    home.record(
        event(user_label=EVIL, tags={"t": EVIL}, model=EVIL, path=f"/v1/{EVIL}", error_type=EVIL, status=400),
        event(user_label=EVIL, model=None, status=None),
    )


def on_a_terminal(metrion: Console, *arguments: str) -> bytes:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=metrion.environment({"NO_COLOR": "1"})
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end, to Linux
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    process.wait(30)
    return shown


FORMATS = ("table", "csv", "json", "markdown")
COMMANDS = [
    *(("sql", "--format", name, "SELECT user_label, tags, path FROM events") for name in FORMATS),
    *(("sql", "--format", name, "SELECT user_label, tags, path FROM events, range(3000)") for name in FORMATS),
    *(("sql", "--format", name, f'SELECT 1 AS "{EVIL}"') for name in FORMATS),
    *(("report", "costs", "--by", "user", "--format", name) for name in FORMATS),
    *(("report", "costs", "--by", "model", "--format", name) for name in FORMATS),
    *(("report", name) for name in ("errors", "latency", "unpriced", "tokens", "models", "users", "cache")),
    ("show", "last"),
    ("tail", "--no-follow"),
    ("tail", "--no-follow", "--format", "json"),
    ("sql", "SELECT user_label::INTEGER FROM events"),
    ("sql", f"SELEKT '{EVIL}'"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:3]).replace(EVIL, "evil"))
def test_a_terminal_gets_no_control_characters(metrion: Console, arguments: tuple[str, ...]) -> None:
    shown = on_a_terminal(metrion, *arguments)
    assert shown
    assert [raw for raw in RAW if raw in shown] == []


def test_csv_in_a_pipe_is_exact(metrion: Console) -> None:
    out = metrion.ok("sql", "--format", "csv", "SELECT user_label FROM events LIMIT 1")
    assert out == f"user_label\r\n{EVIL}\r\n"


def test_the_csv_of_a_report_in_a_pipe_is_exact(metrion: Console) -> None:
    assert EVIL in metrion.ok("report", "costs", "--by", "user", "--format", "csv")


def test_json_has_the_same_value_anywhere(metrion: Console) -> None:
    out = metrion.ok("sql", "--format", "json", "SELECT DISTINCT user_label FROM events")
    assert json.loads(out) == [{"user_label": EVIL}]
