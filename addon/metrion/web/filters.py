"""What a page shows: parameters of the URL in; a span of time, its buckets and conditions in SQL out. Pure.

Spans begin and end with quarters of an hour, so that the sums answer them without a row being read. Where the sums do
not know what is filtered, rows answer: the span is cut to as many days as may be read of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from metrion.store import rollups, spans
from metrion.web.currencies import DOLLAR, Currency
from metrion.web.display import Display
from metrion.web.narrowing import LONGEST, NARROWINGS, NONE, condition

DIMENSIONS: Mapping[str, str] = {
    "provider": "provider",
    "model": "model",
    "user": "user_label",
    "token": "token_name",
    "account": "account",
}
"""What can be filtered and grouped by: the parameter of the URL, and the column of the sums."""
NAMES = {"provider": "Provider", "model": "Model", "user": "User", "token": "Token", "account": "Account"}

RANGES: Mapping[str, str] = {
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "month": "This month",
    "all": "Everything",
}
DEFAULT_RANGE = "7d"
_LONGEST = 1000
_QUARTER = timedelta(minutes=15)
_MOST_SINGLE = timedelta(days=367)
_MOST_DAYS = 1500
"""A longer chart has no bars that one could see."""


@dataclass(frozen=True, slots=True)
class Filters:
    """One view. Moments are naive UTC."""

    range: str
    since: datetime
    until: datetime
    before: datetime | None
    """When the period before began, which was as long and ended as late in its own; ``None``: nothing to compare."""
    before_until: datetime | None
    hourly: bool
    values: Mapping[str, str | None]
    """The dimensions that are filtered, each with its value."""
    by: str
    timezone: str
    currency: Currency = DOLLAR
    """What dollars are shown in; rows keep dollars."""
    days: tuple[str, str] | None = None
    """The first and the last day, where they were chosen."""
    warning: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """The other filters, as they were typed: some of :data:`~metrion.web.narrowing.NARROWINGS`."""
    whole_since: datetime | None = None
    """Where the span that was asked for began, where it is cut."""
    tag: str = ""
    """The tag whose values are stacked, in the place of ``by``."""

    @property
    def by_rows(self) -> bool:
        """Whether only rows answer: the sums do not know what is filtered, or stacked by."""
        return bool(self.tag) or any(not NARROWINGS[name].key for name in self.extra)

    @property
    def stacked_by(self) -> str:
        """The column by whose values spend and tokens are stacked."""
        return "tag" if self.tag else DIMENSIONS[self.by]

    @property
    def note(self) -> str:
        """What to say of a view that reads rows; empty: it reads none."""
        if not self.by_rows:
            return ""
        cut = " The last 31 of the period are shown." if self.whole_since else ""
        return f"A view by tag, session, client, text, cost or latency reads single requests, of at most 31 days.{cut}"

    @property
    def step(self) -> str:
        """The unit of a chart's bars, for DuckDB."""
        return "hour" if self.hourly else "day"

    def bucket(self, moment: str = "quarter") -> str:
        """Return the SQL of the local hour or day of a moment."""
        local = spans.local(moment, self.before or self.since, self.until, self.timezone)
        return f"date_trunc('{self.step}', {local})"

    @property
    def has_single_days(self) -> bool:
        """Whether each step of a chart is a day that can be looked at alone; of many years nobody picks one."""
        return not self.hourly and self.until - self.since <= _MOST_SINGLE

    @property
    def within(self) -> timedelta:
        """How fine sums must be for the hours and days of the zone."""
        days = spans.within(self.before or self.since, self.until, self.timezone)
        return min(days, timedelta(hours=1)) if self.hourly else days

    def keys(self, *more: str) -> tuple[str, ...]:
        """Return the columns that sums need for the filters, and ``more``."""
        known = (NARROWINGS[name].key for name in self.extra)
        return tuple({*(DIMENSIONS[name] for name in self.values), *filter(None, known), *more})

    def conditions(self, *, of_rows: bool = False) -> tuple[str, dict[str, Any]]:
        """Return what sums, or rows of ``events``, must meet beside the time: SQL with ``$`` parameters, and these."""
        made = {name: rollups.KEYS[name][1] if of_rows else name for name in (*DIMENSIONS.values(), "failed")}
        parts, parameters = ["true"], dict[str, Any]()
        for name, value in self.values.items():
            if value is None:
                parts.append(f"{made[DIMENSIONS[name]]} IS NULL")
            else:
                parts.append(f"{made[DIMENSIONS[name]]} = $f_{name}")
                parameters[f"f_{name}"] = value
        for name, text in self.extra.items():
            if (of_rows or NARROWINGS[name].key) and (found := condition(name, text)):
                parts.append(found[0].replace("{failed}", made["failed"]))
                parameters |= found[1]
        return " AND ".join(parts), parameters

    def buckets(self) -> list[datetime]:
        """Return every local hour or day of the span, in order; an hour that the clock repeats stands once."""
        zone = ZoneInfo(self.timezone)
        local = [each.replace(tzinfo=UTC).astimezone(zone) for each in (self.since, self.until - _QUARTER)]
        if self.hourly:
            first, hours = self.since, int((self.until - self.since) / timedelta(hours=1)) + 1
            found = (
                (first + timedelta(hours=n)).replace(tzinfo=UTC).astimezone(zone)
                for n in range(hours)
                if first + timedelta(hours=n) < self.until
            )
            return list(dict.fromkeys(each.replace(tzinfo=None, minute=0, second=0, microsecond=0) for each in found))
        days = min((local[1].date() - local[0].date()).days, _MOST_DAYS)
        return [datetime.combine(local[0].date() + timedelta(days=n), datetime.min.time()) for n in range(days + 1)]

    def query(self, **changes: str | None) -> str:
        """Return the query string of this view with some parameters changed; ``None`` takes one away."""
        parameters: dict[str, str] = {"range": self.range, "by": self.by, **self.extra}
        if self.tag:
            parameters["by_tag"] = self.tag
        if self.days:
            parameters |= {"from": self.days[0], "to": self.days[1]}
        parameters |= {name: NONE if value is None else value for name, value in self.values.items()}
        for name, new in changes.items():
            if new is None:
                parameters.pop(name, None)
            else:
                parameters[name] = new
        if "range" in changes:
            parameters.pop("from", None)
            parameters.pop("to", None)
        return "?" + urlencode(parameters, errors="replace")

    @property
    def title(self) -> str:
        """What the span is called."""
        whole = f"{self.days[0]} to {self.days[1]}" if self.days else RANGES[self.range]
        return f"{whole}: its last 31 days" if self.whole_since else whole


def read(parameters: Mapping[str, str], now: datetime, display: Display, first: datetime | None) -> Filters:
    """Read a view from the URL; ``now`` is aware, ``first`` the first moment metered.

    What makes no sense is ignored, and ``warning`` says so.
    """
    zone = ZoneInfo(display.timezone)
    local = now.astimezone(zone)
    chosen = parameters.get("range", DEFAULT_RANGE)
    warning = None
    if chosen not in RANGES:
        chosen, warning = DEFAULT_RANGE, "There is no such range: the last 7 days are shown."
    until = _ceil(_utc(now))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    days = None
    span = None
    if parameters.get("from") or parameters.get("to"):
        span = _days(parameters.get("from", ""), parameters.get("to", ""), zone)
        warning = warning or (None if span else "These are not two days in order, as in 2026-11-01: ignored.")
    before = before_until = None
    if span:
        since, end = span
        days = (parameters["from"], parameters["to"])
        length = end - since
        until = min(end, max(until, since + _QUARTER))
        before, before_until = since - length, until - length
    elif chosen == "all":
        since = _utc(_midnight(first.replace(tzinfo=UTC).astimezone(zone))) if first else until - timedelta(days=7)
    else:
        since, length = _begin(chosen, now, midnight)
        before, before_until = since - length, until - length
    values: dict[str, str | None] = {}
    for name in DIMENSIONS:
        if value := parameters.get(name):
            values[name] = None if value == NONE else value[:_LONGEST]
    extra, ignored = _narrowed(parameters)
    by = parameters.get("by", "model")
    view = Filters(
        range=chosen,
        since=since,
        until=until,
        before=before,
        before_until=before_until,
        hourly=until - since <= timedelta(hours=25),
        values=values,
        by=by if by in DIMENSIONS else "model",
        timezone=display.timezone,
        currency=display.currency,
        days=days,
        warning=warning or ignored,
        extra=extra,
        tag=parameters.get("by_tag", "").strip()[:_LONGEST],
    )
    return _cut(view, zone) if view.by_rows else view


def _narrowed(parameters: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Return the other filters, and what to say of one that makes no sense."""
    extra, ignored = dict[str, str](), None
    for name, narrowing in NARROWINGS.items():
        if text := parameters.get(name, "").strip()[:_LONGEST]:
            if condition(name, text):
                extra[name] = text
            else:
                ignored = f"{narrowing.label}: write it as in {narrowing.hint}. It is ignored."
    return extra, ignored


def _cut(view: Filters, zone: ZoneInfo) -> Filters:
    """Return a view of no more days than may be read of rows; the period before is read too: both must fit."""
    last = (view.until - _QUARTER).replace(tzinfo=UTC).astimezone(zone)
    latest = _utc(_midnight(last) - LONGEST + timedelta(days=1))
    if view.before and view.before < latest:
        view = replace(view, before=None, before_until=None)
    return replace(view, since=latest, whole_since=view.since) if latest > view.since else view


def month(now: datetime, timezone: str) -> tuple[datetime, datetime]:
    """Return when this local month began and when it will end, naive UTC."""
    first = _midnight(now.astimezone(ZoneInfo(timezone)).replace(day=1))
    after = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return _utc(first), _utc(after)


def _begin(chosen: str, now: datetime, midnight: datetime) -> tuple[datetime, timedelta]:
    """Return where a named range begins, and how far back the one before it did."""
    if chosen == "1h":
        return _ceil(_utc(now)) - timedelta(hours=1), timedelta(hours=1)
    if chosen == "24h":
        hour = _utc(now).replace(minute=0, second=0, microsecond=0)
        return hour - timedelta(hours=23), timedelta(hours=24)
    if chosen == "month":
        first = midnight.replace(day=1)
        return _utc(first), _utc(first) - _utc((first - timedelta(days=1)).replace(day=1))
    days = int(chosen.removesuffix("d"))
    return _utc(midnight - timedelta(days=days - 1)), timedelta(days=days)


def _days(first: str, last: str, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
        if begin > end:
            return None
        midnights = [datetime.combine(each, datetime.min.time(), zone) for each in (begin, end + timedelta(days=1))]
    except (ValueError, OverflowError):
        return None
    return _utc(midnights[0]), _utc(midnights[1])


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _ceil(moment: datetime) -> datetime:
    floor = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
    return floor + _QUARTER
