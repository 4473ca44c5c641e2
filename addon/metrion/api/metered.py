"""Operations that read what was metered, and prices. They ask what reports and the dashboard's pages ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from metrion import reports
from metrion.api.admins import point
from metrion.api.operation import Call, Desk, Given, Shown
from metrion.api.values import MOST, Name, Page, Point, Text, plain
from metrion.errors import ControlError, UnknownNameError
from metrion.model import Usage
from metrion.pricing.prices import Period
from metrion.providers import canonical_name
from metrion.settings.timezones import zone
from metrion.web.display import Display
from metrion.web.filters import read
from metrion.web.narrowing import LONGEST
from metrion.web.pages import requests
from metrion.web.reader import View

type Question = Literal["costs", "errors", "latency", "models", "providers", "tokens", "unpriced", "users"]
"""The keys of :data:`metrion.reports.QUESTIONS`."""
type Group = Annotated[str, StringConstraints(pattern=r"^(month|day|user|model|provider|token|account|tag:.{1,64})$")]


type Amount = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}(\.[0-9]{1,12})?$")]


class Which(Given):
    """Which requests: the filters of the dashboard's pages. `(none)` is what has no value."""

    provider: Text | None = None
    model: Text | None = None
    user: Text | None = None
    token: Text | None = None
    account: Text | None = None
    session: Text | None = None
    client: Text | None = None
    outcome: Literal["good", "failed"] | None = None
    status: Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{2}|[1-9]xx|\(none\))$")] | None = Field(
        default=None, description="`429`, or `5xx` for all that begin so."
    )
    cost_from: Amount | None = Field(default=None, description="What a request cost at least, in US dollars.")
    cost_to: Amount | None = Field(default=None, description="What it cost at most.")
    latency_from: Amount | None = Field(default=None, description="How many milliseconds it took at least.")
    latency_to: Amount | None = Field(default=None, description="How many it took at most.")
    search: Text | None = Field(default=None, description="A part of an id, a path, an error or a label.")
    tag: Annotated[str, StringConstraints(max_length=400)] | None = Field(
        default=None, description="`NAME=VALUE`, or `NAME` for any."
    )


# --- usage


class Asked(Given):
    """An everyday question."""

    question: Question


class Span(Which):
    """Of when, of which requests, and by what. With a filter, of at most 31 days, which `since` begins."""

    since: Point | None = None
    until: Point | None = None
    by: Annotated[list[Group], Field(max_length=8)] = Field(
        default=[], description="What `costs` are grouped by; several times: by each in turn."
    )
    timezone: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="Whose days and months."
    )


class ColumnShown(Shown):
    """A column, with its type in DuckDB."""

    name: str
    type: str


class UsageShown(Shown):
    """A report, as `metrion report` prints it: what is not known is counted beside the sums, never as zero."""

    columns: list[ColumnShown]
    rows: list[dict[str, Any]]
    total: dict[str, Any]
    notes: list[str] = Field(description="What the figures leave out, and the way out.")


def usage(desk: Desk, call: Call) -> UsageShown:
    """Answer an everyday question."""
    query: Span = call.query
    settings = desk.settings
    timezone = query.timezone or settings.timezone
    since, until = (each and each.replace(tzinfo=None) for each in (point(desk, query.since), point(desk, query.until)))
    try:
        zone(timezone)
        span, only = reports.Span(since, until), _only(query, since, until, timezone)
        answer = reports.report(
            settings.journal_dir, settings.store_path, call.path.question, span, query.by, timezone, only
        )
    except ValueError as error:
        raise ControlError(str(error)) from error
    names = answer.table.columns
    return UsageShown(
        columns=[ColumnShown(name=name, type=kind) for name, kind in zip(names, answer.table.types, strict=True)],
        rows=[_by_name(names, row) for row in answer.table.rows],
        total=_by_name(names, answer.total),
        notes=list(answer.notes),
    )


def _only(query: Span, since: datetime | None, until: datetime | None, timezone: str) -> reports.Condition:
    """Return the condition that the filters are; without one, all rows meet it."""
    given = query.model_dump(include=set(Which.model_fields), exclude_none=True)
    if not given:
        return "", {}
    now = datetime.now(UTC)
    if since is None or (until or now.replace(tzinfo=None)) - since > LONGEST:
        raise ControlError("with a filter, single requests are read: give since and until, at most 31 days apart.")
    filters = read(given, now, Display(timezone), None)
    if filters.warning:
        raise ControlError(filters.warning)
    return filters.conditions(of_rows=True)


def _by_name(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in zip(names, row, strict=True)}


# --- events


class EventFilters(Which):
    """Which events, and how many."""

    range: Literal["1h", "24h", "7d", "30d", "90d", "month", "all"] = "7d"
    since: date | None = Field(default=None, description="The first day, instead of `range`; with `until`.")
    until: date | None = Field(default=None, description="The last day.")
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    cursor: (
        Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}_[0-9a-f-]{36}$")] | None
    ) = Field(default=None, description="`next_cursor` of the page before.")


class EventShown(Shown):
    """A request with all its columns, as the table `events` has them."""

    columns: dict[str, Any]


class EventPlace(Given):
    """An event's id."""

    event_id: UUID


def events(desk: Desk, call: Call) -> Page[dict[str, Any]]:
    """List single requests, the latest first."""
    query: EventFilters = call.query
    days = {"from": query.since, "to": query.until}
    given = query.model_dump(exclude={"since", "until", "limit", "cursor"}, exclude_none=True)
    given |= {name: day.isoformat() for name, day in days.items() if day is not None}
    if query.cursor is not None and requests.position(query.cursor) is None:
        raise ControlError("this is no cursor of a page.")

    def ask(view: View) -> requests.Rows:
        first = view.rows("SELECT min(quarter) FROM sums")[0][0]
        filters = read(given, datetime.now(UTC), Display(desk.settings.timezone), first)
        if filters.warning:
            raise ControlError(filters.warning)
        return requests.rows(view, filters, query.cursor, "*", query.limit)

    found = desk.reader.ask(("api events", query.model_dump_json()), ask)
    items = [{name: plain(value) for name, value in row.items()} for row in found.rows]
    return Page(items=items, next_cursor=found.next)


def event(desk: Desk, call: Call) -> EventShown:
    """Return one request with all its columns."""
    found = desk.reader.ask(("one", call.path.event_id), lambda view: requests.one(view, call.path.event_id))
    if found is None:
        raise UnknownNameError("there is no event of this id.")
    return EventShown(columns={name: plain(value) for name, value in found.items()})


# --- prices


class PriceAsked(Given):
    """A model on a day."""

    provider: Name
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    day: date | None = Field(default=None, description="The day of the price (UTC); without it, today.")
    service_tier: Annotated[str, StringConstraints(max_length=64)] = ""


class RateShown(Shown):
    """US dollars per million tokens, or per hour; `above` has what a longer input costs, all of it."""

    usd: str
    above: list[dict[str, Any]]


class PriceShown(Shown):
    """What a model costs on a day."""

    provider: str
    model: str = Field(description="The model as the price file names it.")
    day: date
    since: date | None = Field(description="The first day of this price; null: not known.")
    until: date | None = Field(description="The first day on which it no longer holds; null: not known.")
    rates: dict[str, RateShown]
    fees: dict[str, str] = Field(description="US dollars per 1,000.")
    price_version: str


def price(desk: Desk, call: Call) -> PriceShown:
    """Look up a model's price on a day."""
    query: PriceAsked = call.query
    day = query.day or datetime.now(UTC).date()
    book = desk.prices()
    found = book.priced_by(
        provider=canonical_name(query.provider),
        model=query.model,
        model_requested=None,
        usage=Usage(),
        when=datetime(day.year, day.month, day.day, tzinfo=UTC),
        service_tier=query.service_tier or None,
    )
    entry, period = found or (None, None)
    if entry is None or period is None:
        raise UnknownNameError("the price files have no price of this model for this day and service tier.")
    return PriceShown(
        provider=query.provider,
        model=entry.model,
        day=day,
        since=period.since,
        until=period.until,
        rates=_rates(period),
        fees={name: plain(fee) for name, fee in period.fees.items()},
        price_version=book.version,
    )


def _rates(period: Period) -> dict[str, RateShown]:
    return {
        name: RateShown(
            usd=plain(rate.base),
            above=[{"input_tokens": tokens, "usd": plain(amount)} for tokens, amount in rate.above],
        )
        for name, rate in period.rates.items()
    }
