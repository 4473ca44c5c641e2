# ruff: noqa: DTZ001 - times in events are naive UTC
"""Files and a real store in, rows out."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metrion import reconciling
from metrion.errors import BillError
from metrion.pricing import PriceBook
from metrion.reconciling import Comparison, read_files
from metrion.reconciling.comparison import Row
from metrion.settings import Settings, load_settings
from tests.reconciling.test_google_bills import REPORT
from tests.store.events import Home, event


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "prices.yaml").write_text("openai:\n  gpt-5: {input: 1, output: 1}\n  o3: {input: 1, output: 1}\n")
    (tmp_path / "metrion.yaml").write_text("pricing: [prices.yaml]\n")
    return load_settings(tmp_path / "metrion.yaml", {"METRION_HOME": str(tmp_path / "home")})


@pytest.fixture
def home(settings: Settings) -> Home:
    home = Home(settings.home)
    home.initialise()
    return home


def plain(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("day,model,cost_usd", *lines, "")))
    return path


def compared(settings: Settings, *paths: Path, provider: str | None = "openai", **options: Any) -> Comparison:
    return reconciling.reconcile(settings, PriceBook.load(settings.pricing), read_files(paths, provider), **options)


def only(comparison: Comparison) -> Row:
    (row,) = comparison.rows
    return row


@pytest.mark.parametrize("ingested", [False, True])
def test_what_was_metered_is_counted(home: Home, settings: Settings, tmp_path: Path, ingested: bool) -> None:
    at = {"started_at": datetime(2026, 11, 1, 23, 59, 59)}
    home.record(
        event(**at, cost_usd=Decimal("0.5")),
        event(**at, cost_usd=Decimal("0.25"), cost_source="estimated", model=None, model_requested="gpt-5"),
        event(**at, cost_usd=None, cost_source="unpriced", cost_at_least_usd=Decimal("0.03")),
        event(**at, cost_usd=None, cost_source="unknown", cost_at_least_usd=Decimal("0.01"), input_tokens=None),
        event(**at, cost_usd=Decimal(0), cost_source="subscription"),
        event(**at, cost_usd=Decimal(0), cost_source="not_billed"),
        event(**at, provider="xai"),
        event(started_at=datetime(2026, 11, 2)),
    )
    if ingested:
        home.ingest()
    row = only(compared(settings, plain(tmp_path / "bill.csv", "2026-11-01,gpt-5,0.8")))
    assert (row.billed_usd, row.metered_usd, row.difference_usd) == (Decimal("0.8"), Decimal("0.75"), Decimal("-0.05"))
    counts = row.counts
    assert (counts.requests, counts.unpriced, counts.unknown, counts.estimated, counts.subscription) == (5, 1, 1, 1, 1)
    assert counts.at_least_usd == Decimal("0.04")
    assert counts.input_tokens == 400


def test_what_another_model_did_for_a_request_is_its_own(home: Home, settings: Settings, tmp_path: Path) -> None:
    parts = {"input": Decimal(1), "o3:input": Decimal("0.25"), "o3:output": Decimal("0.25")}
    home.record(event(cost_usd=Decimal("1.5"), cost_parts=parts))
    rows = compared(settings, plain(tmp_path / "bill.csv", "2026-11-01,gpt-5,1", "2026-11-01,o3,0.5")).rows
    assert [(row.model, row.difference_usd, row.counts.requests) for row in rows] == [
        ("gpt-5", Decimal(0), 1),
        ("o3", Decimal(0), 0),
    ]


def test_what_is_told_later_is_not_unknown(home: Home, settings: Settings, tmp_path: Path) -> None:
    home.record(
        event(method="POST", cost_usd=None, cost_source="unknown", generation_id="resp_1", usage_source="none"),
        event(method="GET", cost_usd=Decimal(1), generation_id="resp_1"),
    )
    row = only(compared(settings, plain(tmp_path / "bill.csv", "2026-11-01,gpt-5,1")))
    assert (row.counts.requests, row.counts.unknown) == (1, 0)
    assert row.difference_usd == 0


def test_days_are_the_bills_own(home: Home, settings: Settings, tmp_path: Path) -> None:
    """Google's begin at midnight in California."""
    (tmp_path / "report.csv").write_text(REPORT)
    late, early = (datetime(2026, 8, 15, hour) for hour in (6, 8))  # 23:00 the day before, and 1:00
    for started_at, usd in ((late, "0.5"), (early, "1.25")):
        home.record(event(started_at=started_at, provider="google", model="gemini-2.5-flash", cost_usd=Decimal(usd)))
    rows = compared(settings, tmp_path / "report.csv", provider=None, by=["day"]).rows
    assert [(row.day, row.metered_usd) for row in rows] == [
        (date(2026, 8, 14), Decimal("0.5")),
        (date(2026, 8, 15), Decimal("1.25")),
    ]


def test_a_span_takes_whole_days(home: Home, settings: Settings, tmp_path: Path) -> None:
    home.record(event())
    bill = plain(tmp_path / "bill.csv", *(f"2026-11-0{day},gpt-5,{day}" for day in (1, 2, 3)))
    noon = datetime(2026, 11, 2, 12)
    assert compared(settings, bill, since=noon).total.billed_usd == 5
    assert compared(settings, bill, until=noon).total.billed_usd == 3
    assert compared(settings, bill, until=datetime(2026, 11, 2)).total.billed_usd == 1
    with pytest.raises(BillError, match="no day that was asked for"):
        compared(settings, bill, since=datetime(2026, 12, 1))


def test_nothing_metered_says_where_it_looked(home: Home, settings: Settings, tmp_path: Path) -> None:
    comparison = compared(settings, plain(tmp_path / "bill.csv", "2026-11-01,gpt-5,1"))
    assert only(comparison).metered_usd == 0
    assert str(home.path) in comparison.remarks[0]


def test_files_that_may_count_twice(home: Home, settings: Settings, tmp_path: Path) -> None:
    first = plain(tmp_path / "a.csv", "2026-11-01,gpt-5,1")
    second = plain(tmp_path / "b.csv", "2026-11-01,gpt-5,1", "2026-11-02,gpt-5,1")
    remark = compared(settings, first, second).remarks[0]
    assert "a.csv and b.csv both have lines of 1 day from 2026-11-01 on" in remark
    with pytest.raises(BillError, match=r"c\.csv: it is the same as .*a\.csv"):
        read_files([first, plain(tmp_path / "c.csv", "2026-11-01,gpt-5,1")], "openai")


def test_a_name_that_no_file_is_of(tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text(REPORT)
    with pytest.raises(BillError, match=r"no file is of xai: .*report\.csv of google\. Leave --provider out"):
        read_files([tmp_path / "report.csv"], "xai", "xai")


def test_days_that_begin_otherwise_are_not_mixed(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text(REPORT)
    mine = plain(tmp_path / "mine.csv", "2026-08-15,gemini-2.5-flash,1")
    with pytest.raises(BillError, match="google's bills count days in America/Los_Angeles and in UTC"):
        compared(settings, tmp_path / "report.csv", mine, provider="google")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"day,model,cost_usd\n\xff,x,1\n", "byte 19 is not UTF-8"),
        ("day,model,cost_usd\n".encode("utf-16"), "is not UTF-8"),
        (b"day,model,cost_usd\n2026-11-01,x,much\n", "line 2, column cost_usd is not an amount"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bill.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BillError, match=rf"bill\.csv: .*{message}"):
        read_files([path], "openai")


def test_a_file_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "MOST_BYTES", 1024**2)
    (tmp_path / "bill.csv").write_bytes(b"x" * (1024**2 + 1))
    with pytest.raises(BillError, match=r"larger than 1 MB\. Split it by days"):
        read_files([tmp_path / "bill.csv"])
    with pytest.raises(BillError, match="larger than 1 MB"):
        read_files([Path("/dev/zero")])
