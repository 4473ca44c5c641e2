"""One event and why it cost what it did, by the real command line."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.cli.console import Console
from tests.store.events import Home, event

PRICED: dict[str, Any] = {
    "input_tokens": 1000,
    "cache_read_tokens": 400,
    "output_tokens": 200,
    "cost_usd": Decimal("0.0098"),
    "cost_parts": {"input": Decimal("0.006"), "cache_read": Decimal("0.0004"), "output": Decimal("0.0034")},
    "price_version": "0123456789ab",
    "session_id": "s-1",
    "tags": {"feature": "\x1b[31msearch"},
}
PRICES = """
openai:
  gpt-5: {source: "https://example.com/prices", checked: 2026-11-01, input: 10, cache_read: 1, output: 17}
"""


@pytest.fixture
def home(metrion: Console) -> Home:
    home = Home(metrion.home)
    home.initialise()
    (metrion.home / "mine.yaml").write_text(PRICES)
    (metrion.home / "metrion.yaml").write_text("pricing: [mine.yaml]\n")
    return home


def test_a_cost_is_explained_part_by_part(metrion: Console, home: Home) -> None:
    one = event(**PRICED)
    home.record(one, event(session_id="s-1"), event(session_id="s-2"))
    shown = metrion.ok("show", str(one.event_id))
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "input 600 \N{MULTIPLICATION SIGN} $10 per million = $0.006000000000" in lines
    assert "cache_read 400 \N{MULTIPLICATION SIGN} $1 per million = $0.000400000000" in lines
    assert "output 200 \N{MULTIPLICATION SIGN} $17 per million = $0.003400000000" in lines
    assert any("https://example.com/prices" in line and "checked 2026-11-01" in line for line in lines)
    assert any(line.endswith("it is the model served, gpt-5") for line in lines)
    assert any("reported usage at the rates of that day" in line for line in lines)
    assert shown.count("gpt-5  200") == 2
    assert "\x1b" not in shown
    assert "0123456789ab" in shown


def test_a_rate_that_does_not_give_the_part_is_not_shown(metrion: Console, home: Home) -> None:
    home.record(event(**PRICED | {"cost_parts": {"input": Decimal("0.007")}}))
    (part,) = json.loads(metrion.ok("show", "last", "--format", "json"))["cost_explained"]["parts"]
    assert part == {
        "part": "input",
        "usd": "0.007000000000",
        "count": None,
        "rate_usd": None,
        "per": None,
        "entry": "gpt-5",
    }


@pytest.mark.parametrize("source", ["unknown", "unpriced", "not_billed", "subscription", "provider", None])
def test_every_source_of_a_cost_has_its_sentence(metrion: Console, home: Home, source: str | None) -> None:
    home.record(event(cost_source=source, cost_usd=None, cost_parts=None))
    found = json.loads(metrion.ok("show", "last", "--format", "json"))
    assert found["why"].endswith(".")
    assert found["cost_usd"] is None


def test_an_event_is_found_by_the_beginning_of_its_id_and_as_the_last(metrion: Console, home: Home) -> None:
    one = event(event_id="11112222-3333-7444-8555-666677778888")
    home.record(one, event(event_id="11112222-3333-7444-8555-666677778889"), event())
    assert metrion.inside("show", "1111").status == 1
    assert "several events" in metrion.inside("show", "1111").err
    found = metrion.ok("show", "11112222-3333-7444-8555-666677778888", "--format", "json")
    assert json.loads(found)["event_id"] == str(one.event_id)
    home.ingest()
    assert json.loads(metrion.ok("show", "1111222233337444855566667777888 9".replace(" ", ""), "--format", "json"))


@pytest.mark.parametrize(
    ("given", "status", "words"), [("abc", 1, "no event abc"), ("xyz", 2, "`last`"), ("last", 1, "yet")]
)
def test_what_is_not_there_has_a_way_out(metrion: Console, home: Home, given: str, status: int, words: str) -> None:
    done = metrion("show", given)
    assert (done.status, words in done.err) == (status, True)
