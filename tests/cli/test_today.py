from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from metrion.cli.spent import of_a_run, of_today
from metrion.cli.today import place_of
from metrion.settings import load_settings
from metrion.store.recent import Spent
from tests.cli.console import Console
from tests.store.events import Home, event


def now() -> datetime:
    """The time as events have it: not that of the import, since a suite may run over midnight."""
    return datetime.now(UTC).replace(tzinfo=None)


@pytest.fixture
def home(metrion: Console) -> Home:
    home = Home(metrion.home)
    home.initialise()
    return home


@pytest.mark.parametrize(
    ("spent", "line"),
    [
        (Spent(), "$0.00 today · 0 requests"),
        (Spent(1, Decimal("0.000123456")), "$0.0001235 today · 1 request"),
        (Spent(132, Decimal("1.836"), 1, 1), "$1.84 today · 132 requests · 2 without a cost"),
        (Spent(12_345, Decimal("1234.5")), "$1,234.50 today · 12,345 requests"),
        (Spent(2, None, 0, 2), "$? today · 2 requests · 2 without a cost"),
    ],
)
def test_a_line_for_a_prompt(spent: Spent, line: str) -> None:
    assert of_today(spent) == line


@pytest.mark.parametrize(
    ("spent", "line"),
    [
        (
            Spent(3, Decimal("0.0123"), 0, 0, 1234, 56),
            "metrion: $0.01230 · 3 requests · 1,234 tokens in · 56 tokens out (metrion tail --token run-1)",
        ),
        (
            Spent(3, Decimal(2), 1, 2),
            "metrion: $2.00 · 3 requests · not in the sum: 2 whose usage is not known and 1 of a model without a price "
            "(metrion tail --token run-1)",
        ),
        (
            Spent(1, None, 0, 1),
            "metrion: $? · 1 request · not in the sum: 1 whose usage is not known (metrion tail --token run-1)",
        ),
    ],
)
def test_a_line_for_a_run(spent: Spent, line: str) -> None:
    assert of_a_run(spent, "run-1") == line


def test_without_a_home_nothing_was_spent_and_none_is_made(metrion: Console) -> None:
    assert metrion.ok("today") == "$0.00 today · 0 requests\n"
    assert not metrion.home.exists()


def test_an_empty_store(metrion: Console, home: Home) -> None:
    assert metrion.ok("today") == "$0.00 today · 0 requests\n"


def test_filters_and_json(metrion: Console, home: Home) -> None:
    home.record(
        event(started_at=now(), cost_usd=Decimal("0.5")),
        event(started_at=now(), cost_usd=Decimal("1.5"), token_name="ci", account="team"),
        event(started_at=now() - timedelta(days=2)),
    )
    home.ingest()
    home.record(event(started_at=now(), cost_usd=None, cost_source="unknown", token_name="ci"))
    assert metrion.ok("today") == "$2.00 today · 3 requests · 1 without a cost\n"
    assert metrion.ok("today", "--token", "ci") == "$1.50 today · 2 requests · 1 without a cost\n"
    assert metrion.ok("today", "--account", "team") == "$1.50 today · 1 request\n"
    assert json.loads(metrion.ok("today", "--format", "json", "--token", "ci")) == {
        "since": f"{now():%Y-%m-%d}T00:00:00Z",
        "requests": 2,
        "cost_usd": "1.500000000000",
        "unpriced": 0,
        "unknown": 1,
        "input_tokens": 200,
        "output_tokens": 40,
    }


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_day_is_that_of_the_configured_zone(metrion: Console, home: Home, zone: str) -> None:
    (metrion.home / "metrion.yaml").write_text(f"timezone: {zone}\n")
    local = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = local.astimezone(UTC).replace(tzinfo=None)
    home.record(event(started_at=midnight), event(started_at=midnight - timedelta(microseconds=1)))
    assert metrion.ok("today").endswith(" · 1 request\n")
    home.ingest()
    assert metrion.ok("today").endswith(" · 1 request\n")


@contextmanager
def held_open(path: Path) -> Iterator[None]:
    """By another program, for writing."""
    program = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        held.stdout.readline()
        yield


def test_a_store_that_is_held_open_by_another_program(metrion: Console, home: Home) -> None:
    home.record(event(started_at=now()))
    home.ingest()
    with held_open(home.store_path):
        assert metrion.ok("today") == "$0.001235 today · 1 request\n"


def test_what_cannot_be_read_is_one_line(metrion: Console, home: Home) -> None:
    home.store_path.write_bytes(b"garbage" * 1000)
    result = metrion("today")
    assert (result.status, result.out) == (1, "")
    assert len(result.err.splitlines()) == 1, result.err
    assert str(home.store_path) in result.err


@pytest.mark.parametrize(
    "text",
    ["", "store: elsewhere.duckdb\n", "store: /var/lib/u.duckdb\ntimezone: Europe/Berlin\n", "listen: 0.0.0.0:1\n"],
)
def test_the_configuration_means_what_it_means_elsewhere(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRION_HOME", str(tmp_path))
    monkeypatch.delenv("METRION_CONFIG", raising=False)
    file = tmp_path / "other.yaml"
    file.write_text(text)
    for config in (None, file):
        settings = load_settings(config)
        assert place_of(config) == (settings.journal_dir, settings.store_path, settings.timezone)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("timezone: Mars/Base\n", "timezone"),
        ("store: ducklake:x\n", "ducklake"),
        ("- a\n", "mapping"),
        ("a: [\n", "YAML"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(metrion: Console, home: Home, text: str, word: str) -> None:
    (metrion.home / "metrion.yaml").write_text(text)
    result = metrion("today")
    assert (result.status, result.out) == (1, "")
    assert word in result.err
    assert len(result.err.splitlines()) == 1, result.err


def test_it_loads_nothing_that_takes_long(metrion: Console, home: Home) -> None:
    home.record(event(started_at=now()))
    home.ingest()
    home.record(event(started_at=now()))
    (metrion.home / "metrion.yaml").write_text("timezone: Europe/Berlin\n")
    program = (
        "import sys; from metrion.cli import commands; commands.main(['today'], standalone_mode=False); "
        "print(*{'duckdb', '_duckdb', 'pydantic', 'mitmproxy', 'asyncio', 'cryptography'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], env=metrion.environment(), capture_output=True, check=True)
    line, loaded = done.stdout.decode().splitlines()
    assert "request" in line
    assert loaded == ""


def test_it_answers_at_once(metrion: Console, home: Home) -> None:
    """By processor time, which a busy machine does not stretch."""
    home.record(*(event(started_at=now()) for _ in range(300)))
    home.ingest()
    home.record(*(event(started_at=now()) for _ in range(300)))

    def seconds() -> float:
        before = os.times()
        metrion.ok("today")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.3
