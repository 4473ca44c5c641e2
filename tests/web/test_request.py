"""The page of one request: its attempts, what policies did, and why it cost what it did."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from metrion.settings import Settings
from tests.store.events import Home, event
from tests.web.conftest import admin
from tests.web.homes import HOSTILE

PRICES = """
openai:
  gpt-5:
    {source: "https://example.com/prices", checked: 2026-11-01, match: [gpt-five, "gpt-5-p*"], input: 10, output: 17}
"""
USED: dict[str, Any] = {
    "input_tokens": 600,
    "output_tokens": 200,
    "cost_usd": Decimal("0.0094"),
    "computed_cost_usd": Decimal("0.0094"),
    "cost_parts": {"input": Decimal("0.006"), "output": Decimal("0.0034")},
    "price_version": "0123456789ab",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.initialise()
    (home.path / "mine.yaml").write_text(PRICES)
    return home


def opened(home: Home) -> TestClient:
    return admin(Settings(home=home.path, pricing=(home.path / "mine.yaml",)))


def block(page: str, name: str) -> list[list[str]]:
    """The rows of a block of a page, as text."""
    found = re.search(rf'<section class="block[^"]*" id="{name}".*?</section>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)[1:] if found else []
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows
    ]


def test_a_request_shows_all_its_attempts(home: Home) -> None:
    first = event(
        request_id="one", attempt=1, status=429, end_reason="retried", cost_usd=Decimal(0), policy={"retries": "429"}
    )
    last = event(
        request_id="one", attempt=2, end_reason="complete", latency_ms=1500.0, queued_ms=320.0, **USED,
        policy={"retries": "attempt 2", HOSTILE[0]: HOSTILE[2]},
    )  # fmt: skip
    alone, stranger = event(attempt=1, end_reason="complete"), event(request_id="one", account="other", attempt=3)
    home.record(first, last, alone, stranger)
    client = opened(home)
    for shown in (first, last):
        page = client.get(f"/requests/{shown.event_id}").text
        assert f"This page shows attempt {shown.attempt}." in page
        assert f'href="/requests/{first.event_id}"' in page
        assert f'href="/requests/{last.event_id}"' in page
        assert [[row[n] for n in (0, 5, 6, 7, 8, 10)] for row in block(page, "attempts")] == [
            ["1", "429", "retried", "–", "–", "$0"],  # noqa: RUF001 -- a dash
            ["2", "200", "complete", "1.50 s", "320 ms", "$0.0094"],
        ]
    assert "attempt 2" in page
    assert "Waited for its turn" in page
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert 'id="attempts"' not in client.get(f"/requests/{alone.event_id}").text


def test_the_responses_of_a_connection_are_no_attempts(home: Home) -> None:
    one, other = (event(request_id="socket", attempt=1) for _ in range(2))
    home.record(one, other)
    page = opened(home).get(f"/requests/{one.event_id}").text
    assert "The responses of its connection" in page
    assert "This page shows attempt" not in page


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ({"model": "gpt-5", "model_requested": "smart"}, "it is the model served, gpt-5"),
        ({"model": "gpt-five"}, "its alias gpt-five is the model served, gpt-five"),
        ({"model": "gpt-5-plus"}, "its pattern gpt-5-p* covers the model served, gpt-5-plus"),
        ({"model": "gpt-5-2026-01-31"}, "it is the model served, gpt-5-2026-01-31"),
        ({"model": "gpt.5"}, "it is another spelling of the model served, gpt.5"),
        ({"model": None, "model_requested": "gpt-5"}, "it is the model requested, gpt-5"),
    ],
)
def test_each_part_is_rate_times_count_of_an_entry(home: Home, names: dict[str, str | None], why: str) -> None:
    one = event(**USED | names)
    home.record(one)
    page = opened(home).get(f"/requests/{one.event_id}").text
    assert block(page, "parts") == [
        ["input", "600", "$10", "million", "$0.006", "gpt-5"],
        ["output", "200", "$17", "million", "$0.0034", "gpt-5"],
    ]
    ((entry, because, *_, file, source, checked),) = block(page, "prices")
    assert (entry, because) == ("gpt-5", why)
    assert (file, source, checked) == ("mine.yaml", "https://example.com/prices", "2026-11-01")
    assert "It was priced by price version 0123456789ab, and the price files are version" in page


def test_a_rate_that_does_not_give_the_part_is_not_shown(home: Home) -> None:
    one = event(**{**USED, "cost_parts": {"input": Decimal("0.007")}, "cost_usd": Decimal("0.5")})
    home.record(one)
    page = opened(home).get(f"/requests/{one.event_id}").text
    assert block(page, "parts") == [["input", "–", "–", "–", "$0.007", "gpt-5"]]  # noqa: RUF001 -- a dash
    assert "; computed $0.0094" in page


def test_a_model_without_an_entry_has_no_price(home: Home) -> None:
    one = event(**USED | {"model": "other"})
    home.record(one)
    page = opened(home).get(f"/requests/{one.event_id}").text
    assert [row[5] for row in block(page, "parts")] == ["–", "–"]  # noqa: RUF001 -- a dash
    assert 'id="prices"' not in page
