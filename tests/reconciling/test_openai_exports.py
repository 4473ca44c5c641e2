from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

FIRST = date(2026, 9, 27)
COSTS = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,\
api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source
1790467200,1790553600,2026-09-27T00:00:00+00:00,2026-09-28T00:00:00+00:00,,,,,,,,,,,,,
1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.003835980000000000000000000000,usd,,,,,,,org-x,,X,,
1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.5,usd,1000,tokens,"gpt-5-nano, input_tokens",,key_1,\
proj_a,org-x,A,X,a@example.com,
"""
USAGE = (
    "start_time\tend_time\tstart_time_iso\tend_time_iso\tproject_id\tnum_model_requests\tuser_id\tapi_key_id\tmodel\tbatch\t"
    "service_tier\tinput_tokens\toutput_tokens\tinput_cached_tokens\n"
    "1790467200\t1790553600\t\t\tproj_a\t2\t\t\tgpt-5-mini-2025-08-07\tFalse\tdefault\t15000\t600\t0\n"
    "1790553600\t1790640000\t\t\t\t\t\t\t\t\t\t\t\t\n"
)


def test_costs() -> None:
    bill = read_bill(COSTS)
    second = date(2026, 9, 28)
    assert (bill.provider, bill.has_amounts) == ("openai", True)
    assert bill.days == {FIRST, second}
    assert bill.part_days == set()
    assert bill.lines == (
        Line(second, usd=Decimal("0.00383598")),
        Line(second, item="gpt-5-nano, input_tokens", usd=Decimal("0.5")),
    )


def test_usage_parted_by_tabs() -> None:
    bill = read_bill(USAGE)
    assert bill.days == {FIRST, date(2026, 9, 28)}
    assert not bill.has_amounts
    assert bill.lines == (Line(FIRST, model="gpt-5-mini-2025-08-07", input_tokens=15000, output_tokens=600),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COSTS.replace("0.5,usd", "half,usd"), "line 4, column amount_value is not an amount"),
        (COSTS.replace("0.5,usd", "0.5,eur"), "line 4, column amount_currency is 'eur'"),
        (COSTS.replace("1790467200", "yesterday"), "line 2, column start_time is 'yesterday', not Unix seconds"),
        (USAGE.replace("15000", "-5"), "line 2, column input_tokens is not a count"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)
