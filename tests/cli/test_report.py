from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from metrion import reports
from metrion.cli import commands
from tests.store.events import STARTED, Home, event


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("METRION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("METRION_CONFIG", raising=False)
    return Home(tmp_path / "home")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["report", *arguments])


def test_before_the_first_serve_it_is_empty(home: Home) -> None:
    done = run()
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].split()[:2] == ["day", "requests"]
    assert len(done.stdout.splitlines()) == 2


def test_people_get_a_total_and_what_the_figures_leave_out(home: Home) -> None:
    home.initialise()
    home.record(
        event(user_label="alice", cost_usd=Decimal("0.25")),
        event(user_label="bob", cost_usd=None, cost_source="unpriced"),
    )
    lines = run("costs", "--by", "user").stdout.splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["alice", "1", "100", "20", "0.2500", "0", "0"],
        ["bob", "1", "100", "20", "NULL", "1", "0"],
        ["total", "2", "200", "40", "0.2500", "1", "0"],
    ]
    assert lines[-1].startswith("1 unpriced: ")


def test_people_see_an_amount_beside_the_sum_where_there_is_one(home: Home) -> None:
    home.initialise()
    home.record(
        event(cost_usd=None, cost_source="unknown", cost_at_least_usd=Decimal("0.00012345")),
        event(user_label="bob", cost_usd=Decimal("12.345")),
    )
    heading, _, *lines = run("costs", "--by", "user", "--format", "markdown").stdout.splitlines()
    assert [cell.strip() for cell in heading.split("|")[5:8]] == ["cost_usd", "at_least_usd", "unpriced"]
    assert [[cell.strip() for cell in line.split("|")[5:7]] for line in lines[:3]] == [
        ["12.34", "NULL"],
        ["NULL", "0.0001234"],
        ["12.34", "0.0001234"],
    ]
    row = json.loads(run("--format", "json").stdout)[0]
    assert (row["at_least_usd"], row["subscription_usd"]) == ("0.000123450000", None)


def test_several_things_to_group_by(home: Home) -> None:
    home.initialise()
    home.record(event(), event(provider="xai"))
    rows = json.loads(run("--by", "month", "--by", "provider", "--format", "json").stdout)
    assert [(row["month"], row["provider"], row["requests"]) for row in rows] == [
        ("2026-11", "openai", 1),
        ("2026-11", "xai", 1),
    ]


@pytest.mark.parametrize(
    ("configured", "arguments", "day"),
    [
        ("", (), "2026-11-01"),
        ("timezone: Asia/Tokyo", (), "2026-11-02"),
        ("timezone: Asia/Tokyo", ("--timezone", "UTC"), "2026-11-01"),
        ("", ("--timezone", "Asia/Tokyo"), "2026-11-02"),
    ],
)
def test_days_are_those_of_the_configured_time_zone_or_of_the_option(
    home: Home, configured: str, arguments: tuple[str, ...], day: str
) -> None:
    home.initialise()
    (home.path / "metrion.yaml").write_text(configured)
    home.record(event(started_at=STARTED.replace(hour=16)))
    (row,) = json.loads(run("--format", "json", *arguments).stdout)
    assert row["day"] == day
    assert json.loads(run("--format", "json", "--since", day, *arguments).stdout) == [row]


def test_programs_get_the_rows_alone(home: Home) -> None:
    home.initialise()
    home.record(event(), event(provider="xai", cost_usd=None, cost_source="unknown"))
    rows = json.loads(run("--by", "provider", "--format", "json").stdout)
    assert [(row["provider"], row["cost_usd"], row["unknown"]) for row in rows] == [
        ("openai", "0.001234567890", 0),
        ("xai", None, 1),
    ]
    assert len(run("--by", "provider", "--format", "csv").stdout.splitlines()) == 3


def test_help_names_every_question() -> None:
    text = run("--help").stdout
    assert all(f"`{name}`" in text for name in reports.QUESTIONS)


def test_a_span(home: Home) -> None:
    home.initialise()
    home.record(event())
    assert json.loads(run("--since", "2026-11-02", "--format", "json").stdout) == []
    assert len(json.loads(run("--since", "2026-11-01", "--until", "2026-11-02", "--format", "json").stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "costs"),
        (["--since", "soon"], "no point in time"),
        (["--until", "7"], "no point in time"),
        (["--since", "2d", "--until", "3d"], "is not after --since"),
        (["--by", "moon"], "tag:NAME"),
        (["--timezone", "Moon"], "Europe/Berlin"),
        (["--format", "xml"], "markdown"),
    ],
)
def test_bad_usage_names_the_way_out(home: Home, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
