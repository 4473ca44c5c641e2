# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest

from metrion.model import Event
from tests.cli.console import SCRIPT, Console
from tests.processes import undelayed
from tests.store.events import Home, event


@pytest.fixture
def home(metrion: Console) -> Home:
    home = Home(metrion.home)
    home.initialise()
    return home


@contextlib.contextmanager
def following(metrion: Console, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """``metrion tail`` in a process of its own."""
    with subprocess.Popen(
        [SCRIPT, "tail", *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, env=metrion.environment()
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


USUAL = event(
    started_at=datetime(2026, 11, 1, 10, 30, 15),
    user_label="alice",
    end_reason="complete",
    input_tokens=12345,
    cache_read_tokens=1000,
    latency_ms=1234.5,
)


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({}, "alice openai gpt-5 200 12,345 20 1,000 $0.001235 1,234 ms laptop default - - - complete"),
        (
            {"cost_source": "estimated"},
            "alice openai gpt-5 200 12,345 20 1,000 ~$0.001235 1,234 ms laptop default - - - complete",
        ),
        (
            {"cost_usd": None, "cost_source": "unpriced", "model": None, "model_requested": "mine"},
            "alice openai mine 200 12,345 20 1,000 unpriced 1,234 ms laptop default - - - complete",
        ),
        (
            {
                "cost_usd": None,
                "cost_source": "unknown",
                "input_tokens": None,
                "output_tokens": 0,
                "cache_read_tokens": None,
                "end_reason": "stream_error",
                "error_type": "overloaded_error",
            },
            "alice openai gpt-5 200 - 0 - unknown 1,234 ms laptop default - - - stream_error overloaded_error",
        ),
        (
            {"cost_usd": None, "cost_source": "unknown", "cost_at_least_usd": Decimal("0.0002")},
            "alice openai gpt-5 200 12,345 20 1,000 ≥$0.0002000 1,234 ms laptop default - - - complete",
        ),
        (
            {"cost_usd": Decimal(0), "cost_source": "subscription", "computed_cost_usd": Decimal("0.25")},
            "alice openai gpt-5 200 12,345 20 1,000 subscription 1,234 ms laptop default - - - complete",
        ),
        (
            {"user_label": "\x1b[31mx\n", "status": None, "latency_ms": None, "cost_usd": Decimal(0)},
            "\\x1b[31mx\\n openai gpt-5 - 12,345 20 1,000 $0 - laptop default - - - complete",
        ),
        (
            {
                "token_name": None,
                "account": "team",
                "tags": {"b": "2", "a": "x"},
                "session_id": "s-1",
                "client": "cli/2",
            },
            "alice openai gpt-5 200 12,345 20 1,000 $0.001235 1,234 ms - team b=2,a=x s-1 cli/2 complete",
        ),
        (
            {"cost_usd": Decimal("0E-12"), "cost_source": "not_billed", "status": 401, "end_reason": "refused"},
            "alice openai gpt-5 401 12,345 20 1,000 $0 1,234 ms laptop default - - - refused",
        ),
    ],
)
def test_a_line(metrion: Console, home: Home, columns: dict[str, Any], shown: str) -> None:
    home.record(Event(**{name: getattr(USUAL, name) for name in USUAL.__slots__} | columns))
    heading, last = metrion.ok("tail", "--no-follow").splitlines()
    assert heading.split()[:5] == ["time", "(UTC)", "user", "provider", "model"]
    assert " ".join(last.split()) == f"2026-11-01 10:30:15 {shown}"


def test_json_is_that_of_sql(metrion: Console, home: Home) -> None:
    home.record(USUAL, event(tags={"a": "b"}, usage='{"a": [1.5, null]}', cost_parts={"input": Decimal("0.1")}))
    asked = json.loads(metrion.ok("sql", "--format", "json", "SELECT * FROM events ORDER BY event_id"))
    with following(metrion, "--format", "json") as process:
        told = [json.loads(line(process.stdout)) for _ in range(2)]
        assert sorted(told, key=lambda row: str(row["event_id"])) == asked
        home.record(later := event(started_at=now(), tags={"x": "ü"}, usage='{"n": 1}', audio_seconds=2.0))
        fresh = json.loads(line(process.stdout))
    (same,) = json.loads(metrion.ok("sql", "--format", "json", f"FROM events WHERE event_id = '{later.event_id}'"))
    assert fresh == same
    assert list(fresh) == list(same)


@pytest.mark.parametrize(
    ("arguments", "users"),
    [
        ((), "abcd"),
        (("-n", "2"), "cd"),
        (("-n", "0"), ""),
        (("--provider", "grok"), "b"),
        (("--provider", "xai", "--provider", "gemini"), "bc"),
        (("--user", "a"), "a"),
        (("--model", "gpt-*"), "ad"),
        (("--model", "asked"), "c"),
        (("--status", "4xx"), "c"),
        (("--status", "429", "--status", "5*"), "cd"),
        (("--status", "5XX", "--user", "a"), ""),
        (("--token", "run-*"), "b"),
        (("--token", "run-1", "--token", "ci"), "bc"),
        (("--account", "team"), "cd"),
        (("--tag", "feature=search"), "a"),
        (("--tag", "Feature"), "ab"),
        (("--tag", "feature=s*", "--tag", "it's $1=x"), "abd"),
        (("--session", "01a2*"), "b"),
        (("--client", "claude-cli"), "bc"),
        (("--client", "claude-cli/2.1", "--client", "OpenAI/*"), "bd"),
        (("--client", "claude"), ""),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_filters_say_the_same_of_old_and_new(
    metrion: Console, home: Home, arguments: tuple[str, ...], users: str, when: str
) -> None:
    events = (
        event(user_label="a", tags={"feature": "search"}),
        event(
            user_label="b",
            provider="xai",
            model="grok-4",
            token_name="run-1",
            tags={"feature": "sum", "x": "y"},
            session_id="01a2-3",
            client="claude-cli/2.1",
        ),
        event(
            user_label="c",
            provider="google",
            model=None,
            model_requested="asked",
            status=429,
            token_name="ci",
            account="team",
            client="claude-cli",
        ),
        event(user_label="d", status=500, account="team", tags={"it's $1": "x"}, client="OpenAI/Python"),
    )
    end = event(user_label="the end", provider="xai", model="gpt-asked", status=429)
    if when == "before":
        home.record(*events)
        out = metrion.ok("tail", "--no-follow", "--format", "json", *arguments)
        assert "".join(json.loads(each)["user_label"] for each in out.splitlines()) == users
        return
    if "-n" in arguments:
        users = "abcd"
    with following(metrion, *arguments) as process:
        line(process.stdout)
        home.record(*events, end)
        seen = [line(process.stdout).split()[2] for _ in users]
        assert "".join(seen) == users


def test_new_events_come_within_a_second_while_they_are_ingested(metrion: Console, home: Home) -> None:
    with following(metrion, "--format", "json", "-n", "1") as process:
        home.record(event(user_label="warm-up", started_at=now()))
        line(process.stdout)
        both = (process.pid, os.getpid())
        for number in range(15):
            home.record(event(user_label=str(number), started_at=now()))
            began = undelayed(both)
            told = json.loads(line(process.stdout))
            assert undelayed(both) - began < 1
            assert told["user_label"] == str(number)
            home.ingest()


def test_ctrl_c_is_how_one_ends_it(metrion: Console, home: Home) -> None:
    with following(metrion) as process:
        line(process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_reader_that_leaves_ends_it_quietly(metrion: Console, home: Home) -> None:
    with following(metrion) as process:
        line(process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        home.record(event())
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(20) == 1


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_only_a_terminal_gets_colour(metrion: Console, home: Home, environment: dict[str, str], coloured: bool) -> None:
    home.record(event(status=500))
    assert "\x1b" not in metrion.ok("tail", "--no-follow")
    controller, terminal = pty.openpty()
    subprocess.run(
        [SCRIPT, "tail", "--no-follow"], stdout=terminal, env=metrion.environment(environment), check=True, timeout=60
    )
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert ("\x1b[31m" in shown) is coloured
    assert "gpt-5" in shown


@pytest.mark.parametrize("width", [60, 80, 132])
def test_a_line_fits_the_terminal(metrion: Console, home: Home, width: int) -> None:
    home.record(event(model="m" * 100, user_label="u" * 100, session_id="s" * 100))
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    subprocess.run(
        [SCRIPT, "tail", "--no-follow"],
        stdin=terminal,
        stdout=terminal,
        env=metrion.environment({"NO_COLOR": "1"}),
        check=True,
        timeout=60,
    )
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode().splitlines()
    os.close(controller)
    assert len(shown) == 2
    assert width - 30 < max(map(len, shown)) <= width


def test_it_works_before_the_first_serve(metrion: Console) -> None:
    assert len(metrion.ok("tail", "--no-follow").splitlines()) == 1


def test_a_store_that_cannot_be_read_is_one_line(metrion: Console) -> None:
    Path(metrion.home).mkdir()
    (metrion.home / "usage.duckdb").write_bytes(b"garbage" * 1000)
    result = metrion("tail")
    assert result.status == 1
    assert str(metrion.home / "usage.duckdb") in result.err
    assert "Traceback" not in result.err
