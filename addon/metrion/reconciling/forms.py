"""The text of a file → a bill: the table of forms, each recognised by what is in the file.

A new form is a file with its reader, and a row here. Where a file has no known form, the message lists those that are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from metrion.errors import BillError
from metrion.reconciling import anthropic_exports, anthropic_pages, google_bills, openai_exports, openai_pages, plain
from metrion.reconciling.bills import Bill
from metrion.reconciling.contents import Member, Row, read_documents, read_sheet


@dataclass(frozen=True, slots=True)
class Documents:
    """A form of JSON, recognised by its first document."""

    name: str
    recognises: Callable[[Member], bool]
    read: Callable[[Sequence[Member]], Bill]


@dataclass(frozen=True, slots=True)
class Columns:
    """A form of CSV, recognised by columns that it has."""

    name: str
    columns: frozenset[str]
    read: Callable[[Iterable[Row]], Bill]


DOCUMENTS: tuple[Documents, ...] = (
    Documents("OpenAI's costs and usage (JSON)", openai_pages.is_page, openai_pages.read),
    Documents("Anthropic's cost and usage reports (JSON)", anthropic_pages.is_page, anthropic_pages.read),
    Documents("Google Cloud's export to BigQuery (JSON)", google_bills.is_row, google_bills.read_rows),
)

SHEETS: tuple[Columns, ...] = (
    Columns("OpenAI's export of costs (CSV)", openai_exports.COST_COLUMNS, openai_exports.read_costs),
    Columns("OpenAI's export of usage (CSV)", openai_exports.USAGE_COLUMNS, openai_exports.read_usage),
    Columns("Anthropic's export of costs (CSV)", anthropic_exports.COST_COLUMNS, anthropic_exports.read_costs),
    Columns("Anthropic's export of usage (CSV)", anthropic_exports.USAGE_COLUMNS, anthropic_exports.read_usage),
    Columns("Google Cloud's report (CSV)", google_bills.REPORT_COLUMNS, google_bills.read_report),
    Columns("Google Cloud's cost table (CSV)", google_bills.COST_TABLE_COLUMNS, google_bills.read_cost_table),
    Columns("the plain form (CSV: day,model,cost_usd)", plain.COLUMNS, plain.read),
)


def read_bill(text: str, provider: str | None = None, like: str | None = None) -> Bill:
    """Read a bill. ``provider`` is whose it is where the file does not say, or where it is of one that it is ``like``.

    :raises BillError: the file has no known form, or something in it is not as its form has it.
    """
    bill = _read(text.removeprefix("\ufeff"))
    if provider and bill.provider in ("", like):
        return replace(bill, provider=provider)
    if not bill.provider:
        raise BillError("the file does not say whose bill it is; --provider does")
    return bill


def _read(text: str) -> Bill:
    text = text.strip()
    if not text:
        raise BillError("it is empty")
    if text[0] in "{[":
        documents = read_documents(text)
        for form in DOCUMENTS:
            if documents and form.recognises(documents[0]):
                return form.read(documents)
        if documents and isinstance(documents[0].value, dict) and "error" in documents[0].value:
            raise BillError("it is an error that the provider answered with. Ask again with an admin key")
    else:
        sheet = read_sheet(text)
        for columns in SHEETS:
            if (header := sheet.header(columns.columns)) is not None:
                return columns.read(sheet.below(header))
    known = "; ".join([*(form.name for form in DOCUMENTS), *(form.name for form in SHEETS)])
    raise BillError(f"it has no form that is known here: {known}. docs/reconcile.md says how to get each")
