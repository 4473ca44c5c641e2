from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

COSTS = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,\
inference_geo,speed,api_key_id,api_key_status
2026-08-04,Claude Haiku 4.5,Default,demo-key,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,,key_1,active
2026-08-06,"Claude Sonnet 4.5",Default,"one, two",message,≤ 200k,input_cache_read,0.10,1.00,token,global,,key_1,active
2026-08-06,,Default,demo-key,message,,,0.3,0.3,web_search,global,,key_1,active
"""
USAGE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,\
web_search_count,inference_geo,speed
2026-08-05,claude-opus-5,App,Default,standard,≤ 200k,46981,15969,0,7,16932,0,global,
"""


def test_costs() -> None:
    bill = read_bill(COSTS)
    third = date(2026, 8, 6)
    assert bill.provider == "anthropic"
    assert bill.days == {date(2026, 8, 4), date(2026, 8, 5), third}, "a day between without a cost is covered"
    assert bill.lines == (
        Line(date(2026, 8, 4), model="Claude Haiku 4.5", usd=Decimal("0.05")),
        Line(third, model="Claude Sonnet 4.5", usd=Decimal("0.10")),
        Line(third, item="web_search", usd=Decimal("0.3")),
    )
    assert bill.remarks == (
        "3 of its amounts are rounded to cents, which can make a difference of 0.015 USD",
        "it is 0.90 USD below list prices, which Metrion computes with",
    )


def test_usage() -> None:
    bill = read_bill(USAGE)
    assert not bill.has_amounts
    assert bill.lines == (
        Line(date(2026, 8, 5), model="claude-opus-5", input_tokens=46981 + 15969 + 7, output_tokens=16932),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COSTS.replace(",0.05,0.05", ",$5,0.05"), "line 2, column cost_usd is not an amount"),
        (COSTS.replace("2026-08-04", "04.08.2026"), "line 2, column usage_date_utc is '04.08.2026', not a day"),
        (COSTS.replace("key_1,active", "key_1,active,1", 1), "line 2 has 15 cells, and the header 14"),
        (COSTS + '2026-08-06,"Claude', "is not CSV"),
        (USAGE.replace("46981", "1e3"), "line 2, column usage_input_tokens_no_cache is not a count"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)
