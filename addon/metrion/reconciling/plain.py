"""A CSV file that a person made from a bill whose form is not known → a bill.

The form is Metrion's own: ``day,model,cost_usd``, and where they are known ``input_tokens`` and ``output_tokens``. Days
are UTC. The file does not say whose bill it is; ``--provider`` does.
"""

from __future__ import annotations

from collections.abc import Iterable

from metrion.reconciling.bills import Bill, Line, days_between
from metrion.reconciling.contents import Row

COLUMNS = frozenset({"day", "model", "cost_usd"})


def read(rows: Iterable[Row]) -> Bill:
    """Read its rows."""
    lines = tuple(
        Line(
            day=row.day("day"),
            model=row.text("model"),
            usd=row.amount("cost_usd"),
            input_tokens=row.count("input_tokens"),
            output_tokens=row.count("output_tokens"),
        )
        for row in rows
    )
    return Bill("", lines, days_between(frozenset(line.day for line in lines)))
