from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

REPORT = """\
Date,Service description,Service ID,SKU description,SKU ID,Usage amount,Usage unit,List cost ($),\
Negotiated savings ($),Savings programs ($),Other savings ($),Unrounded subtotal ($),Subtotal ($)
2026-08-15,Gemini API,AEFD-7695-64FA,Generate content output token count gemini 2.5 flash short input text,911A,\
"622,403",count,1.56,0.00,0.00,0.00,1.555990,1.56
2026-08-14,Gemini API,AEFD-7695-64FA,Generate content input token count gemini 2.5 flash lite short input text,399C,\
"5,600",count,0.67,0.00,0.00,-0.17,0.500000,0.50
2026-08-14,Cloud Storage,95FF,Standard Storage,E5F0,1,gibibyte,0.02,0.00,0.00,0.00,0.020000,0.02
,,,,,,,,,,Subtotal,,2.08
"""
ROW: dict[str, Any] = {
    "billing_account_id": "01ABCD-2345EF-6789GH",
    "service": {"id": "AEFD-7695-64FA", "description": "Gemini API"},
    "sku": {"id": "911A", "description": "Generate content output token count gemini 2.5 flash short input text"},
    "usage_start_time": "2026-08-15 23:00:00 UTC",
    "usage_end_time": "2026-08-16 00:00:00 UTC",
    "cost": 1.5,
    "currency": "USD",
    "credits": [{"name": "Promotion", "amount": -0.25}],
    "invoice": {"month": "202608"},
    "cost_type": "regular",
}


def test_a_report_counts_days_in_pacific_time_and_the_gemini_api_alone() -> None:
    bill = read_bill(REPORT)
    assert (bill.provider, bill.zone) == ("google", "America/Los_Angeles")
    assert [(line.day, line.usd) for line in bill.lines] == [
        (date(2026, 8, 15), Decimal("1.555990")),
        (date(2026, 8, 14), Decimal("0.500000")),
    ]
    assert bill.remarks == (
        "0.02 USD of other services than the Gemini API left out: Cloud Storage",
        "credits and savings take 0.17 USD off, and Metrion computes with list prices",
        "1 line without a day or a SKU (the report's own sums and taxes) left out",
        'it names no currency but "$": its amounts were taken as US dollars',
    )


@pytest.mark.parametrize("text", [json.dumps([ROW]), json.dumps(ROW) + "\n", json.dumps(ROW, indent=1)])
def test_rows_of_bigquery(text: str) -> None:
    bill = read_bill(text)
    assert bill.zone == "UTC"
    assert bill.lines == (Line(date(2026, 8, 15), item=ROW["sku"]["description"], usd=Decimal("1.25")),)
    assert bill.remarks == ("credits and savings take 0.25 USD off, and Metrion computes with list prices",)


def test_other_services_are_left_out_and_their_days_covered() -> None:
    other = ROW | {"service": {"description": "Compute Engine"}, "usage_start_time": "2026-08-13T00:00:00Z"}
    bill = read_bill("\n".join(map(json.dumps, (ROW, other))))
    assert len(bill.lines) == 1
    assert bill.days == {date(2026, 8, 13), date(2026, 8, 14), date(2026, 8, 15)}
    assert bill.remarks[0] == "1.25 USD of other services than the Gemini API left out: Compute Engine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REPORT.replace("($)", "(€)"), "the currency in the header is '€'; Metrion meters in US dollars"),
        (REPORT.replace("1.555990", "?"), r"line 2, column Unrounded subtotal \(\$\) is not an amount"),
        (REPORT.replace("ubtotal ($)", "ubtotal"), "the header has no column"),
        ("Invoice number,1\nService description,SKU description,Usage start date,Usage end date,Cost ($)\n",
         "a cost table of Google Cloud, whose lines are of a whole month"),
        (json.dumps(ROW | {"currency": "AUD"}), "currency is 'AUD'"),
        (json.dumps(ROW | {"credits": [{"amount": "x"}]}), r"credits\[0\]\.amount is not an amount"),
        (json.dumps([ROW, {"cost": 1}]), r"\[1\] is not a row such as the others"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)
