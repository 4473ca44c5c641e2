"""What a provider says it billed, held against what was metered: files in, rows with their differences out.

Reading a file and comparing are pure (:mod:`metrion.reconciling.forms`, :mod:`metrion.reconciling.comparison`); this
module reads the files and asks the store. It changes nothing, and no prompt, key or file goes anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from metrion import store
from metrion.errors import BillError
from metrion.reconciling.bills import Bill, counted
from metrion.reconciling.comparison import Counts, Metering, Row, compare, grouped, total
from metrion.reconciling.contents import MOST_BYTES
from metrion.reconciling.forms import read_bill

if TYPE_CHECKING:
    from metrion.pricing import PriceBook
    from metrion.settings import Settings

__all__ = ["Comparison", "Row", "read_files", "reconcile"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows by what was asked for, their total, and remarks on the files."""

    rows: Sequence[Row]
    total: Row
    remarks: tuple[str, ...]


def read_files(paths: Sequence[Path], provider: str | None = None, like: str | None = None) -> Mapping[Path, Bill]:
    """Read bills. ``provider`` is for those that do not say whose they are, and for those of one that it is ``like``.

    :raises BillError: a file cannot be read; two are the same; none is of ``provider``.
    """
    bills: dict[Path, Bill] = {}
    texts: dict[str, Path] = {}
    for path in paths:
        text = _text(path)
        if same := texts.get(text):
            raise BillError(f"{path}: it is the same as {same}, and would count twice. Leave one out")
        texts[text] = path
        try:
            bills[path] = read_bill(text, provider, like)
        except BillError as error:
            raise BillError(f"{path}: {error}") from None
    if provider and all(bill.provider != provider for bill in bills.values()):
        said = ", ".join(f"{path} of {bill.provider}" for path, bill in bills.items())
        raise BillError(f"no file is of {provider}: {said}. Leave --provider out")
    return bills


def reconcile(
    settings: Settings,
    prices: PriceBook,
    bills: Mapping[Path, Bill],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Collection[str] = ("day", "model"),
) -> Comparison:
    """Compare bills with what was metered on their days.

    Bills have whole days: of ``since`` and ``until``, the day counts that they are in.

    :raises BillError: bills of one provider count their days otherwise, or no day of theirs was asked for.
    """
    remarks = [f"{path.name}: {remark}" for path, bill in bills.items() for remark in bill.remarks]
    remarks += _overlaps(bills)
    asked = [_within(bill, since, until) for bill in bills.values()]
    if not any(bill.days for bill in asked):
        raise BillError(f"{', '.join(map(str, bills))}: no day that was asked for is in there")
    rows = []
    for provider in sorted({bill.provider for bill in asked}):
        own = [bill for bill in asked if bill.provider == provider and bill.days]
        if not own:
            continue
        zones = {bill.zone for bill in own}
        if len(zones) > 1:
            raise BillError(f"{provider}'s bills count days in {' and in '.join(sorted(zones))}. Compare them apart")
        remarks += _unpaid_days(provider, own)
        metering = _metering(settings, provider, zones.pop(), own)
        if metering.first_day is None:
            remarks.append(
                f"nothing of {provider} was ever metered in {settings.home}. METRION_HOME says where to look, and "
                "--provider under which name"
            )
        known = settings.providers.get(provider)
        priced = prices.names(provider) | prices.names(known.like if known else provider)
        rows += compare(provider, own, metering, priced)
    return Comparison(grouped(rows, by), total(rows), tuple(remarks))


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise BillError(f"{path}: it is larger than {MOST_BYTES // 1024**2} MB. Split it by days")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BillError(f"{path}: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise BillError(f"{path}: it is larger than {MOST_BYTES // 1024**2} MB. Split it by days")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillError(
            f"{path}: byte {error.start:,} is not UTF-8. Save it as CSV in UTF-8, or as the JSON that was downloaded"
        ) from None


def _within(bill: Bill, since: datetime | None, until: datetime | None) -> Bill:
    first = since.date() if since else date.min
    last = (until - timedelta(microseconds=1)).date() if until else date.max
    return replace(
        bill,
        days=frozenset(day for day in bill.days if first <= day <= last),
        lines=tuple(line for line in bill.lines if first <= line.day <= last),
    )


def _overlaps(bills: Mapping[Path, Bill]) -> list[str]:
    """Return the remarks on files that report the same of the same days, which may count twice."""
    remarks = []
    files = list(bills.items())
    for number, (path, bill) in enumerate(files):
        for other_path, other in files[:number]:
            same = bill.provider == other.provider and bill.has_amounts == other.has_amounts
            if same and (both := {line.day for line in bill.lines} & {line.day for line in other.lines}):
                remarks.append(
                    f"{other_path.name} and {path.name} both have lines of {counted(len(both), 'day')} from "
                    f"{min(both)} on, which were added up. Leave one out if they are of the same account"
                )
    return remarks


def _unpaid_days(provider: str, bills: Sequence[Bill]) -> list[str]:
    """Return the remark on days of which only tokens were reported, beside others with money."""
    paid = {day for bill in bills if bill.has_amounts for day in bill.days}
    beside = {day for bill in bills if not bill.has_amounts for day in bill.days} - paid
    if not paid or not beside:
        return []
    return [f"{counted(len(beside), 'day')} of {provider} from {min(beside)} on with tokens and no amounts left out"]


def _metering(settings: Settings, provider: str, zone: str, bills: Sequence[Bill]) -> Metering:
    days = [day for bill in bills for day in bill.days]
    query = Path(__file__).with_name("metered.sql").read_text(encoding="utf-8")
    parameters = {"provider": provider, "zone": zone, "first": min(days), "last": max(days)}
    table = store.ask(settings.journal_dir, settings.store_path, query, parameters)
    lines = {(row[2], row[3]): Counts(*row[4:]) for row in table.rows if row[2] is not None}
    first, last = table.rows[0][:2]
    return Metering(lines, first, last)
