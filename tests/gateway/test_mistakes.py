"""Requests to addresses where nothing is: counted for all, said now and then, kept masked."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from metrion.control import last_mistake
from metrion.gateway.mistakes import Mistakes
from metrion.gateway.scoreboard import Scoreboard
from metrion.model import Inbound
from metrion.settings import Settings
from tests.credentials import UNKNOWN


def test_each_is_counted_and_one_a_minute_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times, scoreboard = iter((0.0, 1.0, 59.0, 60.0, 61.0)), Scoreboard()
    mistakes = Mistakes(Settings(home=tmp_path), scoreboard.take(0, 1), clock=times.__next__)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            mistakes.note(Inbound(b"POST", b"/antropic/v1/messages?key=secret", ()))
    assert scoreboard.report("")["unknown_addresses"] == 5
    assert [each.getMessage() for each in caplog.records] == [
        "Nothing is served at the address of a request: POST /antropic/v1/messages.",
        "Nothing is served at the address of a request: POST /antropic/v1/messages (2 more since the last such line).",
    ]


def test_what_browsers_ask_for_by_themselves_is_not_counted(tmp_path: Path) -> None:
    scoreboard = Scoreboard()
    Mistakes(Settings(home=tmp_path), scoreboard.take(0, 1)).note(Inbound(b"GET", b"/favicon.ico", ()))
    assert scoreboard.report("")["unknown_addresses"] == 0
    assert last_mistake(Settings(home=tmp_path)) is None


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/antropic/" + UNKNOWN.encode(), "/antropic/sk-metrion-…" + UNKNOWN[-4:]),
        (b"/sk-ant-api03-0123456789abcdef/v1", "/***/v1"),
        (b"/x/my-own-key-of-mistral-12345", "/x/***"),
        (b"/a/%73k-metrion-" + b"x" * 43 + b"/b", "/a/***/b"),
        (b"/a\x1b[2J\x07/b\r\nc", "/a�[2J�/b��c"),
        (b"/\xff\xfe", "/��"),
        (b"/" + b"x" * 1000, "/" + "x" * 199),
    ],
)
def test_a_path_is_shown_masked_and_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, target: bytes, shown: str
) -> None:
    settings = Settings(home=tmp_path)
    own_key = (b"authorization", b"Bearer my-own-key-of-mistral-12345")
    Mistakes(settings, Scoreboard().take(0, 1)).note(Inbound(b"POST", target, (own_key,)))
    kept = last_mistake(settings)
    assert kept is not None
    assert kept.path == shown
    assert caplog.records[0].getMessage().endswith(f": POST {shown}.")
