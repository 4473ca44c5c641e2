# ruff: noqa: DTZ001 - times in events are naive UTC
from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metrion.cli.reconcile import _COUNTS, _MEANING
from metrion.reconciling.comparison import Reason
from tests.cli.console import Console, Result
from tests.pages import ROOT, blocks, sections, table_column
from tests.store.events import Home, event

PAGE = ROOT / "docs" / "reconcile.md"
EXAMPLE = [block for block in blocks(PAGE) if block.section == "An example"]
BILL, CONSOLE, SHOWN = (block.text for block in EXAMPLE)


@pytest.fixture
def home(metrion: Console) -> Home:
    """What was metered in the example of the page."""
    home = Home(metrion.home)
    home.initialise()
    first, second = datetime(2026, 11, 1, 12), datetime(2026, 11, 2, 12)
    home.record(
        event(started_at=first, model="gpt-5-2025-08-07", cost_usd=Decimal("0.52")),
        event(started_at=second, cost_usd=Decimal("0.04")),
        event(started_at=second, cost_usd=None, cost_source="unknown", cost_at_least_usd=Decimal("0.01")),
        event(started_at=second, model="mine", cost_usd=None, cost_source="unpriced"),
        event(
            started_at=second, provider="anthropic", model="claude-sonnet-4-5-20250929", cost_usd=Decimal("1.503"),
            cost_source="estimated",
        ),
    )  # fmt: skip
    return home


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    for name, text in (("costs.json", BILL), ("console.csv", CONSOLE)):
        (tmp_path / name).write_text(text)
    return str(tmp_path / "costs.json"), str(tmp_path / "console.csv")


@pytest.mark.usefixtures("home")
def test_the_example_of_the_page_is_what_is_printed(metrion: Console, files: tuple[str, str]) -> None:
    result = metrion("reconcile", *files)
    assert result.status == 0
    command, _, shown = SHOWN.partition("\n")
    assert command == "$ metrion reconcile costs.json console.csv"
    assert result.out + result.err == shown


def test_every_reason_is_explained_on_the_page_and_to_people() -> None:
    described = [cell.strip("`") for cell in table_column(sections(PAGE)["How to read it"])]
    assert described == ["reason", *_MEANING]
    assert set(_MEANING) == {*_COUNTS, *Reason}


@pytest.mark.usefixtures("home")
def test_programs_get_the_lines_with_all_counts(metrion: Console, files: tuple[str, str]) -> None:
    rows = json.loads(metrion.ok("reconcile", files[0], "--format", "json"))
    assert [(row["day"], row["model"]) for row in rows] == [
        ("2026-11-01", "gpt-5"),
        ("2026-11-01", "o3"),
        ("2026-11-02", "gpt-5"),
        ("2026-11-02", "Web search tool calls"),
        ("2026-11-02", "mine"),
    ]
    assert rows[2] == {
        "provider": "openai", "day": "2026-11-02", "model": "gpt-5", "billed_usd": "0.100000000000",
        "metered_usd": "0.040000000000", "difference_usd": "-0.060000000000", "percent": "-60.00",
        "billed_input_tokens": None, "input_tokens": 200, "billed_output_tokens": None, "output_tokens": 40,
        "requests": 2, "unpriced": 0, "unknown": 1, "at_least_usd": "0.010000000000", "estimated": 0,
        "subscription": 0, "reasons": [],
    }  # fmt: skip
    (_, never, *_) = csv.DictReader(io.StringIO(metrion.ok("reconcile", files[0], "--format", "csv")))
    assert (never["model"], never["metered_usd"], never["reasons"]) == ("o3", "0.000000000000", '["never_passed"]')


@pytest.mark.usefixtures("home")
def test_by_day_and_by_model(metrion: Console, files: tuple[str, str]) -> None:
    days = json.loads(metrion.ok("reconcile", files[0], "--by", "day", "--format", "json"))
    assert [(row["day"], row["difference_usd"]) for row in days] == [
        ("2026-11-01", "-0.090000000000"),
        ("2026-11-02", "-0.090000000000"),
    ]
    assert "model" not in days[0]
    models = json.loads(metrion.ok("reconcile", *files, "--by", "model", "--since", "2026-11-02", "--format", "json"))
    assert {row["model"] for row in models} == {"claude-sonnet-4-5-20250929", "gpt-5", "mine", "Web search tool calls"}


@pytest.mark.usefixtures("home")
def test_tokens_are_shown_where_a_bill_has_them(metrion: Console, tmp_path: Path) -> None:
    result = {
        "object": "organization.usage.completions.result",
        "model": "gpt-5",
        "input_tokens": 90,
        "output_tokens": 20,
    }
    bucket = {"object": "bucket", "start_time": 1793491200, "end_time": 1793577600, "results": [result]}
    (tmp_path / "usage.json").write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False}))
    heading, _, line, *_ = metrion.ok("reconcile", str(tmp_path / "usage.json")).splitlines()
    assert heading.split()[7:11] == ["billed_input_tokens", "input_tokens", "billed_output_tokens", "output_tokens"]
    assert line.split()[3:] == ["NULL", "0.5200", "NULL", "NULL", "90", "100", "20", "20"]


def test_a_name_of_a_bill_reaches_no_terminal_with_its_control_characters(metrion: Console, tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("day,model,cost_usd\n2026-11-01,\x1b[31mred,1\n")
    assert "\x1b" not in metrion.ok("reconcile", str(tmp_path / "bill.csv"), "--provider", "grok")


def refused(metrion: Console, tmp_path: Path, text: str, *arguments: str) -> Result:
    (tmp_path / "bill.csv").write_text(text)
    return metrion("reconcile", str(tmp_path / "bill.csv"), *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day,model,cost_usd\n2026-11-01,gpt-5,much\n", "bill.csv: line 2, column cost_usd is not an amount"),
        ("day,model,cost_usd\n2026-11-01,gpt-5,1\n", "does not say whose bill it is; --provider does"),
        ("a,b\n", "no form that is known here"),
        (BILL.replace('"usd"', '"eur"'), "currency is 'eur'; Metrion meters in US dollars"),
        (BILL.replace("0.22", '"x"'), "data[0].results[1].amount.value is not an amount"),
    ],
)
def test_a_file_that_cannot_be_read_is_1(metrion: Console, tmp_path: Path, text: str, message: str) -> None:
    result = refused(metrion, tmp_path, text)
    assert (result.status, result.out) == (1, "")
    assert message in result.err


def test_a_file_that_is_not_there_is_1(metrion: Console) -> None:
    result = metrion("reconcile", "nowhere.json")
    assert result.status == 1
    assert "nowhere.json: No such file" in result.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["bill.csv", "--by", "user"], ["bill.csv", "--format", "xml"], ["bill.csv", "--provider", "nobody"]],
)
def test_bad_usage_is_2(metrion: Console, arguments: list[str]) -> None:
    assert metrion("reconcile", *arguments).status == 2


def test_a_provider_of_the_configuration_has_the_bills_of_what_it_is_like(
    metrion: Console, home: Home, files: tuple[str, str]
) -> None:
    (metrion.home / "metrion.yaml").write_text("providers: {mine: {like: openai, upstream: http://127.0.0.1:9}}\n")
    home.record(event(started_at=datetime(2026, 11, 1, 12), provider="mine", model="o3", cost_usd=Decimal("0.09")))
    rows = json.loads(metrion.ok("reconcile", *files, "--provider", "mine", "--by", "model", "--format", "json"))
    assert [(row["provider"], row["model"], row["difference_usd"]) for row in rows] == [
        ("anthropic", "claude-sonnet-4-5-20250929", "0.003000000000"),
        ("mine", "gpt-5", "-0.620000000000"),
        ("mine", "o3", "0.000000000000"),
        ("mine", "Web search tool calls", None),
    ]
