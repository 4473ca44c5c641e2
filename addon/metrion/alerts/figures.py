"""Makes the figures of rules: rules in, SQL out, and figures out of its answers. No I/O of its own.

One query has the figures of all rules. It reads the sums (:mod:`metrion.store.rollups`) once for each span, and the
histograms for latencies, whose percentile is the upper bound of its step: at most 4.4 % above the exact one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from metrion.admission.spans import span
from metrion.alerts.decisions import Figure
from metrion.alerts.measures import ELSEWHERE, MEASURES
from metrion.alerts.messages import Leader, shown
from metrion.alerts.spans import beginning, length
from metrion.budgets.standing import Standing
from metrion.control.alert_records import AlertRule
from metrion.model import dollars
from metrion.settings.timezones import zone
from metrion.store import histograms, schema

type Ask = Callable[[str], list[tuple[Any, ...]]]
"""Answers one query with its rows."""

_COLUMNS = {"provider": "provider", "account": "account", "token": "token_name", "user": "user_label"}
_NAMES = {"user_label": "user", "token_name": "token", "error_type": "error"}
_LEADERS = 3
_UNKNOWN_COST = "billed AND cost_source IN ('unpriced', 'unknown')"
_DAY = Decimal(86400)


@dataclass(frozen=True, slots=True)
class Journal:
    """What is known without the store: how many segments wait, and when the store was last written."""

    waiting: int
    store_written_at: datetime | None


def figures(rules: Sequence[AlertRule], now: datetime, timezone: tzinfo, ask: Ask) -> dict[int, Figure]:
    """Return the figures of rules by their ids, all but those that :func:`silence` and :func:`budget` make."""
    wanted = {rule.id: (rule, _since(rule, now, timezone)) for rule in rules if rule.terms.measure not in ELSEWHERE}
    if not wanted:
        return {}
    rows = ask(" UNION ALL ".join(_queries(list(wanted.values()))))
    return {number: _figure(wanted[number][0], wanted[number][1], now, *figures) for number, *figures in rows}


def silence(rule: AlertRule, now: datetime, ask: Ask | None, journal: Journal) -> Figure:
    """Return for how many days nothing was ingested that a rule counts; without ``ask``, by the store's file alone."""
    last = journal.store_written_at
    if ask is not None:
        ((newest,),) = ask(f"SELECT max(last_at) FROM rollups WHERE {_chosen(rule)}")  # noqa: S608 -- written here
        last = None if newest is None else newest.replace(tzinfo=UTC)
    since = max(rule.created_at, last) if last else rule.created_at
    days = max(Decimal(int((now - since).total_seconds())), Decimal(0)) / _DAY
    return Figure(days, since, last=last, waiting=journal.waiting)


def budget(rule: AlertRule, standings: Iterable[Standing], now: datetime, timezone: str) -> Figure | None:
    """Return how much of its budget is spent; ``None``: there is none, or it is 0, or what is spent is not known."""
    ((scope, name),) = rule.terms.filters.items()
    for each in standings:
        own = each.budget
        if (own.scope, own.name, own.per) == (scope, name, rule.terms.span) and own.limit and each.spent is not None:
            began = span(own.per, now.timestamp(), zone(own.timezone or timezone)).since
            share = (Decimal(100) * each.spent / own.limit).quantize(Decimal("1e-4"), ROUND_FLOOR)
            return Figure(share, datetime.fromtimestamp(began, UTC), usd=(dollars(each.spent), dollars(own.limit)))
    return None


def leaders(rule: AlertRule, figure: Figure, ask: Ask) -> list[Leader]:
    """Return who leads in what a rule measures, in its span."""
    measure = MEASURES[rule.terms.measure]
    if not measure.top:
        return []
    keys = ", ".join(measure.top_keys)
    source = _marked(rule, figure.since) if measure.mark else f"sums_between({_moment(figure.since)}, 'infinity')"
    rows = ask(
        f"SELECT {keys}, ({measure.top})::DECIMAL(38, 12) AS value "  # noqa: S608 -- written here, or a literal
        f"FROM {source} WHERE {_chosen(rule)} "
        f"GROUP BY {keys} HAVING value > 0 ORDER BY value DESC, {keys} LIMIT {_LEADERS}"
    )
    return [
        Leader(
            tuple(
                (_NAMES.get(key, key), shown(str(name)))
                for key, name in zip(measure.top_keys, names, strict=True)
                if name is not None
            ),
            value,
        )
        for *names, value in rows
    ]


def _since(rule: AlertRule, now: datetime, timezone: tzinfo) -> datetime:
    return beginning(rule.terms.span, now, rule.created_at, timezone)


def _queries(wanted: Sequence[tuple[AlertRule, datetime]]) -> list[str]:
    by_since: dict[datetime, list[AlertRule]] = {}
    queries = []
    for rule, since in wanted:
        if rule.terms.measure == "latency":
            queries.append(_percentile(rule, since))
        elif MEASURES[rule.terms.measure].mark:
            queries.append(
                f"SELECT {rule.id}, count(*)::DECIMAL(38, 12), NULL::BIGINT, 0::BIGINT, NULL::DECIMAL(38, 12) "  # noqa: S608 -- written here, or a literal
                f"FROM {_marked(rule, since)} WHERE {_chosen(rule)}"
            )
        else:
            by_since.setdefault(since, []).append(rule)
    for since, rules in by_since.items():
        rows = ", ".join(_row(rule) for rule in rules)
        queries.append(
            f"SELECT unnest([{rows}], recursive := true) FROM sums_between({_moment(since)}, 'infinity')"  # noqa: S608 -- written here, or a literal
        )
    return queries


def _row(rule: AlertRule) -> str:
    """Return a struct of the figures of one rule, as an aggregate."""
    measure, chosen = MEASURES[rule.terms.measure], _chosen(rule)
    unknown = f"FILTER (WHERE {chosen} AND {_UNKNOWN_COST})"
    return (
        f"{{'rule': {rule.id}, 'value': ({measure.figure})::DECIMAL(38, 12), "
        f"'counted': {measure.of or 'NULL::BIGINT'}, "
        f"'without_cost': coalesce(sum(responses) {unknown}, 0)::BIGINT, "
        f"'at_least': (sum(floor_usd) {unknown})::DECIMAL(38, 12)}}"
    ).replace("{chosen}", chosen)


def _percentile(rule: AlertRule, since: datetime) -> str:
    moment, chosen = _moment(since), _chosen(rule)
    if set(rule.terms.filters) <= {"provider"}:
        times = f"SELECT * FROM times_between({moment}, 'infinity') WHERE {chosen}"  # noqa: S608 -- as below
    else:  # histograms are of everybody
        times = histograms.timed(f"SELECT * FROM billing WHERE started_at >= {moment} AND {chosen}", ("provider",))  # noqa: S608 -- as below
    return f"""
SELECT {rule.id}, min({histograms.bound("step")}) FILTER (WHERE upto >= 0.95 * counted)::DECIMAL(38, 12),
    coalesce(max(counted), 0)::BIGINT, 0::BIGINT, NULL::DECIMAL(38, 12)
FROM (
    SELECT step, sum(sum(responses)) OVER (ORDER BY step) AS upto, sum(sum(responses)) OVER () AS counted
    FROM ({times}) WHERE time_of = 'latency' GROUP BY step
)"""  # noqa: S608 -- written here, or a literal


def _marked(rule: AlertRule, since: datetime) -> str:
    """Return a query, in brackets, for the rows that have the mark of a rule's measure."""
    mark = schema.literal(MEASURES[rule.terms.measure].mark)
    return f"(FROM events WHERE started_at >= {_moment(since)} AND policy[{mark}] IS NOT NULL)"


def _figure(
    rule: AlertRule,
    since: datetime,
    now: datetime,
    value: Decimal | None,
    counted: int | None,
    without_cost: int,
    at_least: Decimal | None,
) -> Figure:
    measure = MEASURES[rule.terms.measure]
    if measure.per_minute and value is not None:
        exact = length(rule.terms.span) or now - since
        value = (value * 60 / Decimal(int(exact.total_seconds()))).quantize(Decimal("1e-12"))
    hidden = without_cost if measure.unpriced else 0
    return Figure(value, since, counted, hidden, at_least if hidden else None)


def _chosen(rule: AlertRule) -> str:
    """Return the condition of a rule's filters."""
    filters: Mapping[str, str] = rule.terms.filters
    conditions = [f"{_COLUMNS[name]} = {schema.literal(value)}" for name, value in filters.items()]
    return " AND ".join(conditions) or "true"


def _moment(moment: datetime) -> str:
    return f"TIMESTAMP '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
