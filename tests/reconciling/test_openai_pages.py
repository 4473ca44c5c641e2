"""Pages as OpenAI's reference has them; the line items are spelled as its dashboard spells them."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from metrion.errors import BillError
from metrion.reconciling.bills import Line
from metrion.reconciling.forms import read_bill

DAY = 86_400
START = 1_730_419_200  # 2024-11-01
FIRST = date(2024, 11, 1)


def cost(value: Any, item: str | None = None, currency: Any = "usd") -> dict[str, Any]:
    amount = {"value": value, "currency": currency}
    return {"object": "organization.costs.result", "amount": amount, "line_item": item, "project_id": None}


def usage(kind: str = "completions", **members: Any) -> dict[str, Any]:
    return {"object": f"organization.usage.{kind}.result", "num_model_requests": 5, **members}


def bucket(*results: Any, start: Any = START, seconds: int = DAY) -> dict[str, Any]:
    end = start + seconds if isinstance(start, int) else start
    return {"object": "bucket", "start_time": start, "end_time": end, "results": list(results)}


def page(*buckets: Any, **members: Any) -> str:
    return json.dumps({"object": "page", "data": list(buckets), "has_more": False, "next_page": None, **members})


def test_the_example_of_the_reference() -> None:
    bill = read_bill(page(bucket(cost(0.06))))
    assert (bill.provider, bill.has_amounts, bill.zone) == ("openai", True, "UTC")
    assert bill.days == {FIRST}
    assert bill.lines == (Line(FIRST, usd=Decimal("0.06")),)
    assert bill.part_days == set()
    assert [remark.partition(":")[0] for remark in bill.remarks] == ["it names no models"]


def test_amounts_keep_every_digit() -> None:
    text = page(bucket(cost(0.5, "gpt-5, input"))).replace("0.5", "0.130804380000000000000000000001")
    assert read_bill(text).lines[0].usd == Decimal("0.130804380000000000000000000001")


def test_pages_behind_one_another_and_days_without_a_cost() -> None:
    text = page(bucket(cost(1, "gpt-5, input")), has_more=True, next_page="p2") + "\n" + page(bucket(start=START + DAY))
    bill = read_bill(text)
    assert bill.days == {FIRST, date(2024, 11, 2)}
    assert bill.lines == (Line(FIRST, item="gpt-5, input", usd=Decimal(1)),)
    assert bill.remarks == ()
    assert read_bill("[" + text.replace("\n", ",") + "]") == bill


def test_a_page_that_is_not_the_last_says_so() -> None:
    bill = read_bill(page(bucket(cost(1, "gpt-5")), has_more=True, next_page="p2"))
    assert ["its last page says that there is another" in remark for remark in bill.remarks] == [True]


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            usage(model="gpt-5-2025-08-07", input_tokens=100, output_tokens=20, input_cached_tokens=30),
            Line(FIRST, model="gpt-5-2025-08-07", input_tokens=100, output_tokens=20),
        ),
        (usage(input_tokens=100, output_tokens=0, model=None), Line(FIRST, input_tokens=100, output_tokens=0)),
        (
            usage("embeddings", model="text-embedding-3-small", input_tokens=7),
            Line(FIRST, model="text-embedding-3-small", input_tokens=7),
        ),
    ],
)
def test_usage(result: dict[str, Any], line: Line) -> None:
    bill = read_bill(page(bucket(result)))
    assert not bill.has_amounts
    assert bill.lines == (line,)


def test_what_is_not_counted_in_tokens_is_not_dropped_silently() -> None:
    bill = read_bill(page(bucket(usage("images", images=3), usage("audio_speeches", characters=9))))
    assert bill.lines == ()
    assert sorted(bill.remarks) == [
        "1 result of usage.audio_speeches without an amount or tokens left out",
        "1 result of usage.images without an amount or tokens left out",
    ]


def test_hours_make_a_day_of_which_a_part_may_be_missing() -> None:
    result = usage(input_tokens=1, output_tokens=1)
    hours = [bucket(result, start=START + hour * 3600, seconds=3600) for hour in range(24)]
    assert read_bill(page(*hours)).part_days == set()
    assert read_bill(page(*hours[7:])).part_days == {FIRST}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (page(bucket(cost("six"))), r"data\[0\]\.results\[0\]\.amount\.value is not an amount"),
        (page(bucket(cost(True))), r"amount\.value is not an amount"),
        (page(bucket(cost(1, currency="eur"))), r"amount\.currency is 'eur'; Metrion meters in US dollars.*convert"),
        (page(bucket(cost(1, item=7))), r"line_item is not a text"),  # type: ignore[arg-type]  # a wrong type in the file
        (page(bucket(cost(10**12))), "which no bill has"),
        (page(bucket(cost(1), start="today")), r"data\[0\]\.start_time is 'today', not Unix seconds"),
        (page(bucket(cost(1), start=START, seconds=2 * DAY)), "not within one UTC day. Ask for bucket_width=1d"),
        (page(bucket(cost(1)), bucket(cost(1))), r"data\[1\] is in the file twice"),
        (page(bucket(cost(1), usage(input_tokens=1, output_tokens=1))), "Put them into files of their own"),
        (page(bucket()), "neither of costs nor of usage"),
        (page(bucket({"object": "organization.surprise"})), "'organization.surprise', which is neither"),
        (page(bucket(usage(input_tokens=-1, output_tokens=1))), "input_tokens is not a count"),
        (page(bucket(usage(input_tokens=1.5, output_tokens=1))), "input_tokens is not a count"),
        (page(bucket("result")), r"results\[0\] is not an object"),
        (page({"object": "bucket"}), r"data\[0\]\.results is not an array"),
        ('{"object": "page", "data": 1}', "data is not an array"),
        (page(bucket(cost(1))) + "{}", "is not a page such as the others"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(BillError, match=message):
        read_bill(text)
