"""Pages as Anthropic's reference has them."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

FIRST = date(2025, 8, 1)
COST: dict[str, Any] = {
    "amount": "123.78912",
    "context_window": "0-200k",
    "cost_type": "tokens",
    "currency": "USD",
    "description": "Claude Sonnet 4 Usage - Input Tokens",
    "model": "claude-sonnet-4-20250514",
    "service_tier": "standard",
    "token_type": "uncached_input_tokens",
    "workspace_id": "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ",
}
USAGE: dict[str, Any] = {
    "uncached_input_tokens": 1500,
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
    "cache_read_input_tokens": 200,
    "output_tokens": 500,
    "server_tool_use": {"web_search_requests": 10},
    "model": "claude-sonnet-4-20250514",
}


def page(*results: Any, start: str = "2025-08-01T00:00:00Z", end: str = "2025-08-02T00:00:00Z", **members: Any) -> str:
    bucket = {"starting_at": start, "ending_at": end, "results": list(results)}
    return json.dumps({"data": [bucket], "has_more": False, "next_page": None, **members})


def test_the_example_of_the_reference_is_in_cents() -> None:
    bill = read_bill(page(COST))
    assert (bill.provider, bill.has_amounts) == ("anthropic", True)
    assert bill.days == {FIRST}
    description = "Claude Sonnet 4 Usage - Input Tokens"
    assert bill.lines == (Line(FIRST, model="claude-sonnet-4-20250514", item=description, usd=Decimal("1.2378912")),)
    assert bill.remarks == ()


def test_cents_keep_every_digit() -> None:
    (line,) = read_bill(page(COST | {"amount": "1." + "0" * 35 + "1"})).lines
    assert line.usd == Decimal("0.01" + "0" * 35 + "1")


def test_what_is_not_billed_by_the_token_has_no_model() -> None:
    (line,) = read_bill(page(COST | {"model": None, "description": "Web Search Usage", "amount": "30"})).lines
    assert line == Line(FIRST, item="Web Search Usage", usd=Decimal("0.3"))


def test_a_report_that_is_not_grouped_says_how_to_group_it() -> None:
    bill = read_bill(page({"amount": "5", "currency": "USD"}, has_more=True, next_page="page_x"))
    assert bill.lines == (Line(FIRST, usd=Decimal("0.05")),)
    assert "group_by[]=description" in bill.remarks[0]
    assert "has_more" in bill.remarks[1]


def test_input_is_everything_that_is_billed_as_input() -> None:
    bill = read_bill(page(USAGE))
    assert not bill.has_amounts
    assert bill.lines == (Line(FIRST, model="claude-sonnet-4-20250514", input_tokens=3200, output_tokens=500),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (page(COST | {"amount": 123.78912}), r"amount is not a text; Anthropic sends cents"),
        (page(COST | {"amount": "many"}), r"data\[0\]\.results\[0\]\.amount is not an amount"),
        (page(COST | {"amount": "NaN"}), "is not an amount"),
        (page(COST | {"currency": "EUR"}), "'EUR'; Metrion meters in US dollars"),
        (page(COST | {"model": 4}), "model is not a text"),
        (page(COST, USAGE), "Put costs and usage into files of their own"),
        (page(USAGE | {"output_tokens": "500 "}, start="soon"), "starting_at is 'soon', not a time"),
        (page(USAGE | {"cache_creation": {"ephemeral_9h": "x"}}), r"cache_creation\.ephemeral_9h is not a count"),
        (page({"model": "claude"}), "has neither an amount nor tokens"),
        (page(), "neither of costs nor of usage"),
        (page(COST, end="2025-08-03T00:00:00Z"), "not within one UTC day"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)
