"""Renders what all processes of a proxy have counted, for Prometheus: tables and gauges in, text out.

Reads figures while others write them, and writes none. Never: a user label, unless the settings say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from metrion.metrics import definitions as defined
from metrion.metrics.tables import Board, Labels
from metrion.settings import MetricsSettings

LIMIT_LABELS = ("provider", "kind")
REFUSAL_LABELS = ("provider", "code")

type Rows = list[tuple[Labels, list[float]]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One figure of the proxy as a whole; ``value`` is ``None`` where it is not known."""

    name: str
    help: str
    value: float | None
    labels: tuple[tuple[str, str], ...] = ()
    counts: bool = False
    """It only grows."""


def render(board: Board, gauges: Iterable[Gauge], settings: MetricsSettings, accept: str = "") -> tuple[bytes, str]:
    """Return the text and its type. ``accept``: which of the formats the client reads."""
    encode, content_type = choose_encoder(accept)
    return encode(_Collected([*_families(board, settings), *map(_gauge, gauges)])), content_type


class _Collected(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """Return the families (prometheus-client's interface)."""
        return self._families


def rows_of(board: Board, table: int) -> Rows:
    """Return the rows of a table, those of all processes added up."""
    added = dict[Labels, list[float]]()
    for seat in board.of(table):
        for labels, place in seat.rows():
            figures = seat.read(place)
            known = added.get(labels)
            added[labels] = figures if known is None else list(map(_sum, known, figures))
    return list(added.items())


def latest_of(board: Board, table: int, *, at: int) -> Rows:
    """Return the rows of a table, of equal ones that with the latest time, which is the figure ``at``."""
    latest = dict[Labels, list[float]]()
    for seat in board.of(table):
        for labels, place in seat.rows():
            figures = seat.read(place)
            if labels not in latest or figures[at] > latest[labels][at]:
                latest[labels] = figures
    return list(latest.items())


def _sum(one: float, other: float) -> float:
    return other if math.isnan(one) else one if math.isnan(other) else one + other


# --- families ---------------------------------------------------------------------------------------------------------


def _families(board: Board, settings: MetricsSettings) -> Iterator[Family]:
    requests = rows_of(board, defined.REQUESTS)
    families = dict[str, Family]()
    for metric in defined.METRICS:
        if settings.old_names or not metric.old:
            made = _counter(metric, requests) if metric.distribution is None else _histogram(metric, requests)
            if metric.name in families:
                families[metric.name].samples += made.samples
            else:
                families[metric.name] = made
    yield from families.values()
    if settings.users:
        users = rows_of(board, defined.USERS)
        yield from (_user_counter(metric, users) for metric in defined.USER_METRICS)
    refusals = CounterMetricFamily(
        "metrion_refusals", "Requests that Metrion answered in a provider's place.", labels=REFUSAL_LABELS
    )
    for labels, (count,) in rows_of(board, defined.REFUSALS):
        refusals.add_metric(labels, count)
    yield refusals
    yield from _limits(board)


def _counter(metric: defined.Metric, rows: Rows) -> Family:
    sums = dict[Labels, float]()
    for row, figures in rows:
        own = metric.row_labels(row)
        for part in metric.parts:
            value = part.value(figures)
            if not math.isnan(value):
                labels = own + part.labels
                sums[labels] = sums.get(labels, 0.0) + value
    return _counter_family(metric, sums)


def _user_counter(metric: defined.Metric, rows: Rows) -> Family:
    values = ((row + part.labels, part.value(figures)) for row, figures in rows for part in metric.parts)
    return _counter_family(metric, {labels: value for labels, value in values if not math.isnan(value)})


def _counter_family(metric: defined.Metric, sums: dict[Labels, float]) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in sums.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: defined.Metric, rows: Rows) -> Family:
    assert metric.distribution is not None  # noqa: S101 -- the caller's choice
    form, start = defined.DISTRIBUTIONS[metric.distribution], defined.DISTRIBUTION_AT[metric.distribution]
    sums = dict[Labels, list[float]]()
    for row, figures in rows:
        counts = figures[start : start + form.figures]
        if any(counts[:-1]):
            labels = metric.row_labels(row) + metric.part
            known = sums.get(labels)
            sums[labels] = counts if known is None else [one + other for one, other in zip(known, counts, strict=True)]
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*map(floatToGoString, form.bounds), "+Inf"]
    for labels, (*counts, total) in sums.items():
        so_far, buckets = 0.0, []
        for bound, count in zip(bounds, counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(labels, buckets, total)
    return family


def _limits(board: Board) -> Iterator[Family]:
    families = [
        GaugeMetricFamily(f"metrion_provider_limit{name}", help_text, labels=LIMIT_LABELS)
        for name, help_text in (
            ("_remaining", "What the provider's last answer said is left of a limit."),
            ("", "The limit that the provider's last answer named."),
        )
    ]
    for labels, figures in latest_of(board, defined.LIMITS, at=defined.REPORTED_AT):
        for family, value in zip(families, figures[: defined.REPORTED_AT], strict=True):
            if not math.isnan(value):
                family.add_metric(labels, value)
    yield from families


def _gauge(gauge: Gauge) -> Family:
    kind = CounterMetricFamily if gauge.counts else GaugeMetricFamily
    names = [name for name, _ in gauge.labels]
    family = kind(gauge.name, gauge.help, labels=names)
    if gauge.value is not None:
        family.add_metric([value for _, value in gauge.labels], gauge.value)
    return family
