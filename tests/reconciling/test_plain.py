from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

TEXT = "day;model;cost_usd;input_tokens\n2026-11-01;mistral-small-latest;0.25;1,000\n2026-11-03;;1.5;\n"


def test_a_sheet_that_a_person_made() -> None:
    bill = read_bill("\ufeff" + TEXT, "mistral")
    assert (bill.provider, len(bill.days)) == ("mistral", 3)
    assert bill.lines == (
        Line(date(2026, 11, 1), model="mistral-small-latest", usd=Decimal("0.25"), input_tokens=1000),
        Line(date(2026, 11, 3), usd=Decimal("1.5")),
    )


def test_it_does_not_say_whose_it_is() -> None:
    with pytest.raises(BillError, match="--provider does"):
        read_bill(TEXT)
