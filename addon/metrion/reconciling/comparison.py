"""What was billed beside what was metered, line by line, with the reasons that are known for a difference.

Pure: bills and metered lines in, rows out. Nothing is dropped: what the bill names otherwise than any model is a row of
its own. What is not known is ``None``, never 0; a 0 is a model of which nothing passed, or one that a bill which names
its models does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from metrion.reconciling.bills import EXACT, Bill, Line
from metrion.reconciling.names import Names

_TWELVE_PLACES = Decimal("1E-12")
_HUNDREDTH = Decimal("0.01")


class Reason(StrEnum):
    """Why a line of a bill and what was metered may differ, beside the counts that a row has."""

    NEVER_PASSED = "never_passed"
    NOT_METERED = "not_metered"
    NOT_ON_BILL = "not_on_bill"
    NOT_MATCHED = "not_matched"
    NO_MODEL = "no_model"
    BEFORE_FIRST_EVENT = "before_first_event"
    AFTER_LAST_EVENT = "after_last_event"
    PART_OF_DAY = "part_of_day"


@dataclass(frozen=True, slots=True)
class Counts:
    """What was metered of one thing."""

    requests: int = 0
    usd: Decimal | None = None
    """The sum of what is known; ``None`` where nothing of it is."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    unpriced: int = 0
    unknown: int = 0
    at_least_usd: Decimal | None = None
    """What the requests without a cost cost at least."""
    estimated: int = 0
    subscription: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Add what is known."""
        return Counts(*(_sum((getattr(self, each.name), getattr(other, each.name))) for each in fields(Counts)))


@dataclass(frozen=True, slots=True)
class Metering:
    """What was metered of one provider on the days of its bill."""

    lines: Mapping[tuple[date, str | None], Counts]
    first_day: date | None = None
    """Of all that was metered of the provider; ``None`` where nothing was."""
    last_day: date | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison. ``day`` and ``model`` are ``None`` where the row is of all of them."""

    provider: str
    day: date | None
    model: str | None
    billed_usd: Decimal | None
    metered_usd: Decimal | None
    billed_input_tokens: int | None = None
    billed_output_tokens: int | None = None
    counts: Counts = field(default_factory=Counts)
    reasons: frozenset[Reason] = frozenset()
    is_comparable: bool = True
    """Whether what was billed and what was metered are of the same things."""

    @property
    def difference_usd(self) -> Decimal | None:
        """What was metered less what was billed."""
        if not self.is_comparable or self.billed_usd is None or self.metered_usd is None:
            return None
        return rounded(EXACT.subtract(self.metered_usd, self.billed_usd))

    @property
    def difference_percent(self) -> Decimal | None:
        """The difference in percent of what was billed."""
        difference = self.difference_usd
        if difference is None or not self.billed_usd:
            return None
        share = EXACT.divide(difference, self.billed_usd)
        return EXACT.multiply(share, Decimal(100)).quantize(_HUNDREDTH, context=EXACT)


def rounded(usd: Decimal) -> Decimal:
    """Round money to 12 places, half to even."""
    return usd.quantize(_TWELVE_PLACES, context=EXACT)


def compare(provider: str, bills: Sequence[Bill], metering: Metering, priced: Collection[str]) -> list[Row]:
    """Return the rows of one provider, by day and model.

    Only days of the bills are compared: where some report money, the days of those. ``priced`` are the names that the
    price files know.
    """
    with_amounts = [bill for bill in bills if bill.has_amounts]
    days = frozenset[date]().union(*(bill.days for bill in with_amounts or bills))
    part_days = frozenset[date]().union(*(bill.part_days for bill in bills))
    names = Names(provider, (model for _, model in metering.lines if model is not None), priced)
    billed = _billed([line for bill in bills for line in bill.lines if line.day in days], names)
    metered: dict[tuple[date, str | None], Counts] = {}
    for (day, model), counts in metering.lines.items():
        if day in days:
            measured = day, None if model is None else names.key(model)
            metered[measured] = metered.get(measured, Counts()) + counts
    # A model without an amount was billed nothing, unless a line that names no model may be its.
    apart = {day for (day, place), lines in billed.items() if place.reason and any(line.usd for line in lines)}
    itemised = days - apart if with_amounts else frozenset[date]()
    rows = []
    for (day, place), lines in billed.items():
        counts = Counts() if place.reason else metered.pop((day, place.key), Counts())
        reasons = _outside(day, metering) | ({Reason.PART_OF_DAY} if day in part_days else set())
        if place.reason:
            reasons |= {place.reason}
        elif not counts.requests and counts.usd is None:
            reasons |= {Reason.NOT_METERED if place.key in names.metered else Reason.NEVER_PASSED}
            counts = replace(counts, usd=Decimal(0))
        row = _row(provider, day, place.label, lines, counts, reasons)
        rows.append(row if place.reason else _with_nothing_billed(row, itemised))
    for (day, key), counts in metered.items():
        reasons = {Reason.NOT_ON_BILL} | ({Reason.PART_OF_DAY} if day in part_days else set())
        row = _row(provider, day, None if key is None else names.label(key), (), counts, reasons)
        rows.append(_with_nothing_billed(row, itemised))
    return rows


def _with_nothing_billed(row: Row, itemised: Collection[date]) -> Row:
    return replace(row, billed_usd=Decimal(0)) if row.billed_usd is None and row.day in itemised else row


def grouped(rows: Iterable[Row], by: Collection[str]) -> list[Row]:
    """Add rows up by the provider and ``by``: ``day``, ``model``, both."""
    groups: dict[tuple[str, date | None, str | None], list[Row]] = {}
    for row in rows:
        key = row.provider, row.day if "day" in by else None, row.model if "model" in by else None
        groups.setdefault(key, []).append(row)
    found = [_added(key, members, by_model="model" in by) for key, members in groups.items()]
    return sorted(found, key=lambda row: (row.provider, row.day or date.min, -(row.billed_usd or 0), row.model or ""))


def total(rows: Sequence[Row]) -> Row:
    """Add rows up to one. Where money was billed by some providers only, what the others' meter says is left out."""
    with_amounts = {row.provider for row in rows if row.billed_usd is not None}
    return _added(("total", None, None), [row for row in rows if row.provider in with_amounts] or rows, by_model=False)


def _added(key: tuple[str, date | None, str | None], rows: Sequence[Row], *, by_model: bool) -> Row:
    provider, day, model = key
    counts = _sum_of(row.counts for row in rows)
    return Row(
        provider=provider,
        day=day,
        model=model,
        billed_usd=_sum(row.billed_usd for row in rows),
        metered_usd=_sum(row.metered_usd for row in rows),
        billed_input_tokens=_sum(row.billed_input_tokens for row in rows),
        billed_output_tokens=_sum(row.billed_output_tokens for row in rows),
        counts=counts,
        reasons=frozenset[Reason]().union(*(row.reasons for row in rows)),
        is_comparable=not by_model or all(row.billed_usd is not None for row in rows),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a line of a bill belongs."""

    key: str | None
    label: str | None
    reason: Reason | None = None


def _billed(lines: Iterable[Line], names: Names) -> dict[tuple[date, _Place], list[Line]]:
    places: dict[tuple[str | None, str | None], _Place] = {}
    labels: dict[str, str] = {}
    billed: dict[tuple[date, _Place], list[Line]] = {}
    for line in lines:
        named = line.model, line.item
        if named not in places:
            places[named] = _place(line, names, labels)
        billed.setdefault((line.day, places[named]), []).append(line)
    return billed


def _place(line: Line, names: Names, labels: dict[str, str]) -> _Place:
    """Return where a line belongs. ``labels`` keeps how the bills first spell models that are known only from them."""
    text = line.model or line.item
    if text is None:
        return _Place(None, None, Reason.NO_MODEL)
    if (key := names.find(text)) is not None:
        return _Place(key, names.label(key))
    if line.model is not None:
        key = names.key(line.model)
        return _Place(key, labels.setdefault(key, line.model))
    return _Place(None, text, Reason.NOT_MATCHED)


def _row(
    provider: str, day: date, model: str | None, lines: Sequence[Line], counts: Counts, reasons: set[Reason]
) -> Row:
    return Row(
        provider=provider,
        day=day,
        model=model,
        billed_usd=_sum(line.usd for line in lines),
        metered_usd=counts.usd,
        billed_input_tokens=_sum(line.input_tokens for line in lines),
        billed_output_tokens=_sum(line.output_tokens for line in lines),
        counts=counts,
        reasons=frozenset(reasons),
    )


def _outside(day: date, metering: Metering) -> set[Reason]:
    if metering.first_day is None or metering.last_day is None or metering.first_day <= day <= metering.last_day:
        return set()
    return {Reason.BEFORE_FIRST_EVENT if day < metering.first_day else Reason.AFTER_LAST_EVENT}


def _sum(values: Iterable[Any]) -> Any:
    """Add up what is known; ``None`` where nothing is."""
    result = None
    for value in values:
        if value is not None:
            result = value if result is None else EXACT.add(result, value) if _is_money(value) else result + value
    return result


def _is_money(value: object) -> bool:
    return isinstance(value, Decimal)


def _sum_of(counts: Iterable[Counts]) -> Counts:
    result = Counts()
    for each in counts:
        result += each
    return result
