"""What Anthropic's Console exports as CSV from its pages Cost and Usage → a bill.

Anthropic publishes no reference of it. The columns are those of exports that people published: of costs
(``usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,…`` in
the tests of axigatelabs/axigate-finops and of a dozen other projects), and of usage (``usage_date_utc,model_version,…,
usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,…``).

Costs are in dollars and rounded to cents, row by row; ``model`` is the name that people read (``Claude Sonnet 4.5``).
Days are UTC, and only those with a cost have rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from metrion.reconciling.bills import EXACT, Bill, Line, days_between
from metrion.reconciling.contents import Row

COST_COLUMNS = frozenset({"usage_date_utc", "model", "token_type", "cost_usd"})
USAGE_COLUMNS = frozenset({"usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"})

_INPUT = (
    "usage_input_tokens_no_cache",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
    "usage_input_tokens_cache_read",
)


def read_costs(rows: Iterable[Row]) -> Bill:
    """Read the export of costs."""
    lines, listed, rounded = list[Line](), Decimal(0), 0
    for row in rows:
        usd = row.amount("cost_usd")
        if row.text("list_price_usd"):
            listed = EXACT.add(listed, EXACT.subtract(row.amount("list_price_usd"), usd))
        exponent = usd.as_tuple().exponent
        rounded += isinstance(exponent, int) and exponent >= -2
        model = row.text("model")
        item = " ".join(filter(None, (row.text("cost_type"), row.text("token_type")))) or None
        lines.append(Line(day=row.day("usage_date_utc"), model=model, item=None if model else item, usd=usd))
    remarks = []
    if rounded:
        bound = rounded * Decimal("0.005")
        remarks.append(f"{rounded} of its amounts are rounded to cents, which can make a difference of {bound:f} USD")
    if listed:
        remarks.append(f"it is {listed:f} USD below list prices, which Metrion computes with")
    return Bill("anthropic", tuple(lines), days_between(frozenset(each.day for each in lines)), remarks=tuple(remarks))


def read_usage(rows: Iterable[Row]) -> Bill:
    """Read the export of usage."""
    lines = []
    for row in rows:
        counts = [count for column in _INPUT if (count := row.count(column)) is not None]
        lines.append(
            Line(
                day=row.day("usage_date_utc"),
                model=row.text("model_version"),
                input_tokens=sum(counts) if counts else None,
                output_tokens=row.count("usage_output_tokens"),
            )
        )
    days = days_between(frozenset(line.day for line in lines))
    return Bill("anthropic", tuple(lines), days, has_amounts=False)
