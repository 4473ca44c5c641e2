from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from metrion.reconciling.bills import Bill, Line
from metrion.reconciling.comparison import Counts, Metering, Reason, Row, compare, grouped, total

ONE, TWO, THREE = (date(2026, 11, day) for day in (1, 2, 3))
PRICED = {"gpt-5", "o3"}


def billed(*lines: Line, **fields: Any) -> Bill:
    return Bill(provider="openai", lines=lines, **({"days": frozenset({ONE, TWO})} | fields))


def line(day: date, item: str | None, usd: str | None, **fields: Any) -> Line:
    return Line(day=day, item=item, usd=None if usd is None else Decimal(usd), **fields)


def metered(first: date = ONE, last: date = TWO, **lines: Any) -> Metering:
    """Lines are ``d1={"gpt-5": "0.5"}``; a cost may be :class:`Counts`."""
    days = {"d1": ONE, "d2": TWO, "d3": THREE}
    found = {
        (days[day], model): cost if isinstance(cost, Counts) else Counts(requests=1, usd=Decimal(cost))
        for day, models in lines.items()
        for model, cost in models.items()
    }
    return Metering(found, first, last)


def figures_of(rows: list[Row]) -> dict[tuple[date | None, str | None], tuple[Any, ...]]:
    return {
        (row.day, row.model): (row.billed_usd, row.metered_usd, row.difference_usd, *sorted(row.reasons))
        for row in rows
    }


def test_spellings_of_one_model_are_one_line() -> None:
    bill = billed(line(ONE, "gpt-5-2025-08-07, input", "0.1"), line(ONE, "gpt-5-2025-08-07, output", "0.3"))
    meter = metered(d1={"gpt-5": "0.25", "gpt-5-2025-08-07": "0.25"})
    (row,) = compare("openai", [bill], meter, PRICED)
    assert (row.day, row.model, row.billed_usd, row.metered_usd) == (ONE, "gpt-5", Decimal("0.4"), Decimal("0.5"))
    assert (row.difference_usd, row.difference_percent) == (Decimal("0.1"), Decimal("25.00"))
    assert (row.counts.requests, row.reasons) == (2, frozenset())


def test_why_lines_differ() -> None:
    bill = billed(
        line(ONE, "gpt-5, input", "1"),
        line(ONE, "o3, input", "2"),
        line(TWO, "gpt-5, input", "3"),
        line(TWO, "Web search tool calls", "0.3"),
    )
    meter = metered(d1={"gpt-5": "1", "mine": "0.5"}, d2={"mine": "0.25"})
    assert figures_of(compare("openai", [bill], meter, PRICED)) == {
        (ONE, "gpt-5"): (Decimal(1), Decimal(1), Decimal(0)),
        (ONE, "o3"): (Decimal(2), Decimal(0), Decimal(-2), Reason.NEVER_PASSED),
        (TWO, "gpt-5"): (Decimal(3), Decimal(0), Decimal(-3), Reason.NOT_METERED),
        (TWO, "Web search tool calls"): (Decimal("0.3"), None, None, Reason.NOT_MATCHED),
        (ONE, "mine"): (Decimal(0), Decimal("0.5"), Decimal("0.5"), Reason.NOT_ON_BILL),
        (TWO, "mine"): (None, Decimal("0.25"), None, Reason.NOT_ON_BILL),  # a line without a model may be its
    }


def test_a_bill_without_models_is_compared_by_day() -> None:
    rows = compare("openai", [billed(line(ONE, None, "2"))], metered(d1={"gpt-5": "0.5", "o3": "1"}), PRICED)
    assert figures_of(rows) == {
        (ONE, None): (Decimal(2), None, None, Reason.NO_MODEL),
        (ONE, "gpt-5"): (None, Decimal("0.5"), None, Reason.NOT_ON_BILL),
        (ONE, "o3"): (None, Decimal(1), None, Reason.NOT_ON_BILL),
    }
    ((key, figures),) = figures_of(grouped(rows, ["day"])).items()
    assert key == (ONE, None)
    assert figures[:3] == (Decimal(2), Decimal("1.5"), Decimal("-0.5"))


def test_by_model_nothing_is_compared_of_which_a_day_is_not_known() -> None:
    bill = billed(line(ONE, "gpt-5, input", "1"), line(TWO, "surprise", "1"))
    rows = compare("openai", [bill], metered(d1={"gpt-5": "1"}, d2={"gpt-5": "1"}), PRICED)
    assert figures_of(grouped(rows, ["model"]))[(None, "gpt-5")][:3] == (Decimal(1), Decimal(2), None)
    assert total(rows).difference_usd == 0


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [(TWO, THREE, Reason.BEFORE_FIRST_EVENT), (date(2026, 10, 1), date(2026, 10, 31), Reason.AFTER_LAST_EVENT)],
)
def test_days_on_which_nothing_was_metered_at_all(first: date, last: date, reason: Reason) -> None:
    (row,) = compare("openai", [billed(line(ONE, "gpt-5", "1"))], metered(first, last), PRICED)
    assert row.metered_usd == 0
    assert row.reasons == {Reason.NEVER_PASSED, reason}


def test_only_days_of_the_bill_are_compared() -> None:
    meter = metered(d1={"gpt-5": "1"}, d3={"gpt-5": "9"})
    assert total(compare("openai", [billed(line(ONE, "gpt-5", "1"))], meter, PRICED)).metered_usd == 1


def test_a_part_of_a_day_is_said() -> None:
    bill = billed(line(ONE, "gpt-5", "1"), part_days=frozenset({ONE}))
    rows = compare("openai", [bill], metered(d1={"gpt-5": "2", "o3": "1"}), PRICED)
    assert all(Reason.PART_OF_DAY in row.reasons for row in rows)


def test_tokens_beside_money() -> None:
    tokens = line(ONE, None, None, model="gpt-5", input_tokens=100, output_tokens=20)
    usage = billed(tokens, has_amounts=False, days=frozenset({ONE, THREE}))
    meter = metered(d1={"gpt-5": Counts(requests=1, usd=Decimal(1), input_tokens=90, output_tokens=20)})
    (alone,) = compare("openai", [usage], meter, PRICED)
    assert (alone.billed_usd, alone.metered_usd, alone.difference_usd) == (None, Decimal(1), None)
    assert (alone.billed_input_tokens, alone.counts.input_tokens) == (100, 90)
    (both,) = compare("openai", [billed(line(ONE, "gpt-5", "1")), usage], meter, PRICED)
    assert (both.difference_usd, both.billed_input_tokens) == (Decimal(0), 100)


def test_a_model_with_tokens_and_without_an_amount_was_billed_nothing() -> None:
    usage = billed(line(ONE, None, None, model="o3", input_tokens=5), has_amounts=False)
    rows = compare("openai", [billed(line(ONE, "gpt-5", "1")), usage], metered(d1={"o3": "0.5"}), PRICED)
    assert figures_of(rows)[(ONE, "o3")] == (Decimal(0), Decimal("0.5"), Decimal("0.5"))


def test_what_has_no_known_cost_is_not_0() -> None:
    meter = metered(d1={"gpt-5": Counts(requests=2, unpriced=1, unknown=1, at_least_usd=Decimal("0.1"))})
    (row,) = compare("openai", [billed(line(ONE, "gpt-5", "1"))], meter, PRICED)
    assert (row.metered_usd, row.difference_usd, row.counts.at_least_usd) == (None, None, Decimal("0.1"))


def test_a_total_leaves_out_providers_whose_money_is_not_known() -> None:
    rows = compare("openai", [billed(line(ONE, "gpt-5", "1"))], metered(d1={"gpt-5": "1"}), PRICED)
    usage = Bill("xai", (Line(ONE, model="grok-4", input_tokens=1),), frozenset({ONE}), has_amounts=False)
    rows += compare("xai", [usage], metered(d1={"grok-4": "5"}), set())
    assert total(rows).billed_usd == total(rows).metered_usd == 1


def test_a_model_that_only_the_bills_know_is_one_line_too() -> None:
    lines = Line(ONE, model="Claude Opus 9", usd=Decimal(1)), Line(ONE, model="claude-opus-9", usd=Decimal(2))
    assert figures_of(compare("anthropic", [billed(*lines)], metered(), set())) == {
        (ONE, "Claude Opus 9"): (Decimal(3), Decimal(0), Decimal(-3), Reason.NEVER_PASSED)
    }


def test_sums_keep_every_digit() -> None:
    bill = billed(*(line(ONE, "gpt-5", "0.1" + "0" * 38 + "1") for _ in range(3)))
    (row,) = compare("openai", [bill], metered(), PRICED)
    assert row.billed_usd == Decimal("0.3" + "0" * 38 + "3")
