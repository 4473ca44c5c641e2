"""What OpenAI's dashboard exports as CSV → a bill.

OpenAI publishes no reference of it. The columns are those of exports that people published: of costs
(``examples/openai_dashboard_cost_to_aiecon.py`` and its test in the project aiecon), and of costs and usage
(``openai-usage-and-cost-report-2025-10-12.md`` in xavierjflanagan/Guardian). Their names and meaning are those of the
API (:mod:`metrion.reconciling.openai_pages`): each row is one result of one bucket, and a bucket without results is a
row that has times only. Amounts are in dollars, with up to 30 places.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from metrion.reconciling.bills import Bill, Line
from metrion.reconciling.buckets import Buckets
from metrion.reconciling.contents import Row, check_currency, to_unix_moment

COST_COLUMNS = frozenset({"start_time", "end_time", "amount_value", "amount_currency"})
USAGE_COLUMNS = frozenset({"start_time", "end_time", "model", "input_tokens", "output_tokens", "num_model_requests"})


def read_costs(rows: Iterable[Row]) -> Bill:
    """Read the export of costs."""
    buckets, lines = Buckets(), list[Line]()
    for row in rows:
        day = buckets.add(*_times(row), [], f"line {row.line}")
        if row.text("amount_value") is not None:
            check_currency(row.text("amount_currency"), row.place("amount_currency"))
            lines.append(Line(day=day, item=row.text("line_item"), usd=row.amount("amount_value")))
    remarks: tuple[str, ...] = ()
    if lines and not any(line.item for line in lines):
        remarks = ("it names no models: group the export by line item; --by day compares what is there",)
    return Bill("openai", tuple(lines), buckets.days(), part_days=buckets.part_days(), remarks=remarks)


def read_usage(rows: Iterable[Row]) -> Bill:
    """Read the export of usage."""
    buckets, lines = Buckets(), list[Line]()
    for row in rows:
        day = buckets.add(*_times(row), [], f"line {row.line}")
        counts = row.count("input_tokens"), row.count("output_tokens")
        if counts != (None, None):
            lines.append(Line(day=day, model=row.text("model"), input_tokens=counts[0], output_tokens=counts[1]))
    return Bill("openai", tuple(lines), buckets.days(), has_amounts=False, part_days=buckets.part_days())


def _times(row: Row) -> tuple[datetime, datetime]:
    start, end = (to_unix_moment(row.cells[name], row.place(name)) for name in ("start_time", "end_time"))
    return start, end
