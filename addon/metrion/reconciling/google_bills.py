"""Google Cloud's billing, from BigQuery as JSON and from the console's report as CSV → a bill.

- BigQuery: rows of ``gcp_billing_export_v1_…`` as ``bq`` and BigQuery export them, an array or a row a line. Source:
  "Structure of Standard data export"
  (https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage):
  ``service.description``, ``sku.description``, ``usage_start_time``, ``cost``, ``currency``, ``credits`` (their
  ``amount`` is negative). Times are UTC. What was billed is the cost with its credits.
- The console's report, grouped by SKU and with days: Google publishes no reference of its columns. They are those of
  reports that people published (``Date,Service description,Service ID,SKU description,SKU ID,…,List cost ($),…,
  Unrounded subtotal ($),Subtotal ($)``). Days are Pacific Time. Below the rows are sums, which have no SKU.

Of either, only the Gemini API counts: what else a billing account pays for, Metrion does not meter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import reduce

from metrion.errors import BillError
from metrion.reconciling.bills import EXACT, Bill, Line, counted, days_between
from metrion.reconciling.contents import Member, Row, check_currency, to_moment

REPORT_COLUMNS = frozenset({"Date", "Service description", "SKU description"})
COST_TABLE_COLUMNS = frozenset({"Service description", "SKU description", "Usage start date", "Usage end date"})

_SERVICES = frozenset({"Gemini API", "Generative Language API"})
_SUBTOTAL = re.compile(r"(?:Unrounded subtotal|Subtotal|Unrounded cost|Cost) \((.+)\)", re.IGNORECASE)
_LIST_COST = re.compile(r"List cost \(.+\)")


def is_row(document: Member) -> bool:
    """Whether a document is a row of the export to BigQuery."""
    return isinstance(document.value, dict) and {"service", "sku", "usage_start_time", "cost"} <= document.value.keys()


def read_rows(documents: Sequence[Member]) -> Bill:
    """Read rows of the export to BigQuery."""
    lines, others, off = list[Line](), dict[str, Decimal](), Decimal(0)
    days = set()
    for row in documents:
        if not is_row(row):
            raise BillError(f"{row.path or 'the document'} is not a row such as the others")
        check_currency(row["currency"].value, row["currency"].path)
        credits_ = row["credits"]
        credit = reduce(EXACT.add, (each["amount"].amount() for each in _elements(credits_)), Decimal(0))
        usd = EXACT.add(row["cost"].amount(), credit)
        day = to_moment(row["usage_start_time"].value, row["usage_start_time"].path).date()
        days.add(day)
        service = row["service"]["description"].text() or ""
        if service not in _SERVICES:
            others[service] = EXACT.add(others.get(service, Decimal(0)), usd)
            continue
        off = EXACT.subtract(off, credit)
        lines.append(Line(day=day, item=row["sku"]["description"].text(), usd=usd))
    remarks = (*_left_out(others), *_savings(off))
    return Bill("google", tuple(lines), days_between(frozenset(days)), remarks=remarks)


def read_report(rows: Iterable[Row]) -> Bill:
    """Read a report of the console."""
    lines, others, off, sums = list[Line](), dict[str, Decimal](), Decimal(0), 0
    for row in rows:
        if not (row.text("Date") and row.text("SKU description")):
            sums += 1
            continue
        column = _amount_column(row)
        usd, service = row.amount(column), row.text("Service description") or ""
        if service not in _SERVICES:
            others[service] = EXACT.add(others.get(service, Decimal(0)), usd)
            continue
        listed = next((name for name in row.cells if _LIST_COST.fullmatch(name)), None)
        if listed and row.text(listed):
            off = EXACT.add(off, row.amount(listed) - usd.quantize(Decimal("0.01")))
        lines.append(Line(day=row.day("Date"), item=row.text("SKU description"), usd=usd))
    remarks = [*_left_out(others), *_savings(off)]
    if sums:
        remarks.append(f"{counted(sums, 'line')} without a day or a SKU (the report's own sums and taxes) left out")
    remarks.append('it names no currency but "$": its amounts were taken as US dollars')
    days = days_between(frozenset(line.day for line in lines))
    return Bill("google", tuple(lines), days, zone="America/Los_Angeles", remarks=tuple(remarks))


def read_cost_table(_rows: Iterable[Row]) -> Bill:
    """Refuse a cost table, whose lines are of a whole month."""
    raise BillError(
        "this is a cost table of Google Cloud, whose lines are of a whole month. Download the report instead, grouped "
        "by SKU and with daily granularity, or the rows of the export to BigQuery as JSON"
    )


def _amount_column(row: Row) -> str:
    """Return the column of what was billed: the unrounded one, where there is one."""
    found = [(name, match[1]) for name in row.cells if (match := _SUBTOTAL.fullmatch(name))]
    if not found:
        raise BillError('the header has no column "Subtotal ($)"')
    for _, sign in found:
        if sign not in ("$", "USD", "US$"):
            check_currency(sign, "the currency in the header")
    return min((name for name, _ in found), key=lambda name: not name.lower().startswith("unrounded"))


def _elements(member: Member) -> Iterable[Member]:
    return () if member.value is None else member.elements()


def _left_out(others: dict[str, Decimal]) -> list[str]:
    if not others:
        return []
    usd, names = sum(others.values()), ", ".join(sorted(others)[:5])
    return [f"{usd:.2f} USD of other services than the Gemini API left out: {names}"]


def _savings(off: Decimal) -> list[str]:
    return [f"credits and savings take {off:.2f} USD off, and Metrion computes with list prices"] if off > 0 else []
